"""Run image classifiers over a dataset and save their predictions."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from imagenet_errors import cli, progress, terminal
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError
from imagenet_errors.models import listing, own_models, registry
from imagenet_errors.models.architectures import read_architectures
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paths import Artefacts


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    which = parser.add_argument_group("which models")
    modules = "groups of models; all: the paper's 962; everything: newer and embedded ones as well"
    which.add_argument("--modules", nargs="+", default=["efficientnet_lite"], help=modules)
    which.add_argument(
        "--model",
        nargs="+",
        help="names, wildcards within the modules, files with a name a line, timm/NAME of any model of timm, or"
        " path/to/file.py:function that returns (model, transform); default: all of the modules",
    )
    which.add_argument("--list_modules", action="store_true", help="print the modules and exit")
    which.add_argument("--list_models", action="store_true", help="print the chosen models and exit")
    which.add_argument("--list_geometries", action="store_true", help="print how they resize and crop, and exit")
    which.add_argument("--plan", action="store_true", help="print order, bytes and hours of the run, and exit")
    which.add_argument("--format", choices=["text", "json"], default="text", help="of the plan")
    which.add_argument("--calibrate", action="store_true", help="measure this device for 10 s, to plan hours")
    parser.add_own_model()
    run = parser.add_argument_group("how to run them")
    batches = "images per batch; auto: doubled on a GPU while it is faster and fits, and remembered"
    run.add_argument("--batch_size", type=cli.positive_or_auto, default=32, metavar="N", help=batches)
    run.add_argument("--workers", type=cli.natural, help="processes that decode images; default: as fits the device")
    run.add_argument("--device", help="where to compute, e.g. cuda:0; default: a GPU where there is one, else cpu")
    run.add_argument("--limit", type=cli.positive, help="run only the first so many images")
    run.add_argument("--amp", action="store_true", help="half precision and TF32: faster, not the same to the bit")
    run.add_argument("--compile", action="store_true", help="torch.compile every network: not the same to the bit")
    run.add_argument("--agreement", action="store_true", help="store how many top-1 of 1,000 are those of float32")
    run.add_argument("--use_test_size", action="store_true", help="timm's test size instead of its train size")
    run.add_argument("--cache_dir", "--pixel_cache", type=Path, help="of pixels; default: the artefacts folder")
    run.add_argument("--cache_gb", type=cli.amount, default=50.0, help="the most gigabytes of pixels; 0: keep none")
    run.add_argument("--save_probs", action="store_true", help="save all 1000 probabilities per image as well")
    run.add_argument("--download_only", action="store_true", help="fetch the weights, list them in weights.csv, exit")
    run.add_argument("--get_computation_time", action="store_true", help="print what predictions took and exit")
    parser.add_cluster()
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    artefacts = Artefacts(args.artefacts_dir)
    if args.get_computation_time:
        return print_lines(listing.describe_computation_time(artefacts, args.dataset))
    if args.logits:
        return import_logits(artefacts, args)
    if args.list_modules:
        return print(listing.describe_modules(artefacts))
    records = describe_own(
        artefacts, args, registry.choose(artefacts, args.modules, args.model, find_architecture_in_timm)
    )
    if args.list_models:
        return print(listing.describe_models(artefacts, records, is_cached_by_library, terminal.get_width()))
    if args.list_geometries:
        from imagenet_errors.inference import zoo

        return print_lines(zoo.describe_geometries(records, args.use_test_size, DATASETS[args.dataset].num_images))
    if args.plan or args.calibrate:
        return print_plan(artefacts, args, records)
    if args.download_only:
        return download_weights(artefacts, records)
    run_models(artefacts, args, records)


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def find_architecture_in_timm(artefacts: Artefacts, name: str) -> ModelRecord | None:
    from imagenet_errors.inference import timm_models

    return timm_models.find_architecture(artefacts, name)


def is_cached_by_library(record: ModelRecord) -> bool:
    from imagenet_errors.inference import zoo

    return zoo.is_cached(record)


def describe_own(artefacts: Artefacts, args: argparse.Namespace, records: list[ModelRecord]) -> list[ModelRecord]:
    """The models, with what the flags say of one that is the user's own."""
    used_names = {record.dir_id for record in load_records(artefacts)}
    flags = {name: getattr(args, name) for name in ("checkpoint", "use_ema", "model_name", "arch", "training_data")}
    return own_models.describe(records, read_architectures(artefacts), used_names, **flags)


def import_logits(artefacts: Artefacts, args: argparse.Namespace) -> None:
    from imagenet_errors.importing.importer import Importer, Options

    dataset = DATASETS[args.dataset]
    if dataset.name != "imagenet" or not args.model_name or args.checkpoint or args.model or args.limit:
        raise InputError("--logits goes with --dataset imagenet and --model_name, and with no --model or --limit")
    record = own_models.describe_predictions(artefacts, args.logits, args.model_name, args.arch, args.training_data)
    options = Options("file_number", overwrite=True, force=True, needs_scores=True, save_probs=args.save_probs)
    print(Importer(artefacts, dataset, options).import_model(record, [args.logits]))


def print_plan(artefacts: Artefacts, args: argparse.Namespace, records: list[ModelRecord]) -> None:
    from imagenet_errors.inference.plan import write_plan
    from imagenet_errors.inference.runner import Options

    options, width = Options.from_flags(args), terminal.get_width()
    print(write_plan(artefacts, DATASETS[args.dataset], records, options, args.calibrate, width, args.format == "json"))


def download_weights(artefacts: Artefacts, records: list[ModelRecord]) -> None:
    from imagenet_errors.inference.prefetch import download_weights

    finish(download_weights(records, artefacts), len(records), "downloaded")


def run_models(artefacts: Artefacts, args: argparse.Namespace, records: list[ModelRecord]) -> None:
    from imagenet_errors.inference.collectors import prepare

    collector = prepare(artefacts, DATASETS[args.dataset], args)
    for line in collector.run(records):
        progress.print_line(line)
    finish(collector.failures, len(records), f"predicted, see {artefacts.failures(args.dataset)}")


def finish(failures: dict[str, str], num_models: int, done: str) -> None:
    """Exit with status 1 where a model failed."""
    if failures:
        cli.log.info(f"{len(failures)} of {num_models} models were not {done}")
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
