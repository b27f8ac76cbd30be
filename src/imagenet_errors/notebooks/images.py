"""Images with their labels, a model's prediction and its error type."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_errors.analysis.analysed_models import read_analysed
from imagenet_errors.analysis.browse import NUM_NEIGHBOURS, describe_images, select
from imagenet_errors.analysis.context import DatasetContext, load_context
from imagenet_errors.analysis.explain import explain
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.open_world import OpenWorld
from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.dataset.dataset_table import DATASETS, Dataset
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.error_types import ERROR_CODES, ERROR_TYPES, NO_ERROR_TYPE
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.notebooks.cells import errors_in_boxes, show_box, show_markdown, show_picture
from imagenet_errors.notebooks.contexts import find_artefacts
from imagenet_errors.paths import REPOSITORY, Artefacts, model_dir_id

if TYPE_CHECKING:
    import pandas as pd

PICTURE_SIZE = 160  # pixels, of the longer side

ReadPicture = Callable[[str], tuple[bytes, int]]


@dataclass(frozen=True)
class ImagePage:
    """The annotated images of a dataset.

    Attributes:
        context: Of the dataset.
        model: Whose predictions are explained; None where there are none.
        read_picture: Gives the PNG of a file and its width; None where the images are not here.
    """

    context: DatasetContext
    model: str | None
    read_picture: ReadPicture | None

    @cached_property
    def table(self) -> "pd.DataFrame":
        """What is known of each image that the model has a prediction for, as `browse.list_errors` has it."""
        if self.model is None:
            raise InputError("there are no predictions, so no image has an error type")
        model = read_analysed(ModelFiles(self.context, self.model))
        return describe_images(self.context, np.flatnonzero(model.analysis.error_types != NO_ERROR_TYPE), model)

    def by_name(self, part: str) -> np.ndarray:
        """Positions of the images with this part in their file name."""
        return np.flatnonzero([part in file for file in self.context.images.files.tolist()])

    def by_class(self, words: str) -> np.ndarray:
        """Positions of the images with an original or accepted label that has these words in its description."""
        ids = [i for i, description in enumerate(self.context.classes.descriptions) if words in description]
        images = self.context.images
        return np.flatnonzero(np.isin(images.targets, ids) | np.isin(images.labels, ids).any(axis=1))

    def by_type(self, name: str) -> np.ndarray:
        """Positions of the images on which the model makes an error of this type, e.g. `fine_grained`."""
        return self.select(error_type=name).index.to_numpy()

    def select(self, **filters: Any) -> "pd.DataFrame":
        """The rows of `table` that filters of `browse.select` keep; `show` takes their index."""
        return select(self.table, **filters)

    def show(self, rows: Iterable[int], limit: int = 4) -> None:
        """Show images by position, each with its labels and what the model's prediction is."""
        shown = list(rows)[:limit]
        if not shown:
            show_box("No image matches.")
        for row in shown:
            lines = self.describe(row)
            if self.read_picture is not None:
                with errors_in_boxes():
                    content, width = self.read_picture(self.context.images.files[row])
                    show_picture(content, " ".join(lines[:2]), width)
            print(*lines, sep="\n")

    def show_types(self) -> None:
        """Show how many errors of each type the model makes, and an image of each."""
        if self.model is None:
            show_box("Without predictions there are no errors.")
            return
        for code in ERROR_CODES:
            rows = self.by_type(ERROR_TYPES[code].name)
            show_markdown(f"**{ERROR_TYPES[code].title}:** {len(rows):,} errors of {self.model}")
            if len(rows):
                self.show(rows, limit=1)

    def describe(self, row: int) -> list[str]:
        """What is known of an image, in lines."""
        context, images = self.context, self.context.images
        if self.model is not None and ModelFiles(context, self.model).top1[row] != NO_PREDICTION:
            lines = explain(context, str(images.files[row]), self.model)
        else:
            labels = images.labels[row][images.labels[row] != NO_LABEL]
            lines = [
                str(images.files[row]),
                f"The original label is {context.classes.describe(images.targets[row])}.",
                f"Accepted labels: {'; '.join(map(context.classes.describe, labels)) or 'none'}.",
            ]
        if isinstance(context.open_world, OpenWorld):
            near = context.open_world.nearest.targets[row, :NUM_NEIGHBOURS]
            lines.append(f"Nearest training images: {'; '.join(map(context.classes.describe, near))}")
        return lines


def open_images(
    dataset: str = "sample", artefacts_dir: str | Path | None = None, model: str | None = None
) -> ImagePage | None:
    """Read a dataset and find its images and models; None, with a box that says why, where that is impossible.

    Args:
        dataset: A name of dataset_table.DATASETS.
        artefacts_dir: The folder with predictions; None for the repository's own, for the sample that of `make demo`.
        model: Whose predictions are explained; None for the first of the folder.
    """
    with errors_in_boxes():
        if dataset not in DATASETS:
            raise InputError(describe_unknown("dataset", dataset, DATASETS))
        artefacts = find_artefacts(artefacts_dir)
        of_demo = Artefacts(REPOSITORY / "demo" / "artefacts")
        if artefacts_dir is None and of_demo.samples(dataset).exists():
            artefacts = of_demo
        read_picture = samples = None
        with errors_in_boxes():
            read_picture, samples = find_pictures(artefacts, DATASETS[dataset])
        is_listed = artefacts.samples(dataset).exists() or dataset == "imagenet"
        context = load_context(artefacts, dataset, samples=None if is_listed else samples)
        return ImagePage(context, _choose_model(context, model), read_picture)
    return None


def find_pictures(artefacts: Artefacts, dataset: Dataset) -> tuple[ReadPicture, Samples]:
    """How images are read, and which there are. Raises `InputError` where they or the packages for them are missing."""
    try:
        from imagenet_errors.inference.image_sources import find_source
    except ModuleNotFoundError as error:
        raise InputError(f"pictures need the package {error.name}: pip install -r requirements.txt") from None
    source = find_source(artefacts, dataset)

    def read_picture(file: str) -> tuple[bytes, int]:
        picture, content = source.by_file[file].decode(), io.BytesIO()
        picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE))
        picture.save(content, "png")
        return content.getvalue(), picture.width

    return read_picture, source.samples


def _choose_model(context: DatasetContext, model: str | None) -> str | None:
    """The folder of the model asked for, or of the first; None, with a box, where there is none."""
    if model is not None and model_dir_id(model) not in context.models:
        raise InputError(describe_unknown("model", model, context.models or ["none"]))
    if not context.models:
        with_demo = "make demo" if context.dataset == "sample" else "collect_predictions.py or import_predictions.py"
        show_box(f"No model has predictions for these images: {with_demo} writes some. Labels are shown without.")
        return None
    chosen = context.models[0] if model is None else model_dir_id(model)
    print(f"{len(context.images):,} annotated images of {context.dataset}, predictions of {chosen}")
    return chosen
