"""From one figure's row to its files: the unit of work of utils_plot.py."""

from dataclasses import dataclass
from pathlib import Path

from imagenet_errors.files import write_csv
from imagenet_errors.plots import scatter
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.fits import FIT_COLUMNS, fit_figure
from imagenet_errors.plots.model_frames import Frames
from imagenet_errors.plots.points import compute_points

POINT_COLUMNS = ["group", "model_dir_id", "x", "y"]


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
    """

    folder: Path
    formats: tuple[str, ...] = ("png", "pdf")
    marker: str | None = None
    color: str | None = None
    fit_by: str | None = None
    fit_band: str = "published"
    save_data: bool = False

    def shown_columns(self, figure: Figure) -> tuple[str, str]:
        """The columns that markers and colours of a figure show."""
        return self.marker or figure.marker, self.color or figure.color


def draw_figure(figure: Figure, frames: Frames, options: DrawingOptions) -> list[str]:
    """Draw a figure and write its numbers; returns notes on points left out and segments without a line."""
    points = compute_points(figure, frames)
    omitted = sum(len(frames[group]) for group in figure.groups) - len(points)
    notes = [f"{omitted} of the points left out: empty cells or zero denominators"] if omitted else []
    lines, unfitted = fit_figure(figure, points, options.fit_by)
    notes += [f"no line for {name}: fewer than 3 models, or all of one accuracy" for name in unfitted]
    base = options.folder / figure.file_stem
    paths = [base.with_name(f"{base.name}.{suffix}") for suffix in options.formats]
    scatter.draw_scatter(figure, points, lines, options.fit_band, *options.shown_columns(figure), paths)
    if lines:
        rows = [line.fit.to_row(line.group, line.value, options.fit_band) for line in lines]
        write_csv(base.with_name(f"{base.name}_fit.csv"), FIT_COLUMNS, rows)
    if options.save_data:
        write_csv(base.with_name(f"{base.name}.csv"), POINT_COLUMNS, points[POINT_COLUMNS].to_dict("records"))
    return [f"{figure.file_stem}: {note}" for note in notes]
