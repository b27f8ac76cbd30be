"""Run image classifiers over a dataset and store what they predict."""

import sys
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError
from imagenet_errors.paths import Artefacts


def parse_args():
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    which = parser.add_argument_group("which models")
    which.add_argument("--modules", nargs="+", default=["efficientnet_lite"], help="groups of models, or all")
    which.add_argument(
        "--model",
        nargs="+",
        help="names, wildcards within the modules, files with a name a line, timm/NAME of any model of timm, or"
        " path/to/file.py:function that returns (model, transform); default: all of the modules",
    )
    which.add_argument("--list_modules", action="store_true", help="print the modules and leave")
    which.add_argument("--list_models", action="store_true", help="print the chosen models and leave")
    which.add_argument("--list_geometries", action="store_true", help="print how they resize and crop, and leave")
    own = parser.add_argument_group("a model of your own")
    own.add_argument("--checkpoint", type=Path, help="weights for the timm architecture that --model names")
    own.add_argument("--logits", type=Path, help="take these logits, by number of the validation file; no model is run")
    own.add_argument("--model_name", help="what to call it; default: after its file")
    own.add_argument("--arch", help="its architecture, e.g. resnet")
    own.add_argument("--training_data", help="its corpus, e.g. 'ImageNet-21k (14M)'")
    run = parser.add_argument_group("how to run them")
    run.add_argument("--batch_size", type=cli.positive, default=32, help="images per batch")
    run.add_argument("--workers", type=cli.natural, help="processes that decode images; default: as fits the device")
    run.add_argument("--device", help="where to compute, e.g. cuda:0; default: a GPU where there is one, else cpu")
    run.add_argument("--limit", type=cli.positive, help="run only the first so many images")
    run.add_argument("--amp", action="store_true", help="half precision and TF32: faster, not the same to the bit")
    run.add_argument("--use_test_size", action="store_true", help="timm's test size instead of its train size")
    run.add_argument("--pixel_cache", type=Path, help="a fast folder: decode once for all models of one geometry")
    run.add_argument("--save_probs", action="store_true", help="store all 1000 probabilities per image as well")
    run.add_argument("--download_only", action="store_true", help="fetch the weights, note them, and leave")
    run.add_argument("--get_computation_time", action="store_true", help="print what predictions took and leave")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    artefacts = Artefacts(args.artefacts_dir)
    if args.get_computation_time:
        return print_computation_time(artefacts, args.dataset)
    if args.logits:
        return store_logits(artefacts, args)
    if args.list_modules:
        return list_modules(artefacts)
    records = choose(artefacts, args)
    if args.list_models:
        return list_models(records)
    if args.list_geometries:
        return list_geometries(records, args.use_test_size, DATASETS[args.dataset].num_images)
    if args.download_only:
        from imagenet_errors.inference.prefetch import download

        return finish(download(records, artefacts), len(records), "downloaded")
    failures = collect(artefacts, args, records)
    finish(failures, len(records), f"predicted, see {artefacts.failures(args.dataset)}")


def choose(artefacts: Artefacts, args) -> list:
    """The records that the flags ask for."""
    from imagenet_errors.models import registry

    return describe(artefacts, args, registry.choose(artefacts, args.modules, args.model))


def describe(artefacts: Artefacts, args, records: list) -> list:
    """The records with what the flags say of a model of the user's own."""
    from imagenet_errors.inference import own_models
    from imagenet_errors.models import registry
    from imagenet_errors.models.architectures import read_architectures

    taken = {record.dir_id for record in registry.all_records(artefacts)} if args.model_name else set()
    return own_models.describe(
        records,
        read_architectures(artefacts),
        taken,
        checkpoint=args.checkpoint,
        model_name=args.model_name,
        arch=args.arch,
        training_data=args.training_data,
    )


