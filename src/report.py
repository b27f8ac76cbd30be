"""Print how a model fails, and its place among the reference's models of its accuracy; or compare models."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors import cli
from imagenet_errors.analysis.reports import FORMATS
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.files import write_text
from imagenet_errors.models import own_models
from imagenet_errors.paths import PUBLISHED_TABLES, Artefacts

if TYPE_CHECKING:
    import numpy as np

    from imagenet_errors.analysis.analysed_models import AnalysedModel
    from imagenet_errors.analysis.context import DatasetContext
    from imagenet_errors.analysis.reports import Report
    from imagenet_errors.importing.importer import Importer

WITH_REFERENCE = ("imagenet", "imagenet-a")


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a model in the artefacts folder")
    what.add_argument(
        "--predictions", nargs="+", type=Path, metavar="FILE", help="files of one model's predictions, to import"
    )
    what.add_argument(
        "--runs", nargs="+", metavar="A", help="runs of one model, e.g. with other seeds: mean and spread"
    )
    parser.add_argument("--model_name", help="keep what is imported, under this name; default: only report")
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="B", help="models to compare with; as in --runs, or their files"
    )
    parser.add_argument(
        "--reference", type=Path, default=PUBLISHED_TABLES, help="folder of the stats tables to compare with"
    )
    parser.add_argument("--open_world", choices=["auto", "clip", "skip"], default="auto", help="as for evaluation.py")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of what is printed")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of printing it")
    args = parser.parse_args()
    if args.model_name and not args.predictions:
        parser.error("--model_name goes with --predictions")
    if args.runs and args.compare:
        parser.error("--compare goes with --model or --predictions")
    if args.runs and len(args.runs) == 1:
        parser.error("--runs takes at least two models")
    return args


def main() -> None:
    args = parse_args()
    context, models = load_models(Artefacts(args.artefacts_dir), args)
    context.report()
    text = FORMATS[args.format](make_report(context, models, args))
    if args.output:
        write_text(args.output, text)
        cli.log.info(f"wrote {args.output}")
    else:
        print(text, end="")


def load_models(artefacts: Artefacts, args: argparse.Namespace) -> tuple["DatasetContext", list["AnalysedModel"]]:
    """The models that flags name; those of the folder are analysed where that is not done."""
    from imagenet_errors.analysis.analysed_models import analyse_files, analyse_predictions
    from imagenet_errors.analysis.context import load_context
    from imagenet_errors.analysis.explain import find_model
    from imagenet_errors.analysis.model_files import ModelFiles
    from imagenet_errors.importing.importer import Importer, Options

    importer = Importer(artefacts, DATASETS[args.dataset], Options(read_tensors=read_tensors))
    sources = list_sources(importer, args)
    imported = {name: importer.read(files) for name, files in sources.items() if files}
    for name, read in imported.items():
        cli.log.info(f"{name}: {importer.describe(read)}")
    samples = importer.samples if imported else None
    context = load_context(artefacts, args.dataset, open_world=args.open_world, samples=samples)
    folders = {name: find_model(context, name) for name, files in sources.items() if not files}
    stored = analyse_files([ModelFiles(context, folder) for folder in folders.values()]) if folders else []
    analysed = dict(zip(folders, stored, strict=True))
    for name, read in imported.items():
        analysed[name] = analyse_predictions(context, name, read.predictions)
    return context, [analysed[name] for name in sources]


def list_sources(importer: "Importer", args: argparse.Namespace) -> dict[str, list[Path]]:
    """{name: files of predictions, or none for a model of the artefacts folder}, in the order of the flags."""
    named: list[str | list[Path]] = list(args.runs or args.compare)
    if args.model_name:
        record = own_models.describe_predictions(importer.artefacts, args.predictions[0], args.model_name)
        cli.log.info(importer.import_model(record, args.predictions))
        named.insert(0, record.model_id)
    elif not args.runs:
        named.insert(0, args.model or args.predictions)
    known = importer.artefacts.models(args.dataset)
    sources: dict[str, list[Path]] = {}
    for one in named:
        if isinstance(one, str) and one.replace("/", "--") not in known:
            if not Path(one).is_file():
                unknown = (
                    describe_unknown("model", one, known) if known else f"there are no models, nor is {one} a file"
                )
                raise InputError(f"{importer.artefacts.dataset_dir(args.dataset)}: {unknown}")
            one = [Path(one)]
        name = one if isinstance(one, str) else own_models.from_predictions(one[0]).model_id
        if name in sources:
            raise InputError(f"{name} is given twice: name different models, or files of different names")
        sources[name] = [] if isinstance(one, str) else one
    return sources


def make_report(context: "DatasetContext", models: list["AnalysedModel"], args: argparse.Namespace) -> "Report":
    from imagenet_errors.analysis.pair_report import report_pair
    from imagenet_errors.analysis.profile import make_profile
    from imagenet_errors.analysis.profile_report import report_profile
    from imagenet_errors.analysis.reference import load_reference
    from imagenet_errors.analysis.several_report import report_runs, report_several

    if args.runs:
        return report_runs(context, models)
    if len(models) > 1:
        return (report_pair if len(models) == 2 else report_several)(context, models)
    reference = load_reference(args.dataset, args.reference) if args.dataset in WITH_REFERENCE else None
    return report_profile(make_profile(context, models[0], reference))


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    from imagenet_errors.inference.tensor_files import read_tensors

    return read_tensors(path)


if __name__ == "__main__":
    cli.run(main)
