"""One model's errors as a table, one row an image, and the filters on it: what the page and the notebook show."""

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.explain import explain_rows
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_ERROR_TYPE
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.formats.predictions import NO_PREDICTION

if TYPE_CHECKING:
    import pandas as pd

NUM_NEIGHBOURS = 10
CORRECT = "correct"
PREDICTION_OF, ERROR_TYPE_OF = "prediction of ", "error type of "  # begin the columns of compared models

log = logging.getLogger(__name__)


def list_errors(
    context: DatasetContext,
    model: AnalysedModel,
    compared: Sequence[AnalysedModel] = (),
    others: Sequence[np.ndarray] = (),
) -> "pd.DataFrame":
    """The errors of a model on unproblematic images, and the images on which a compared model alone is wrong.

    Args:
        context: Of the dataset.
        model: Whose errors.
        compared: Models whose answers stand beside.
        others: Top-1 of models that may make the same errors, [n] int16 each, as `read_others` gives them.

    Returns:
        A row per image, in the order of the annotated images, whose positions are the index. What is not known is None
        or NA:

        - `file`: `<WordNet id>/<file name>`
        - `label`, `prediction`: class ids; `accepted`: a tuple of them; with `_text` the descriptions of these
        - `probability`: of the prediction, 0 to 1
        - `top5`: a tuple of class ids
        - `error_type`: its name; `correct` where a compared model alone is wrong
        - `is_provisional`: whether the open-world test could change it
        - `groups`, `superclasses`: tuples of names; those of the accepted labels and of the original label
        - `reason`: a tuple of sentences
        - `nearest`: a tuple of the classes of the nearest training images
        - `num_same`, `num_others`: how many of `others` make this prediction, of those that predict this image
        - `prediction of B`, `error type of B`: of each compared model B
    """
    analyses = [one.analysis for one in (model, *compared)]
    wrong = [~np.isin(one.error_types, (CODES[CORRECT], NO_ERROR_TYPE)) for one in analyses]
    chosen = context.counted_images.counted & np.any(wrong, axis=0) & (analyses[0].error_types != NO_ERROR_TYPE)
    return describe_images(context, np.flatnonzero(chosen), model, compared, others)


def find_errors(context: DatasetContext, models: Sequence[AnalysedModel]) -> "pd.DataFrame":
    """The `list_errors` of the first model beside the others, counted among the models of the folder and these."""
    return list_errors(context, models[0], models[1:], read_all_others(context, models))


def read_all_others(context: DatasetContext, models: Sequence[AnalysedModel]) -> list[np.ndarray]:
    """Top-1 of the models of the folder and of `models`, all but the first, as `read_others` gives them."""
    others = read_others(context, without=[models[0].name])
    return [*others, *(one.analysis.top1 for one in models[1:] if one.name not in context.models)]


def describe_images(
    context: DatasetContext,
    rows: np.ndarray,
    model: AnalysedModel,
    compared: Sequence[AnalysedModel] = (),
    others: Sequence[np.ndarray] = (),
) -> "pd.DataFrame":
    """The table of `list_errors` for the images at `rows` ([k] positions), on which the model has predictions."""
    import pandas as pd

    images, analysis, describe = context.images[rows], model.analysis, context.classes.descriptions
    accepted = [tuple(labels[labels != NO_LABEL].tolist()) for labels in images.labels]
    top1 = analysis.top1[rows]
    columns: dict[str, Any] = {
        "file": images.files,
        "label": images.targets,
        "label_text": [describe[one] for one in images.targets],
        "accepted": accepted,
        "accepted_text": [tuple(describe[one] for one in labels) for labels in accepted],
        "prediction": top1,
        "prediction_text": [describe[one] for one in top1],
        **_find_top5(context, model, rows),
        "error_type": [ERROR_TYPES[code].name for code in analysis.error_types[rows]],
        "is_provisional": analysis.provisional[rows],
        "groups": _list_groups(context, rows),
        "superclasses": [tuple(context.superclasses.names_of(one)) for one in images.targets],
        "reason": [tuple(sentences) for sentences in explain_rows(context, model.analysis, rows)],
        "nearest": _list_nearest(context, rows),
        "num_same": np.sum([one[rows] == top1 for one in others], axis=0, dtype=int) if others else 0,
        "num_others": np.sum([one[rows] != NO_PREDICTION for one in others], axis=0, dtype=int) if others else 0,
    }
    for one in compared:
        predicted, codes = one.analysis.top1[rows], one.analysis.error_types[rows]
        known = predicted != NO_PREDICTION
        columns[PREDICTION_OF + one.name] = pd.Series(predicted, rows, "Int16").where(known)
        columns[ERROR_TYPE_OF + one.name] = [
            ERROR_TYPES[code].name if is_known else None for code, is_known in zip(codes, known, strict=True)
        ]
    return pd.DataFrame(columns, index=pd.Index(rows, name="row"))