def store_logits(artefacts: Artefacts, args) -> None:
    """Predictions from a file of logits, for the images that other models of the folder were run on."""
    from imagenet_errors.dataset.samples import read_samples, register_samples
    from imagenet_errors.inference import logits, own_models, saved_predictions
    from imagenet_errors.inference.sample_images import find_samples

    dataset = DATASETS[args.dataset]
    if dataset.name != "imagenet" or not args.model_name or args.checkpoint or args.model:
        raise InputError("--logits goes with --dataset imagenet and --model_name, and with no --model")
    known = artefacts.samples(dataset.name).exists()
    samples = read_samples(artefacts, dataset.name) if known else find_samples(artefacts, dataset, args.limit)[1]
    register_samples(artefacts, dataset.name, samples)
    (record,) = describe(artefacts, args, [own_models.from_logits(args.logits)])
    predictions = logits.to_predictions(logits.read(args.logits), samples, args.logits, args.save_probs)
    metadata = saved_predictions.store(artefacts, dataset.name, record, samples, predictions)
    extent = dataset.extent(len(samples.files))
    print(f"{record.model_id}: top-1 {metadata['top1_val_acc']:.2f} % on {extent}, from {args.logits}")


def list_modules(artefacts: Artefacts) -> None:
    from collections import Counter

    from imagenet_errors.models import registry

    for module, count in sorted(Counter(record.module for record in registry.all_records(artefacts)).items()):
        print(f"{module}  {count} models")


def list_models(records) -> None:
    from imagenet_errors.inference import zoo

    for record in records:
        params = "unknown" if record.num_params is None else f"{record.num_params / 1e6:.1f}M"
        state = "cached" if zoo.is_cached(record) else "not cached"
        print(f"{record.model_id}  {params} parameters  {record.training_data}  {state}")


def list_geometries(records, use_test_size: bool, num_images: int) -> None:
    from imagenet_errors.inference import zoo

    groups = zoo.by_geometry(records, use_test_size)
    unknown = groups.pop(None, [])
    for geometry, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        print(f"{geometry}: {len(group)} models, {geometry.num_bytes * num_images / 1e9:.1f} GB of pixels")
    if unknown:
        print(f"not known before they are built: {len(unknown)} models")


def print_computation_time(artefacts: Artefacts, dataset: str) -> None:
    """The sum of the stored `preds_comp_time`; models without one are named."""
    from datetime import timedelta

    from imagenet_errors.formats.metadata import read_metadata

    models = artefacts.models(dataset)
    if not models:
        raise InputError(f"{artefacts.dataset_dir(dataset)} has no predictions: run it without --get_computation_time")
    times = {model: read_metadata(artefacts.metadata(dataset, model))["preds_comp_time"] for model in models}
    without = [model for model, seconds in times.items() if seconds is None]
    if without:
        cli.log.info(f"no time is stored for {', '.join(without)}")
    total = sum(seconds for seconds in times.values() if seconds is not None)
    print(f"{dataset}: {len(times) - len(without)} models took {timedelta(seconds=round(total))} ({total:.1f} s)")


def collect(artefacts: Artefacts, args, records) -> dict[str, str]:
    """Run the models; returns {model id: reason} of those that failed."""
    from itertools import chain

    from imagenet_errors.dataset.samples import register_samples
    from imagenet_errors.inference import predict, zoo
    from imagenet_errors.inference.images import Images
    from imagenet_errors.inference.runner import Collector
    from imagenet_errors.inference.sample_images import find_samples

    if args.pixel_cache and not args.pixel_cache.is_dir():
        raise InputError(f"{args.pixel_cache} is no folder: --pixel_cache takes one on a fast disk")
    device = predict.choose_device(args.device)
    dataset = DATASETS[args.dataset]
    root, samples, classes = find_samples(artefacts, dataset, args.limit)
    register_samples(artefacts, dataset.name, samples)
    cli.log.info(f"{dataset.name}: {dataset.extent(len(samples.files))} in {root}")
    workers = predict.default_workers(device) if args.workers is None else args.workers
    collector = Collector(
        artefacts,
        dataset,
        samples,
        Images(root, samples.files, workers, args.pixel_cache, pin_memory=device.type == "cuda"),
        device,
        args.batch_size,
        classes if dataset.name == "imagenet-a" else None,
        args.save_probs,
        args.amp,
        args.use_test_size,
    )
    if args.pixel_cache:
        records = chain.from_iterable(zoo.by_geometry(records, args.use_test_size).values())
    for line in collector.run(records):
        print(line, flush=True)
    return collector.failures


def finish(failures: dict[str, str], num_models: int, done: str) -> None:
    """Leave with status 1 where a model failed."""
    if failures:
        cli.log.info(f"{len(failures)} of {num_models} models were not {done}")
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
