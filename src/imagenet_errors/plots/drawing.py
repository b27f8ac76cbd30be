"""From the rows of figures to their files: the work of utils_plot.py."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.files import write_csv
from imagenet_errors.plots import scatter
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.fits import FIT_COLUMNS, fit_figure
from imagenet_errors.plots.legends import Content, draw_legend
from imagenet_errors.plots.markers import GROUP_NAMES, ColorScale, marker_column
from imagenet_errors.plots.model_frames import Frames
from imagenet_errors.plots.panel import Panel
from imagenet_errors.plots.points import compute_points, has_rows, spread_rows
from imagenet_errors.plots.styles import STYLES
from imagenet_errors.processes import pool
from imagenet_errors.progress import show_progress

POINT_COLUMNS = ["group", "model_dir_id", "x", "y"]
FEW_MODELS = 5  # so many are named without being asked for
FEW_PLACES = 3  # so many are named in a line about all that lack something
NO_POINTS = "figures without some points", "empty cells or zero denominators"
NO_LINE = "segments without a line", "fewer than 3 models, or all of one accuracy"


class Note(NamedTuple):
    """That a figure lacks something.

    Attributes:
        what: What is lacking, and why: `NO_POINTS` or `NO_LINE`.
        figure: Its file stem.
        where: How many points, or which segment.
    """

    what: tuple[str, str]
    figure: str
    where: str


@dataclass(frozen=True)
class DrawingOptions:
    """How figures are drawn: the flags of utils_plot.py.

    Attributes:
        folder: Where the files are written.
        formats: Suffixes of the pictures.
        marker, color: Columns that markers and colours show instead of the figure's own.
        fit_by: A column of which each value is fitted separately.
        fit_band: `published` or `regression`.
        save_data: Whether to write the points as well.
        style: `paper` or `slide`.
        highlight: Models, by `model_dir_id`, that are named.
        behind: Tables of the models that are drawn in grey behind the others.
    """

    folder: Path
    formats: tuple[str, ...] = ("png", "pdf")
    marker: str | None = None
    color: str | None = None
    fit_by: str | None = None
    fit_band: str = "published"
    save_data: bool = False
    style: str = "paper"
    highlight: tuple[str, ...] = ()
    behind: Frames | None = None

    def shown_columns(self, figure: Figure) -> tuple[str, str]:
        """The columns that markers and colours of a figure show."""
        return self.marker or figure.marker, self.color or figure.color

    def scale(self, frames: Frames, color: str) -> ColorScale:
        """The scale of colours over all models drawn, those behind as well."""
        drawn = [frames["all"]] if self.behind is None else [frames["all"], self.behind["all"]]
        return ColorScale.from_points(pd.concat(drawn), color)

    def paths(self, stem: str) -> list[Path]:
        return [self.folder / f"{stem}.{suffix}" for suffix in self.formats]


def draw_figures(figures: list[Figure], frames: Frames, options: DrawingOptions, jobs: int, title: str) -> list[str]:
    """Draw figures in a pool of processes, with a progress bar, and the legend that they share.

    Returns:
        A line for what some of them lack, points or lines, with the first of them.
    """
    if jobs == 1 or len(figures) < 3:
        notes = [draw_figure(figure, frames, options) for figure in show_progress(figures, title)]
    else:
        with pool(jobs) as workers:
            tasks = [workers.submit(draw_figure, figure, frames, options) for figure in figures]
            notes = [task.result() for task in show_progress(tasks, title)]
    if figures and not STYLES[options.style].has_legend:
        draw_legends(figures, frames, options)
    return join_notes(list(chain.from_iterable(notes)), title)


def join_notes(notes: list[Note], title: str) -> list[str]:
    """A line for all notes of one kind: their number, why, and the first few places."""
    lines = []
    for what, why in dict.fromkeys(note.what for note in notes):
        places = [f"{note.figure} ({note.where})" for note in notes if note.what == (what, why)]
        rest = len(places) - FEW_PLACES
        named = f"{', '.join(places[:FEW_PLACES])}{f' and {rest:,} more' if rest > 0 else ''}"
        lines.append(f"{title}: {what}: {len(places):,} ({why}): {named}")
    return lines


def draw_figure(figure: Figure, frames: Frames, options: DrawingOptions) -> list[Note]:
    """Draw a figure and write its numbers; returns notes on points left out and segments without a line."""
    points = compute_points(figure, frames)
    lines, unfitted = fit_figure(figure, points, options.fit_by)
    behind = None if options.behind is None else compute_points(figure, options.behind)
    marker, color = options.shown_columns(figure)
    in_rows = has_rows(figure, points)
    shown = points[list(dict.fromkeys([*POINT_COLUMNS, marker_column(marker), color]))]
    panel = Panel(
        figure,
        spread_rows(shown) if in_rows else shown,
        lines,
        options.fit_band,
        marker,
        options.scale(frames, color),
        STYLES[options.style],
        choose_names(frames, options.highlight),
        spread_rows(behind) if in_rows and behind is not None else behind,
        in_rows,
    )
    scatter.draw_scatter(panel, options.paths(figure.file_stem))
    base = options.folder / figure.file_stem
    if lines:
        rows = [line.fit.to_row(line.group, line.value, options.fit_band) for line in lines]
        write_csv(base.with_name(f"{base.name}_fit.csv"), FIT_COLUMNS, rows)
    if options.save_data:
        write_csv(base.with_name(f"{base.name}.csv"), POINT_COLUMNS, points[POINT_COLUMNS].to_dict("records"))
    return find_omissions(figure, frames, points, unfitted)


def find_omissions(figure: Figure, frames: Frames, points: pd.DataFrame, unfitted: list[str]) -> list[Note]:
    """Notes on points left out and segments without a line, from `compute_points` and `fit_figure`."""
    omitted = sum(len(frames[group]) for group in figure.groups) - len(points)
    notes = [Note(NO_POINTS, figure.file_stem, f"{omitted} of {omitted + len(points)}")] if omitted else []
    return notes + [Note(NO_LINE, figure.file_stem, name) for name in unfitted]


def draw_legends(figures: list[Figure], frames: Frames, options: DrawingOptions) -> None:
    """Draw the legend that the figures share, as `legend` beside them; one for each choice of columns, if several."""
    groups = [group for group in GROUP_NAMES if any(group in figure.groups for figure in figures)]
    shown = dict.fromkeys(options.shown_columns(figure) for figure in figures)
    behind = 0 if options.behind is None else len(options.behind["all"])
    for marker, color in shown:
        content = Content(groups, frames["all"], marker, options.scale(frames, color), STYLES[options.style], behind)
        draw_legend(content, options.paths("legend" if len(shown) == 1 else f"legend_{marker}_{color}"))


def choose_names(frames: Frames, highlight: Iterable[str]) -> dict[str, str]:
    """{model_dir_id: name in pictures} of the models to highlight, or of all where there are few.

    A name is the id without its module, unless two have the same.
    """
    listed = frames["all"].model_dir_id.tolist()
    chosen = list(highlight) or (listed if len(listed) <= FEW_MODELS else [])
    short = [model.partition("--")[2] or model for model in chosen]
    return {model: name if short.count(name) == 1 else model for model, name in zip(chosen, short, strict=True)}


def find_models(frames: Frames, names: Iterable[str]) -> tuple[str, ...]:
    """The `model_dir_id` of each of `names`, which may be ids with a slash. Raises `InputError` for an unknown one."""
    listed = frames["all"].model_dir_id.tolist()
    found = [name.replace("/", "--") for name in names]
    for model in found:
        if model not in listed:
            raise InputError(f"--highlight: {describe_unknown('model', model, listed)}")
    return tuple(found)
