"""A model beside the experts' lists of mistakes."""

from pathlib import Path

import numpy as np

from imagenet_errors.analysis.beside_experts import BesideExperts, place_beside_experts
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.study import REFERENCE_MODELS
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError
from imagenet_errors.importing.importer import Importer, Options
from imagenet_errors.notebooks.cells import show_markdown
from imagenet_errors.reporting.load import load_models


def place_model(context: DatasetContext, model: str | None) -> BesideExperts:
    """Look up a model on the experts' images, and show which model it is.

    Args:
        context: Of ImageNet.
        model: A model of the artefacts folder or a file of its predictions; None for the first model of the folder
            that is not one of those whose mistakes the experts saw.

    Raises:
        InputError: where there is no model, it cannot be read, or has no prediction for the images of the lists.
    """
    if model is None:
        others = [name for name in context.models if name not in REFERENCE_MODELS]
        if not others:
            raise InputError(
                "no model has predictions here: set model in the first cell to a file of predictions, or import one"
                " with import_predictions.py"
            )
        model = others[0]
    importer = Importer(context.artefacts, DATASETS["imagenet"], Options(read_tensors=_read_tensors))
    _, [analysed] = load_models(importer, [model], "auto")
    show_markdown(f"**{analysed.name}** ({analysed.extent})")
    return place_beside_experts(context, analysed.analysis)


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    from imagenet_errors.inference.tensor_files import read_tensors

    return read_tensors(path)
