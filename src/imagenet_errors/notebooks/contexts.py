"""What a notebook knows of a dataset, from the folder that its first cell names."""

from pathlib import Path

from imagenet_errors.analysis.context import DatasetContext, load_context
from imagenet_errors.notebooks.cells import errors_in_boxes
from imagenet_errors.paths import REPOSITORY, Artefacts


def find_artefacts(artefacts_dir: str | Path | None) -> Artefacts:
    """The artefacts folder; None for the repository's own."""
    return Artefacts(REPOSITORY / "artefacts" if artefacts_dir is None else Path(artefacts_dir))


def open_context(artefacts_dir: str | Path | None = None, dataset: str = "imagenet") -> DatasetContext | None:
    """Read what is known of a dataset; None where it cannot be read, which is shown in a box."""
    with errors_in_boxes():
        return load_context(find_artefacts(artefacts_dir), dataset)
    return None
