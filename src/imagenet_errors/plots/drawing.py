"""One figure from its row to its files: the unit of work of utils_plot.py, alone or in a pool of processes."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from imagenet_errors.files import write_csv
from imagenet_errors.plots import fits, markers, scatter
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.fits import COLUMNS, Fit
from imagenet_errors.plots.points import points

POINT_COLUMNS = ["group", "model_dir_id", "x", "y"]


@dataclass(frozen=True)
class Options:
    """How figures are drawn: the flags of utils_plot.py.

    Attributes:
        folder: Where they go.
        formats: Suffixes of what to write.
        marker, color: Columns instead of the figure's own.
        fit_by: A column each value of which is fitted apart.
        fit_band: `published` or `regression`.
        save_data: Also write the points.
    """

    folder: Path
    formats: tuple[str, ...] = ("png", "pdf")
    marker: str | None = None
    color: str | None = None
    fit_by: str | None = None
    fit_band: str = "published"
    save_data: bool = False

    def shown(self, figure: Figure) -> tuple[str, str]:
        """The columns that shape and shade of a figure stand for."""
        return self.marker or figure.marker, self.color or figure.color


def make(figure: Figure, frames: dict[str, pd.DataFrame], options: Options) -> list[str]:
    """Draw a figure and write its numbers; returns remarks."""
    shown = points(figure, frames)
    left_out = sum(len(frames[group]) for group in figure.groups) - len(shown)
    remarks = [f"{left_out} of the points left out, for empty cells or zero denominators"] if left_out else []
    lines, without = fit_lines(figure, shown, options.fit_by)
    remarks += [f"no line for {name}: fewer than 3 models, or all of one accuracy" for name in without]
    base = options.folder / figure.file_stem
    paths = [base.with_name(f"{base.name}.{suffix}") for suffix in options.formats]
    scatter.draw(figure, shown, lines, options.fit_band, *options.shown(figure), paths)
    if lines:
        rows = [line.row(group, value, options.fit_band) for group, value, line in lines]
        write_csv(base.with_name(f"{base.name}_fit.csv"), COLUMNS, rows)
    if options.save_data:
        write_csv(base.with_name(f"{base.name}.csv"), POINT_COLUMNS, shown[POINT_COLUMNS].to_dict("records"))
    return [f"{figure.file_stem}: {remark}" for remark in remarks]


def fit_lines(
    figure: Figure, shown: pd.DataFrame, fit_by: str | None = None
) -> tuple[list[tuple[str, str, Fit]], list[str]]:
    """The lines of a figure as (group, value, line), and the names of segments that have none."""
    lines, without = [], []
    for group, inflection in figure.inflections.items():
        of_group = shown[shown.group == group]
        values = markers.shapes(of_group, fit_by) if fit_by else pd.Series("", of_group.index)
        for value in values.unique():
            some = of_group[values == value]
            for line in fits.fit(some.x.to_numpy(), some.y.to_numpy(), inflection):
                if line is None:
                    without.append(f"{group} {value}".strip())
                else:
                    lines.append((group, value, line))
    return lines, without
