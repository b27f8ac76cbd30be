"""Tables of models and superclasses for papers."""

import argparse
import sys
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.paths import Artefacts


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("--models_summary_csv", action="store_true", help="write models_summary.csv")
    parser.add_argument("--models_summary_latex", action="store_true", help="print it as the rows of a LaTeX table")
    parser.add_argument("--superclasses", action="store_true", help="print every superclass as an item of a LaTeX list")
    parser.add_argument(
        "--collected", action="store_true", help="the models that have predictions or analyses, not the paper's 962"
    )
    parser.add_results_dir()
    args = parser.parse_args()
    if not (args.models_summary_csv or args.models_summary_latex or args.superclasses):
        parser.error("nothing to do: give --models_summary_csv, --models_summary_latex or --superclasses")
    return args


def main() -> None:
    args = parse_args()
    artefacts = Artefacts(args.artefacts_dir)
    if args.models_summary_csv or args.models_summary_latex:
        rows = summarise_models(artefacts, args.collected)
        if args.models_summary_csv:
            write_csv(rows, args.results_dir)
        if args.models_summary_latex:
            from imagenet_errors import latex

            sys.stdout.write(latex.format_models(rows))
    if args.superclasses:
        print_superclasses(artefacts)


def summarise_models(artefacts: Artefacts, collected: bool) -> list[dict]:
    from imagenet_errors.models import model_table, summary
    from imagenet_errors.models.architectures import read_architectures
    from imagenet_errors.paths import MODELS

    if not collected:
        return summary.summarise_records(model_table.load_records(artefacts, MODELS), read_architectures(artefacts))
    artefacts.require_models("imagenet")
    return summary.summarise_collected(artefacts)


def write_csv(rows: list[dict], results_dir: Path) -> None:
    from imagenet_errors import files
    from imagenet_errors.models.summary import COLUMNS
    from imagenet_errors.paths import models_summary

    files.write_csv(models_summary(results_dir), COLUMNS, rows, lineterminator="\r\n")
    cli.log.info(f"wrote {models_summary(results_dir)}: {len(rows)} models")


def print_superclasses(artefacts: Artefacts) -> None:
    from imagenet_errors import latex
    from imagenet_errors.dataset.classes import load_classes
    from imagenet_errors.dataset.superclasses import load_superclasses
    from imagenet_errors.dataset.wordnet import load_wordnet

    classes = load_classes(artefacts)
    found = load_superclasses(artefacts, classes, load_wordnet(artefacts, classes))
    sys.stdout.write(latex.format_superclasses(found, classes))


if __name__ == "__main__":
    cli.run(main)
