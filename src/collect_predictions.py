"""Run image classifiers over a dataset and store what they predict."""

from imagenet_errors import cli
from imagenet_errors.errors import InputError
from imagenet_errors.storage import DATASETS, Artefacts


def parse_args():
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    parser.add_argument("--modules", nargs="+", default=["efficientnet_lite"], help="groups of models, or all")
    parser.add_argument("--model", nargs="+", help="models by name or wildcard; default: all of the modules")
    parser.add_argument("--list_modules", action="store_true", help="print the modules and leave")
    parser.add_argument("--list_models", action="store_true", help="print the chosen models and leave")
    parser.add_argument(
        "--get_computation_time", action="store_true", help="print how long the stored predictions took and leave"
    )
    parser.add_argument("--batch_size", type=cli.positive, default=32, help="images per batch")
    parser.add_argument("--workers", type=cli.natural, help="processes that decode images; default: as fits the device")
    parser.add_argument("--device", help="where to compute, e.g. cuda:0; default: a GPU where there is one, else cpu")
    parser.add_argument("--limit", type=cli.positive, help="run only the first so many images")
    parser.add_argument("--save_probs", action="store_true", help="store all 1000 probabilities per image as well")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    artefacts = Artefacts(args.artefacts_dir)
    if args.get_computation_time:
        return print_computation_time(artefacts, args.dataset)

    from imagenet_errors.inference import zoo

    records = zoo.load_records(artefacts)
    chosen = zoo.select(records, args.modules, args.model)
    if args.list_modules:
        return list_modules(records)
    if args.list_models:
        return list_models(chosen)
    root, samples, classes = find_samples(artefacts, DATASETS[args.dataset], args.limit)
    cli.say(f"{args.dataset}: {DATASETS[args.dataset].extent(len(samples.files))} in {root}")
    collect(artefacts, args, chosen, root, samples, classes if args.dataset == "imagenet-a" else None)


def list_modules(records) -> None:
    from collections import Counter

    for module, count in sorted(Counter(record.module for record in records).items()):
        print(f"{module}  {count} models")


def list_models(records) -> None:
    for record in records:
        print(f"{record.model_id}  {record.num_params / 1e6:.1f}M parameters  {record.training_data}")


def print_computation_time(artefacts: Artefacts, dataset: str) -> None:
    """The sum of the stored `preds_comp_time`; models without one are named."""
    from datetime import timedelta

    from imagenet_errors.storage import read_metadata

    models = artefacts.models(dataset)
    if not models:
        raise InputError(f"{artefacts.dataset_dir(dataset)} has no predictions: run it without --get_computation_time")
    times = {model: read_metadata(artefacts.metadata(dataset, model))["preds_comp_time"] for model in models}
    without = [model for model, seconds in times.items() if seconds is None]
    if without:
        cli.say(f"no time is stored for {', '.join(without)}")
    total = sum(seconds for seconds in times.values() if seconds is not None)
    print(f"{dataset}: {len(times) - len(without)} models took {timedelta(seconds=round(total))} ({total:.1f} s)")


def find_samples(artefacts: Artefacts, dataset, limit: int | None):
    """The folder of images, those to run, and the classes that have any; claims the artefacts folder for them."""
    from imagenet_errors.inference import datasets, sample
    from imagenet_errors.knowledge import vocabulary
    from imagenet_errors.storage import Samples, claim_samples

    classes = vocabulary.load(artefacts)
    root = datasets.locate(dataset) if dataset.variable else sample.write_images(artefacts, classes)
    found = datasets.find_images(root, classes)
    if dataset.name == "imagenet-a":
        strange = set(found.files.astype("<U9")) - vocabulary.imagenet_a_classes(artefacts)
        if strange:
            raise InputError(f"{root / min(strange)} is no class of ImageNet-A: remove it")
    samples = Samples(found.files[:limit], found.targets[:limit])
    claim_samples(artefacts, dataset.name, samples)
    return root, samples, sorted(set(found.targets.tolist()))


def collect(artefacts: Artefacts, args, records, root, samples, subset) -> None:
    """Run every model that has no valid predictions yet, one at a time, and store each as soon as it is done.

    A model that cannot be built is named and does not stop the others; an image that cannot be read does.
    """
    from imagenet_errors.inference import predict, stored, zoo

    device = predict.choose_device(args.device)
    workers = predict.default_workers(device) if args.workers is None else args.workers
    failures = []
    for record in records:
        try:
            if stored.keep(artefacts, args.dataset, record, len(samples.files), args.save_probs):
                cli.say(f"{record.model_id}: kept, it has valid predictions")
                continue
        except InputError as error:
            cli.say(f"{record.model_id}: predicted again, for {error}")
        try:
            model, preprocessing = zoo.build(record)
        except InputError as error:
            failures.append(str(error))
            cli.say(f"{record.model_id}: not predicted, {error}")
            continue
        try:
            predictions = predict.predict(
                model,
                preprocessing,
                root,
                samples.files,
                batch_size=args.batch_size,
                workers=workers,
                device=device,
                subset=subset,
                save_probs=args.save_probs,
                progress=lambda batches, name=record.model_id: cli.progress(batches, name),
            )
        except RuntimeError as error:  # out of memory, a killed worker
            raise InputError(f"{record.model_id}: {error}: try a smaller --batch_size or fewer --workers") from error
        num_params = zoo.count_parameters(model)
        metadata = stored.store(artefacts, args.dataset, record, samples, predictions, num_params, args.batch_size)
        print(
            f"{record.model_id}: top-1 {metadata['top1_val_acc']:.2f} % on"
            f" {DATASETS[args.dataset].extent(len(samples.files))}, {predictions.seconds:.1f} s on {device}"
        )
    if failures:
        raise InputError(f"{len(failures)} of {len(records)} models could not be built: {failures[0]}")


if __name__ == "__main__":
    cli.run(main)
