"""What one picture shows, and how."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.fits import GroupLine
from imagenet_errors.plots.markers import ColorScale
from imagenet_errors.plots.styles import Style


@dataclass(frozen=True)
class Panel:
    """What one picture shows, and how.

    Attributes:
        figure: Which.
        points: Its `compute_points`, moved apart where they lie in rows.
        lines: Its `fit_figure`.
        band: `published` or `regression`.
        marker: The column that markers show.
        scale: From the values of a column to colours.
        style: How large everything is.
        names: {model_dir_id: name} of the models that are highlighted.
        behind: Points of other tables, in grey behind the figure's.
        spread: Whether the points were moved apart.
    """

    figure: Figure
    points: pd.DataFrame
    lines: list[GroupLine]
    band: str
    marker: str
    scale: ColorScale
    style: Style
    names: dict[str, str] = field(default_factory=dict)
    behind: pd.DataFrame | None = None
    spread: bool = False

    def points_of(self, group: str) -> pd.DataFrame:
        return self.points[self.points.group == group]

    def places(self) -> np.ndarray:
        """[n, 2] x and y of all points, those behind as well."""
        parts = [self.points] if self.behind is None else [self.points, self.behind]
        return np.vstack([part[["x", "y"]].to_numpy(float) for part in parts])
