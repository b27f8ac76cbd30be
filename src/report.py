"""Print how a model fails, and its place among the reference's models of its accuracy; or compare models."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors import cli
from imagenet_errors.analysis.reports import FORMATS
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.label_sets import STANDARD
from imagenet_errors.files import write_text
from imagenet_errors.models import own_models
from imagenet_errors.paths import PUBLISHED_TABLES, Artefacts
from imagenet_errors.reporting.flags import check_flags

if TYPE_CHECKING:
    import numpy as np

    from imagenet_errors.importing.importer import Importer


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", help="a model in the artefacts folder")
    what.add_argument(
        "--predictions", nargs="+", type=Path, metavar="FILE", help="files of one model's predictions, to import"
    )
    what.add_argument("--runs", nargs="+", metavar="A", help="runs of one model, e.g. other seeds: mean and spread")
    parser.add_argument("--model_name", help="keep what is imported, under this name; default: only report")
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="B", help="models to compare with; as in --runs, or their files"
    )
    parser.add_argument(
        "--reference", type=Path, default=PUBLISHED_TABLES, help="folder of the stats tables to compare with"
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--labels", default=STANDARD, help="that error types are by: multi_label | real | original")
    labels.add_argument("--sensitivity", action="store_true", help="how shares move by label set and size of the gate")
    parser.add_open_world()
    parser.add_argument("--format", choices=FORMATS, default="text", help="of what is printed")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of printing it")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="draw one or two models among the reference's, or the error consistency of more: png, pdf or svg",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE.html",
        help="write a page of the first model's errors too; without a model: a page of all analysed ones",
    )
    parser.add_argument("--errors", type=Path, metavar="FILE.csv", help="write the first model's errors as rows, too")
    parser.add_argument("--fiftyone", type=Path, metavar="FOLDER", help="write them as a dataset of FiftyOne, too")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of the images, for --page and --fiftyone")
    parser.add_argument("--embed_images", type=cli.positive, metavar="N", default=0, help="keep N a type in the page")
    args = parser.parse_args()
    check_flags(parser, args)
    return args


def main() -> None:
    args = parse_args()
    if not (args.model or args.predictions or args.runs):
        return write_page_of_all(args)
    from imagenet_errors.importing.importer import Importer, Options
    from imagenet_errors.reporting.choose_report import make_report
    from imagenet_errors.reporting.load import load_models
    from imagenet_errors.reporting.outputs import write_outputs

    importer = Importer(Artefacts(args.artefacts_dir), DATASETS[args.dataset], Options(read_tensors=read_tensors))
    context, models = load_models(importer, list_models(importer, args), args.open_world)
    flags = {"are_runs": bool(args.runs), "is_sensitivity": args.sensitivity}
    text = FORMATS[args.format](make_report(context, models, args.reference, args.labels, **flags))
    write_outputs(context, models, args)
    if args.output:
        write_text(args.output, text)
        return cli.log.info(f"wrote {args.output}")
    print(text, end="")


def write_page_of_all(args: argparse.Namespace) -> None:
    from imagenet_errors.reporting.zoo import write_zoo

    artefacts, pictures = Artefacts(args.artefacts_dir), (args.images, args.embed_images)
    if not write_zoo(artefacts, args.dataset, args.open_world, args.page, *pictures):
        sys.exit(1)


def list_models(importer: "Importer", args: argparse.Namespace) -> list[str | list[Path]]:
    """Names and files of the models, in the order of the flags; what is to be kept is imported."""
    if args.runs:
        return args.runs
    first = args.model or args.predictions
    if args.model_name:
        record = own_models.describe_predictions(importer.artefacts, args.predictions[0], args.model_name)
        cli.log.info(importer.import_model(record, args.predictions))
        first = record.model_id
    return [first, *args.compare]


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    from imagenet_errors.inference.tensor_files import read_tensors

    return read_tensors(path)


if __name__ == "__main__":
    cli.run(main)