def _find_top5(context: DatasetContext, model: AnalysedModel, rows: np.ndarray) -> dict[str, Any]:
    """The probability of the prediction and the five most probable classes; None where they are not known."""
    predictions = model.predictions
    unknown = [None] * len(rows)
    if predictions is None:
        return {"probability": np.full(len(rows), np.nan), "top5": unknown}
    of_samples = np.full(len(context.samples.files), -1)
    of_samples[slice(None) if predictions.rows is None else predictions.rows] = np.arange(len(predictions.top1))
    at = of_samples[context.images.rows[rows]]
    top5, probabilities = predictions.top5, predictions.top5_probs
    return {
        "probability": np.full(len(rows), np.nan) if probabilities is None else probabilities[at, 0].astype(float),
        "top5": unknown if top5 is None else [tuple(classes) for classes in top5[at].tolist()],
    }


def _list_groups(context: DatasetContext, rows: np.ndarray) -> list[tuple[str, ...]]:
    members = {group: context.counted_images.groups[group][rows] for group in GROUPS[1:]}
    return [tuple(group for group, of in members.items() if of[at]) for at in range(len(rows))]


def _list_nearest(context: DatasetContext, rows: np.ndarray) -> list[tuple[int, ...] | None]:
    if context.nearest is None:
        return [None] * len(rows)
    return [tuple(near) for near in context.nearest.targets[rows, :NUM_NEIGHBOURS].tolist()]


def read_others(context: DatasetContext, without: Sequence[str]) -> list[np.ndarray]:
    """Top-1 on the annotated images ([n] int16 each) of the folder's models but those named; faulty ones are logged."""
    found = []
    for name in context.models:
        if name not in without:
            try:
                found.append(ModelFiles(context, name).top1)
            except InputError as error:
                log.info(f"{name} is left out of the counts of models that make the same error: {error}")
    return found


def select(
    errors: "pd.DataFrame",
    error_type: str | None = None,
    group: str | None = None,
    superclass: str | None = None,
    label: int | None = None,
    prediction: int | None = None,
    text: str = "",
    right_in: str | None = None,
    types_of: dict[str, str] | None = None,
    by_half: bool = False,
) -> "pd.DataFrame":
    """The rows of `list_errors` that all given filters keep.

    Args:
        errors: The table.
        error_type: Its name; by default every type but `correct`.
        group: Of images, by an accepted label.
        superclass: Of the original label.
        label: Class id of the original label.
        prediction: Class id.
        text: A part of the file name or of the description of an original, accepted or predicted class, in any case.
        right_in: A compared model; errors that it does not make, as its prediction is the original label.
        types_of: {compared model: error type, or `correct`}.
        by_half: Only what at least half of the other models predict as well.

    Raises:
        InputError: for an unknown error type, group or compared model.
    """
    _check_known("error type", error_type, CODES)
    _check_known("group", group, GROUPS)
    kept = (errors["error_type"] == error_type) if error_type else (errors["error_type"] != CORRECT)
    if group is not None and group != "all":
        kept &= _contains(errors["groups"], group)
    if superclass is not None:
        kept &= _contains(errors["superclasses"], superclass)
    for column, class_id in (("label", label), ("prediction", prediction)):
        if class_id is not None:
            kept &= errors[column] == class_id
    if text:
        kept &= _has_text(errors, text.lower())
    for model, of_model in ((types_of or {}) | ({right_in: CORRECT} if right_in else {})).items():
        _check_known("compared model", model, _list_compared(errors))
        kept &= errors[ERROR_TYPE_OF + model] == of_model
    if by_half:
        kept &= (errors["num_others"] > 0) & (2 * errors["num_same"] >= errors["num_others"])
    return errors[kept]


def _check_known(what: str, name: str | None, names: Iterable[str]) -> None:
    if name is not None and name not in names:
        raise InputError(describe_unknown(what, name, list(names) or ["none"]))


def _list_compared(errors: "pd.DataFrame") -> list[str]:
    names = map(str, errors.columns)
    return [name.removeprefix(ERROR_TYPE_OF) for name in names if name.startswith(ERROR_TYPE_OF)]


def _has_text(errors: "pd.DataFrame", text: str) -> np.ndarray:
    """[k] bool: whether the file or a class of each error has this part; `text` is in lower case."""
    names = zip(errors["file"], errors["label_text"], errors["prediction_text"], errors["accepted_text"], strict=True)
    return np.array([any(text in one.lower() for one in (*single, *accepted)) for *single, accepted in names], bool)


def _contains(column: "pd.Series", name: str) -> np.ndarray:
    """[k] bool: whether the tuples of a column hold a name."""
    return np.array([name in names for names in column], bool)
