"""The heat map of report.py: how far every two models are wrong on the same images."""

from pathlib import Path

import numpy as np

from imagenet_errors.plots.pictures import save_picture

MOST_WITH_NUMBERS = 20  # models
COLOR_MAP = "viridis"


def draw_kappas(names: list[str], kappas: np.ndarray, title: str, path: Path) -> None:
    """Draw a matrix of Cohen's kappas, in the order given, and write it in the format of the path's suffix.

    Args:
        names: [m] of the models.
        kappas: [m, m] float; not-a-number where undefined, which stays white.
        title: Above the picture.
        path: With a suffix that matplotlib knows, e.g. png, pdf or svg.

    Raises:
        InputError: for another suffix.
    """
    from matplotlib.figure import Figure

    size = 1.6 + max(3.0, 0.32 * len(names))
    figure = Figure((size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, kappas)
    image = axes.imshow(shown, cmap=COLOR_MAP)
    labels = [name.replace("$", r"\$") for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), labels, fontsize=7)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=8)
    if len(names) <= MOST_WITH_NUMBERS:
        middle = (np.nanmin(shown, initial=1) + np.nanmax(shown, initial=-1)) / 2
        for row, column in np.argwhere(~np.isnan(shown)).tolist():
            text = f"{shown[row, column]:.2f}".replace("0.", ".", 1)
            color = "black" if shown[row, column] > middle else "white"
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=color)
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.set_label("Cohen's kappa of being wrong", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    save_picture(figure, path)


def list_colors(count: int) -> list[str]:
    """The colours of the heat map from the least kappa to the greatest, as `#rrggbb`."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(rgba) for rgba in colormaps[COLOR_MAP](np.linspace(0, 1, count))]
