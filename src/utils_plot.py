"""Draw the paper's figures from the stats tables."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors import cli
from imagenet_errors.errors import InputError
from imagenet_errors.paths import PUBLISHED_TABLES, Artefacts, figures_dir, figures_page

if TYPE_CHECKING:
    from imagenet_errors.plots.drawing import DrawingOptions
    from imagenet_errors.plots.figure_table import Figure
    from imagenet_errors.plots.model_frames import Frames

DATASETS = ["imagenet", "imagenet-a"]
FORMATS = ("png", "pdf", "svg")


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, help="whose figures; default: of those with tables")
    parser.add_argument("--family", nargs="+", help="families of figures; default: all")
    parser.add_argument("--figure", nargs="+", help="figures by file stem or wildcard; default: all")
    parser.add_argument("--filter", nargs="+", default=[], help="only models that meet all, as num_params<5e7")
    parser.add_argument("--marker", help="the column that markers show, e.g. arch_group; default: the corpus")
    parser.add_argument("--color", help="the column that colours show, e.g. num_params; default: the corpus' size")
    parser.add_argument("--fit_by", help="fit each value of this column separately, e.g. training_data_group")
    parser.add_argument("--fit_band", choices=["published", "regression"], default="published", help="of the lines")
    parser.add_argument("--style", choices=["paper", "slide"], default="paper", help="format, type and legend")
    parser.add_argument("--highlight", nargs="+", default=[], metavar="MODEL", help="models of the tables to name")
    parser.add_argument("--behind", choices=["published"], help="also draw the paper's 962 models, in grey")
    parser.add_argument("--base", choices=DATASETS, default="imagenet", help="x of ImageNet-A figures")
    parser.add_argument("--format", default="png,pdf", help=f"one or more of {', '.join(FORMATS)}, joined by commas")
    parser.add_argument("--save_data", action="store_true", help="also write the points plotted")
    parser.add_argument("--interactive", action="store_true", help="one HTML page instead of pictures")
    parser.add_argument("--trends", action="store_true", help="print and save what shares depend on; draw nothing")
    parser.add_argument("--stats_dir", type=Path, help="has stats-<dataset>/; default: the paper's published tables")
    parser.add_results_dir()
    parser.add_argument("--jobs", type=cli.positive, default=os.cpu_count(), help="number of processes that draw")
    args = parser.parse_args()
    args.format = tuple(args.format.split(","))
    unknown = [suffix for suffix in args.format if suffix not in FORMATS]
    if unknown:
        parser.error(f"argument --format: {unknown[0]!r} is not one of {', '.join(FORMATS)}")
    if args.interactive and args.behind:
        parser.error("--behind is for pictures: leave out --interactive")
    return args


def main() -> None:
    args = parse_args()
    from imagenet_errors.plots.figure_table import load_figures, select_figures
    from imagenet_errors.plots.model_frames import find_datasets, load_frames
    from imagenet_errors.plots.page import write_page
    from imagenet_errors.plots.page_data import describe_dataset

    datasets = args.dataset or find_datasets(args.stats_dir or PUBLISHED_TABLES)
    figures = [figure for figure in load_figures(Artefacts(args.artefacts_dir)) if figure.dataset in datasets]
    figures = select_figures(figures, args.family, args.figure)
    if args.stats_dir is None:
        cli.log.info("using the paper's published tables (962 models); --stats_dir results uses your own")
    complete, on_page = True, []
    for dataset in datasets:
        of_dataset = [figure for figure in figures if figure.dataset == dataset]
        if not (of_dataset or args.trends):
            continue
        frames = load_frames(args.stats_dir or PUBLISHED_TABLES, dataset, args.filter)
        if args.trends:
            save_trends(dataset, frames, args.results_dir)
            continue
        drawable, options = prepare(dataset, of_dataset, frames, args)
        complete &= len(drawable) == len(of_dataset)
        if not args.interactive:
            draw(dataset, drawable, frames, options, args.jobs)
        elif drawable:
            on_page.append(describe_dataset(dataset, drawable, frames, options))
    if on_page:
        write_page(figures_page(args.results_dir), on_page, options.highlight)
        cli.log.info(f"wrote {figures_page(args.results_dir)}")
    if not complete:
        sys.exit(1)


def prepare(
    dataset: str, figures: "list[Figure]", frames: "Frames", args: argparse.Namespace
) -> "tuple[list[Figure], DrawingOptions]":
    """The figures of a dataset that the tables have numbers for, and how they are drawn."""
    from imagenet_errors.plots.drawing import DrawingOptions, find_models
    from imagenet_errors.plots.figure_table import plot_against_imagenet_a
    from imagenet_errors.plots.markers import check_column
    from imagenet_errors.plots.model_frames import load_frames
    from imagenet_errors.plots.points import find_empty_columns

    if args.base == "imagenet-a" and dataset == "imagenet-a":
        figures = [plot_against_imagenet_a(figure) for figure in figures]
    for flag in ("marker", "color", "fit_by"):
        column = getattr(args, flag)
        if column and frames["all"][check_column(column, f"--{flag}")].isna().all():
            raise InputError(f"--{flag} {column}: this column of the tables is empty: choose another")
    empty = {figure.file_stem: tuple(find_empty_columns(figure, frames)) for figure in figures}
    for columns in {columns for columns in empty.values() if columns}:
        count, names = list(empty.values()).count(columns), ", ".join(columns)
        cli.log.info(f"{dataset}: {count} of the figures left out, because {names} is empty: {what_fills(columns)}")
    options = DrawingOptions(
        figures_dir(args.results_dir, dataset),
        *(args.format, args.marker, args.color, args.fit_by, args.fit_band, args.save_data, args.style),
        find_models(frames, args.highlight),
        load_frames(PUBLISHED_TABLES, dataset) if args.behind else None,
    )
    return [figure for figure in figures if not empty[figure.file_stem]], options


def draw(dataset: str, figures: "list[Figure]", frames: "Frames", options: "DrawingOptions", jobs: int) -> None:
    from imagenet_errors.plots.drawing import FEW_MODELS, draw_figures

    if len(frames["all"]) <= FEW_MODELS and options.behind is None:
        cli.log.info(f"{dataset}: few models: --behind published draws the paper's 962 in grey behind them")
    for note in draw_figures(figures, frames, options, jobs, dataset):
        cli.log.info(note)
    cli.log.info(f"drew {len(figures)} figures of {dataset} into {options.folder}")


def what_fills(columns: tuple[str, ...]) -> str:
    """The command that fills empty columns of the stats tables."""
    from imagenet_errors.error_types import ERROR_COLUMNS

    if set(columns) & set(ERROR_COLUMNS):
        return "run compute_clip_embeddings.py, then evaluation.py --perform_error_analysis --collect_results"
    return "run evaluation.py --collect_results with the models' ImageNet predictions"


def save_trends(dataset: str, frames: "Frames", results_dir: Path) -> None:
    from imagenet_errors.files import write_csv
    from imagenet_errors.plots.trends import TREND_COLUMNS, compute_trends, format_trends

    rows = compute_trends(dataset, frames)
    if not rows:
        raise InputError(f"the tables of {dataset} have no counts of errors: run evaluation.py --collect_results")
    path = figures_dir(results_dir, dataset) / "trends.csv"
    write_csv(path, TREND_COLUMNS, rows)
    print(f"{dataset}:", *format_trends(rows), sep="\n")
    cli.log.info(f"wrote {path}")


if __name__ == "__main__":
    cli.run(main)
