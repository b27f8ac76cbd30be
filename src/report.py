"""Print how a model fails: its error types, and its place among the reference's models of the same accuracy."""

import argparse
import tempfile
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.paths import PUBLISHED_TABLES, Artefacts

FORMATS = ("text", "json", "csv", "markdown", "latex")
WITH_REFERENCE = ("imagenet", "imagenet-a")


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    parser.add_argument("--model", help="a model in the artefacts folder")
    parser.add_argument(
        "--predictions", nargs="+", type=Path, metavar="FILE", help="files of one model's predictions, to import"
    )
    parser.add_argument("--model_name", help="keep what is imported, under this name; default: only report")
    parser.add_argument(
        "--reference", type=Path, default=PUBLISHED_TABLES, help="folder of the stats tables to compare with"
    )
    parser.add_argument("--open_world", choices=["auto", "clip", "skip"], default="auto", help="as for evaluation.py")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of what is printed")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of printing it")
    args = parser.parse_args()
    if bool(args.model) == bool(args.predictions):
        parser.error("give either --model M or --predictions FILE")
    if args.model_name and not args.predictions:
        parser.error("--model_name goes with --predictions")
    return args


def main() -> None:
    args = parse_args()
    artefacts = Artefacts(args.artefacts_dir)
    if args.model or args.model_name:
        model = args.model or import_files(artefacts, args)
        return report(artefacts, model, args)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Artefacts(Path(folder))
        report(temporary, import_files(temporary, args), args)


def import_files(artefacts: Artefacts, args: argparse.Namespace) -> str:
    """Import the files as one model; returns its name."""
    from imagenet_errors.dataset.dataset_table import DATASETS
    from imagenet_errors.importing.importer import Importer, Options
    from imagenet_errors.models import own_models

    record = own_models.from_predictions(args.predictions[0])
    if args.model_name:
        record = own_models.describe_predictions(artefacts, args.predictions[0], args.model_name)
    cli.log.info(Importer(artefacts, DATASETS[args.dataset], Options()).import_model(record, args.predictions))
    return record.model_id


def report(artefacts: Artefacts, model: str, args: argparse.Namespace) -> None:
    """Analyse the model where that is not done, and print its profile."""
    from imagenet_errors.analysis import profile, profile_texts, study
    from imagenet_errors.analysis.context import load_context
    from imagenet_errors.analysis.explain import find_model
    from imagenet_errors.analysis.model_files import ModelFiles
    from imagenet_errors.analysis.reference import load_reference
    from imagenet_errors.files import write_text

    context = load_context(artefacts, args.dataset, open_world=args.open_world)
    files = ModelFiles(context, find_model(context, model))
    context.report()
    study.perform_error_analysis([files], with_neighbours=True)
    analyses, _ = study.select_finished([files], with_reference=True)
    reference = load_reference(args.dataset, args.reference) if args.dataset in WITH_REFERENCE else None
    text = profile_texts.FORMATS[args.format](profile.make_profile(files, analyses[0], reference))
    if args.output:
        write_text(args.output, text)
        cli.log.info(f"wrote {args.output}")
    else:
        print(text, end="")


if __name__ == "__main__":
    cli.run(main)
