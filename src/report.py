"""Print how a model fails, and its place among the reference's models of its accuracy; or compare models."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors import cli
from imagenet_errors.analysis.reports import FORMATS
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.label_sets import STANDARD
from imagenet_errors.files import write_text
from imagenet_errors.models import own_models
from imagenet_errors.paths import PUBLISHED_TABLES, Artefacts

if TYPE_CHECKING:
    import numpy as np

    from imagenet_errors.analysis.analysed_models import AnalysedModel
    from imagenet_errors.analysis.context import DatasetContext
    from imagenet_errors.importing.importer import Importer


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    what = parser.add_mutually_exclusive_group(required=True)
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
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="write a page of the first model's errors too")
    parser.add_argument("--errors", type=Path, metavar="FILE.csv", help="write the first model's errors as rows, too")
    parser.add_argument("--fiftyone", type=Path, metavar="FOLDER", help="write them as a dataset of FiftyOne, too")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of the images, for --page and --fiftyone")
    parser.add_argument("--embed_images", type=cli.positive, metavar="N", default=0, help="keep N a type in the page")
    args = parser.parse_args()
    refuse_combinations(parser, args)
    return args


def refuse_combinations(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with status 2 where flags do not go together."""
    lists_errors = args.page or args.errors or args.fiftyone
    if args.model_name and not args.predictions:
        parser.error("--model_name goes with --predictions")
    if args.runs and (args.compare or lists_errors):
        parser.error("--compare, --page, --errors and --fiftyone go with --model or --predictions")
    if args.runs and len(args.runs) == 1:
        parser.error("--runs takes at least two models")
    if (args.sensitivity or args.labels != STANDARD) and (args.runs or args.compare or args.picture or lists_errors):
        parser.error("--labels and --sensitivity go with one model, and with no picture, page or list of errors")
    if args.images and not (args.page or args.fiftyone):
        parser.error("--images goes with --page or --fiftyone")
    if args.embed_images and not (args.page and args.images):
        parser.error("--embed_images goes with --page and --images, the folder of the images")
    if args.fiftyone and not args.images:
        parser.error("--fiftyone needs --images, the folder of the images")


def main() -> None:
    args = parse_args()
    from imagenet_errors.importing.importer import Importer, Options
    from imagenet_errors.reporting.choose_report import make_report
    from imagenet_errors.reporting.load import load_models

    importer = Importer(Artefacts(args.artefacts_dir), DATASETS[args.dataset], Options(read_tensors=read_tensors))
    context, models = load_models(importer, list_models(importer, args), args.open_world)
    flags = {"are_runs": bool(args.runs), "is_sensitivity": args.sensitivity}
    text = FORMATS[args.format](make_report(context, models, args.reference, args.labels, **flags))
    if args.picture:
        draw_picture(context, models, args)
    if args.page:
        write_page(context, models, args)
    if args.errors or args.fiftyone:
        export_errors(context, models, args)
    if args.output:
        write_text(args.output, text)
        return cli.log.info(f"wrote {args.output}")
    print(text, end="")


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


def draw_picture(context: "DatasetContext", models: list["AnalysedModel"], args: argparse.Namespace) -> None:
    from imagenet_errors.reporting.pictures import draw

    draw(context, models, args.reference, args.picture)
    cli.log.info(f"wrote {args.picture}")


def write_page(context: "DatasetContext", models: list["AnalysedModel"], args: argparse.Namespace) -> None:
    from imagenet_errors.analysis.reference import find_reference
    from imagenet_errors.pages.error_page import write_error_page

    reference = find_reference(args.dataset, args.reference)
    write_error_page(context, models, reference, args.page, args.images, args.embed_images)
    cli.log.info(f"wrote {args.page}")


def export_errors(context: "DatasetContext", models: list["AnalysedModel"], args: argparse.Namespace) -> None:
    from imagenet_errors.analysis.browse import find_errors
    from imagenet_errors.reporting.exports import write_errors_csv, write_fiftyone

    errors = find_errors(context, models)
    if args.errors:
        write_errors_csv(errors, args.errors)
        cli.log.info(f"wrote {args.errors}: {len(errors):,} rows")
    if args.fiftyone:
        number = write_fiftyone(errors, context.classes, args.images, args.fiftyone)
        cli.log.info(f"wrote {args.fiftyone}: {number:,} of {len(errors):,} images, those that are in {args.images}")


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    from imagenet_errors.inference.tensor_files import read_tensors

    return read_tensors(path)


if __name__ == "__main__":
    cli.run(main)
