"""Draw the paper's figures from the stats tables."""

import os
import sys
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.errors import InputError
from imagenet_errors.paths import REPOSITORY, Artefacts
from imagenet_errors.progress import show_progress

FORMATS = ("png", "pdf", "svg")


def parse_args():
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--dataset", nargs="+", default=["imagenet", "imagenet-a"], choices=["imagenet", "imagenet-a"], help="whose"
    )
    parser.add_argument("--family", nargs="+", help="families of figures; default: all")
    parser.add_argument("--figure", nargs="+", help="figures by file stem or wildcard; default: all")
    parser.add_argument("--filter", nargs="+", default=[], help="only models that meet all, as num_params<5e7")
    parser.add_argument("--marker", help="what the shape stands for, e.g. arch_group; default: the corpus")
    parser.add_argument("--color", help="what the shade stands for, e.g. num_params; default: the corpus' size")
    parser.add_argument("--fit_by", help="fit each value of this column apart, e.g. training_data_group")
    parser.add_argument("--fit_band", choices=["published", "regression"], default="published", help="of the lines")
    parser.add_argument(
        "--base", choices=["imagenet", "imagenet-a"], default="imagenet", help="x of ImageNet-A figures"
    )
    parser.add_argument("--format", default="png,pdf", help=f"what to write, of {', '.join(FORMATS)}, joined by commas")
    parser.add_argument("--save_data", action="store_true", help="also write the points plotted")
    parser.add_argument("--interactive", action="store_true", help="one HTML page per family instead of pictures")
    parser.add_argument("--trends", action="store_true", help="print and save what shares depend on; draw nothing")
    parser.add_argument("--stats_dir", type=Path, default=REPOSITORY, help="holds stats-<dataset>/")
    parser.add_argument("--results_dir", type=Path, default=REPOSITORY, help="where figures/<dataset>/ goes")
    parser.add_argument("--jobs", type=cli.positive, default=os.cpu_count(), help="processes that draw")
    args = parser.parse_args()
    args.format = tuple(args.format.split(","))
    wrong = [one for one in args.format if one not in FORMATS]
    if wrong:
        parser.error(f"argument --format: {wrong[0]!r} is none of {', '.join(FORMATS)}")
    return args


def main() -> None:
    args = parse_args()
    from imagenet_errors.plots import stats
    from imagenet_errors.plots.figure_table import load_figures, select

    figures = load_figures(Artefacts(args.artefacts_dir))
    figures = select([one for one in figures if one.dataset in args.dataset], args.family, args.figure)
    complete = True
    for dataset in args.dataset:
        chosen = [figure for figure in figures if figure.dataset == dataset]
        if not (chosen or args.trends):
            continue
        frames = stats.load(args.stats_dir, dataset, args.filter)
        if args.trends:
            save_trends(dataset, frames, args.results_dir)
        else:
            complete &= draw(dataset, chosen, frames, args)
    if not complete:
        sys.exit(1)


def draw(dataset: str, figures: list, frames: dict, args) -> bool:
    """Draw the figures of a dataset; returns whether none was left out for want of numbers."""
    from imagenet_errors.paths import figures_dir
    from imagenet_errors.plots import points
    from imagenet_errors.plots.drawing import Options
    from imagenet_errors.plots.figure_table import on_imagenet_a
    from imagenet_errors.plots.markers import check

    if args.base == "imagenet-a" and dataset == "imagenet-a":
        figures = [on_imagenet_a(figure) for figure in figures]
    for flag in ("marker", "color", "fit_by"):
        if getattr(args, flag):
            column = check(getattr(args, flag), f"--{flag}")
            if frames["all"][column].isna().all():
                raise InputError(f"--{flag} {column}: the tables do not say it of any model")
    empty = {figure.file_stem: points.missing_columns(figure, frames) for figure in figures}
    whole = [figure for figure in figures if not empty[figure.file_stem]]
    for columns in {tuple(columns) for columns in empty.values() if columns}:
        count = sum(tuple(found) == columns for found in empty.values())
        cli.log.info(
            f"{dataset}: {count} of the figures left out, for {', '.join(columns)} is empty: {what_fills(columns)}"
        )
    folder = figures_dir(args.results_dir, dataset)
    options = Options(folder, args.format, args.marker, args.color, args.fit_by, args.fit_band, args.save_data)
    if args.interactive:
        write_pages(whole, frames, options)
    else:
        draw_all(dataset, whole, frames, options, args.jobs)
    return len(whole) == len(figures)


def what_fills(columns: tuple[str, ...]) -> str:
    from imagenet_errors.error_types import ERROR_COLUMNS

    if set(columns) & set(ERROR_COLUMNS):
        return "run compute_clip_embeddings.py, then evaluation.py --perform_error_analysis --collect_results"
    return "run evaluation.py --collect_results with the models' ImageNet predictions"


def draw_all(dataset: str, figures: list, frames: dict, options, jobs: int) -> None:
    """Draw in a pool of processes, with a progress bar."""
    from itertools import chain

    from imagenet_errors.plots.drawing import make
    from imagenet_errors.processes import pool

    if jobs == 1 or len(figures) < 3:
        remarks = [make(figure, frames, options) for figure in show_progress(figures, dataset)]
    else:
        with pool(jobs) as workers:
            waiting = [workers.submit(make, figure, frames, options) for figure in figures]
            remarks = [one.result() for one in show_progress(waiting, dataset)]
    for remark in chain.from_iterable(remarks):
        cli.log.info(remark)
    cli.log.info(f"drew {len(figures)} of {dataset} into {options.folder}")


def write_pages(figures: list, frames: dict, options) -> None:
    from imagenet_errors.plots.interactive import write_page

    for family in dict.fromkeys(figure.family for figure in figures):
        path = write_page(family, [figure for figure in figures if figure.family == family], frames, options)
        cli.log.info(f"wrote {path}")


def save_trends(dataset: str, frames: dict, results_dir: Path) -> None:
    from imagenet_errors.files import write_csv
    from imagenet_errors.paths import figures_dir
    from imagenet_errors.plots import trends
    from imagenet_errors.plots.trends import COLUMNS

    rows = trends.trends(dataset, frames)
    if not rows:
        raise InputError(f"the tables of {dataset} count no errors: run evaluation.py --collect_results")
    path = figures_dir(results_dir, dataset) / "trends.csv"
    write_csv(path, COLUMNS, rows)
    print(f"{dataset}:", *trends.report(rows), sep="\n")
    cli.log.info(f"wrote {path}")


if __name__ == "__main__":
    cli.run(main)
