"""The figures of a dataset's stats tables, drawn in memory."""

import io
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.notebooks import captions
from imagenet_errors.notebooks.cells import errors_in_boxes, show_box, show_markdown, show_picture
from imagenet_errors.paths import PUBLISHED_TABLES, REPOSITORY, Artefacts, stats_table
from imagenet_errors.plots.drawing import DrawingOptions, draw_figure, draw_legends
from imagenet_errors.plots.figure_table import Figure, load_figures
from imagenet_errors.plots.model_frames import Frames, load_frames
from imagenet_errors.plots.points import compute_points, find_empty_columns
from imagenet_errors.plots.trends import MIN_MODELS, compute_trends

TITLES = {"imagenet": "ImageNet", "imagenet-a": "ImageNet-A"}
PLACES = {1: ("This figure",), 2: ("Left", "Right"), 3: ("Left", "Middle", "Right")}
STYLE = "notebook"
PICTURE_WIDTH = 400  # pixels, of each of the figures in a row
TREND_COLUMNS = ["slope", "r", "r_squared_bent", "corpus_partial_r_squared", "arch_partial_r_squared"]


@dataclass(frozen=True)
class FigurePage:
    """The figures of the tables in a folder.

    Attributes:
        dataset: `imagenet` or `imagenet-a`.
        figures: Those to show.
        frames: The tables; None where they cannot be read, which was shown: then nothing more is.
    """

    dataset: str
    figures: list[Figure]
    frames: Frames | None

    def show_family(self, family: str) -> None:
        """Show the figures of a family: those of one y side by side, with what they show below."""
        if self.frames is None:
            return
        figures = [figure for figure in self.figures if figure.family == family]
        for _, row in groupby(figures, key=lambda figure: (figure.x, figure.y, figure.y_computation)):
            self._show_row(list(row), self.frames)

    def _show_row(self, figures: list[Figure], frames: Frames) -> None:
        empty = dict.fromkeys(name for figure in figures for name in find_empty_columns(figure, frames))
        name = captions.name_y(figures[0])
        if empty:
            show_box(f"No figures of {name}: {', '.join(empty)} is empty in these tables, because a step was skipped.")
            return
        described: set[str] = set()
        sentences = []
        for place, figure in zip(PLACES[len(figures)], figures, strict=True):
            new = [group for group in figure.groups if group not in described]
            described.update(new)
            sentences.append((place, captions.describe_trend(figure, compute_points(figure, frames), new)))
        shown = "; ".join(captions.name_groups(figure.groups) for figure in figures)
        heading = f"{name[0].upper()}{name[1:]} against {captions.name_x(figures[0])}"
        plain = " ".join(f"{place}: {sentence}." for place, sentence in sentences)
        with TemporaryDirectory() as folder:
            options = DrawingOptions(Path(folder), ("png",), style=STYLE)
            notes = [note for figure in figures for note in draw_figure(figure, frames, options)]
            paths = [options.folder / f"{figure.file_stem}.png" for figure in figures]
            picture = join_pictures(paths)
        show_picture(picture, f"{heading}, a mark for each model: {shown}. {plain}", PICTURE_WIDTH * len(figures))
        marked = " ".join(f"*{place}:* {sentence}." for place, sentence in sentences)
        lacking = dict.fromkeys((*note.what, note.where) for note in notes)
        remarks = "".join(f"\n\n{what} ({why}): {where}" for what, why, where in lacking)
        show_markdown(f"**{heading}.** {marked}{remarks}")

    def show_trends(self) -> None:
        """Show how shares depend on accuracy, corpus and architecture."""
        if self.frames is None:
            return
        import pandas as pd
        from IPython.display import display

        table = pd.DataFrame(compute_trends(self.dataset, self.frames)).set_index(["error_type", "group"])
        if table.slope.isna().all():
            show_box(
                f"Trends need {MIN_MODELS} models of several corpora; these tables have {count_models(self.frames)}."
            )
        else:
            display(table[TREND_COLUMNS].astype(float).round(3))


def open_page(dataset: str, stats_dir: str | Path | None = None, families: list[str] | None = None) -> FigurePage:
    """Read the tables of a dataset and show a title that says which they are.

    Args:
        dataset: `imagenet` or `imagenet-a`.
        stats_dir: The folder with `stats-<dataset>/`; None for the paper's published tables.
        families: Of the figures to show; None for all.
    """
    folder = PUBLISHED_TABLES if stats_dir is None else Path(stats_dir)
    figures: list[Figure] = []
    frames = None
    with errors_in_boxes():
        figures = select_figures(dataset, families)
        table = stats_table(folder, dataset, "all")
        if not table.is_file():
            raise InputError(
                f"{table} is missing: set stats_dir in the first cell to a folder with stats-{dataset}/, which"
                " evaluation.py --collect_results writes"
            )
        frames = load_frames(folder, dataset)
    num_models = "" if frames is None else f"{count_models(frames)} "
    show_markdown(f"# How {num_models or 'models '}fail on {TITLES[dataset]}")
    if frames is not None:
        of = "the paper's published ones" if stats_dir is None else f"those in `{folder}`"
        show_markdown(f"The tables are {of}. {captions.describe_method(len(frames['all']))}")
        show_legend(figures, frames)
    return FigurePage(dataset, figures, frames)


def show_legend(figures: list[Figure], frames: Frames) -> None:
    """Show what marks and hues mean in all figures."""
    with TemporaryDirectory() as folder:
        options = DrawingOptions(Path(folder), ("png",), style=STYLE)
        draw_legends(figures, frames, options)
        for path in sorted(options.folder.glob("*.png")):
            show_picture(path.read_bytes(), "Legend: the marks of each corpus of training images", 2 * PICTURE_WIDTH)


def select_figures(dataset: str, families: list[str] | None) -> list[Figure]:
    """The figures of a dataset. Raises `InputError` for an unknown family."""
    figures = [figure for figure in load_figures(Artefacts(REPOSITORY / "artefacts")) if figure.dataset == dataset]
    known = {figure.family for figure in figures}
    for family in families or ():
        if family not in known:
            raise InputError(f"families: {describe_unknown('family', family, sorted(known))}")
    return [figure for figure in figures if not families or figure.family in families]


def count_models(frames: Frames) -> str:
    """E.g. `962 models`."""
    number = len(frames["all"])
    return f"{number:,} model{'' if number == 1 else 's'}"


def join_pictures(paths: list[Path]) -> bytes:
    """The PNG of pictures side by side, on white where they differ in height."""
    from matplotlib.image import imread, imsave

    pictures = [np.asarray(imread(path))[:, :, :3] for path in paths]
    height = max(len(picture) for picture in pictures)
    padded = [np.pad(one, ((0, height - len(one)), (0, 0), (0, 0)), constant_values=1) for one in pictures]
    content = io.BytesIO()
    imsave(content, np.concatenate(padded, axis=1), format="png")
    return content.getvalue()
