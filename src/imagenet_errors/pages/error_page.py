"""One model's errors as one HTML file: its profile, confusions and comparisons, and a gallery with filters."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_errors.analysis.analysed_models import AnalysedModel, describe_inputs
from imagenet_errors.analysis.browse import ERROR_TYPE_OF, PREDICTION_OF, list_errors, read_all_others
from imagenet_errors.analysis.class_errors import ClassErrors, count_class_errors
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.outcomes import OUTCOMES
from imagenet_errors.analysis.pair_report import report_pair
from imagenet_errors.analysis.profile import make_profile
from imagenet_errors.analysis.profile_report import report_profile
from imagenet_errors.analysis.reference import Reference
from imagenet_errors.analysis.shares import ERROR_NAMES
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.files import write_text
from imagenet_errors.pages.page_parts import check_name, join_scripts, render_page
from imagenet_errors.pages.pictures import describe_pictures

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
FOLDER = Path(__file__).parent
SCRIPTS = (
    *("elements.js", "error_filters.js", "error_profile.js", "error_places.js", "cards.js", "error_gallery.js"),
    *("gallery_page.js", "error_page.js"),
)
TYPE_NAMES = [ERROR_TYPES[code].name for code in OUTCOMES]
UNKNOWN = -1  # a class id or an error type that is not known


def write_error_page(
    context: DatasetContext,
    models: Sequence[AnalysedModel],
    reference: Reference | None,
    path: Path,
    images: Path | None = None,
    num_embedded: int = 0,
) -> None:
    """Write the page of the first model, compared with the others.

    Args:
        context: Of the dataset.
        models: With their errors on its images.
        reference: What the profile is compared with; None for nothing.
        path: Of the page; an existing file is replaced.
        images: The folder that has the images, as `<WordNet id>/<file>` or `<file>`; None for cards without pictures.
        num_embedded: Of how many errors of each type, the first in the order of files, the page holds a thumbnail.

    Raises:
        InputError: where `path` is not named .html, the folder has none of the images, or one to be held cannot be
            read.
    """
    check_name(path)
    write_text(path, render(make_payload(context, models, reference, path, images, num_embedded)))


def make_payload(
    context: DatasetContext,
    models: Sequence[AnalysedModel],
    reference: Reference | None,
    path: Path,
    images: Path | None = None,
    num_embedded: int = 0,
) -> dict[str, Any]:
    """What the page holds, as JSON; arguments as for `write_error_page`. The form is in docs/file_formats.md."""
    model, *compared = models
    profile = report_profile(make_profile(context, model, reference))
    others = read_all_others(context, models)
    errors = list_errors(context, model, compared, others)
    return {
        "schema_version": SCHEMA_VERSION,
        "profile": profile.content,
        "heading": profile.heading,
        "notes": profile.notes[len(profile.content["sentences"]) :],
        "reference": reference and _describe_reference(reference),
        "comparisons": [_describe_pair(context, model, other) for other in compared],
        "made_from": describe_inputs(list(models)),
        "classes": context.classes.descriptions,
        "wordnet_ids": context.classes.wnids,
        "types": [{"name": ERROR_TYPES[code].name, "title": ERROR_TYPES[code].title} for code in OUTCOMES],
        "groups": GROUPS[1:],
        "class_errors": _describe_class_errors(count_class_errors(context, model, others)),
        "errors": encode_errors(errors, [one.name for one in compared]),
        "images": _describe_images(errors, images, path, num_embedded),
    }


def _describe_images(
    errors: "pd.DataFrame", folder: Path | None, path: Path, num_embedded: int
) -> dict[str, Any] | None:
    """Where the images are, and thumbnails of the first of each error type; None without a folder."""
    if folder is None:
        return None
    types = errors["error_type"].to_numpy()
    return describe_pictures(
        errors["file"].tolist(), [np.flatnonzero(types == name) for name in TYPE_NAMES], folder, path, num_embedded
    )


def _describe_reference(reference: Reference) -> dict[str, Any]:
    """The points and curves that are drawn behind the model, in percent with two digits; None where unknown."""
    shares = {
        group: {name: _round(of_group[:, column]) for column, name in enumerate(ERROR_NAMES)}
        for group, of_group in zip(GROUPS, reference.shares.transpose(1, 0, 2), strict=True)
    }
    curves = {
        group: {
            name: None if np.isnan(curve.expected).all() else {key: _round(of) for key, of in vars(curve).items()}
            for name, curve in zip(ERROR_NAMES, reference.compute_curves(group), strict=True)
        }
        for group in GROUPS
    }
    return {"mla": _round(reference.mla), "shares": shares, "curves": curves}


def _round(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 2) for value in values.tolist()]


def _describe_pair(context: DatasetContext, first: AnalysedModel, second: AnalysedModel) -> dict[str, Any]:
    report = report_pair(context, [first, second])
    return {"name": second.name, "heading": report.heading, "notes": report.notes, **report.content}


def _describe_class_errors(errors: ClassErrors) -> dict[str, Any]:
    return {
        "num_images": errors.num_images.tolist(),
        "expected": None if errors.expected is None else _round(errors.expected),
        "num_models": errors.num_models,
        "stands_out": errors.stands_out,
    }


def encode_errors(errors: "pd.DataFrame", compared: Sequence[str]) -> dict[str, Any]:
    """The table of `browse.list_errors` as columns of integers that point into lists of distinct values."""
    superclasses, superclass_lists = _number_lists(errors["superclasses"])
    sentences, reasons = _number_lists(errors["reason"])
    types = {name: code for code, name in enumerate(TYPE_NAMES)}
    bits = {name: 1 << position for position, name in enumerate(GROUPS[1:])}
    has_top5, has_nearest = errors["top5"].notna().any(), errors["nearest"].notna().any()
    return {
        "file": errors["file"].tolist(),
        "label": errors["label"].tolist(),
        "accepted": errors["accepted"].tolist(),
        "prediction": errors["prediction"].tolist(),
        "probability": [None if np.isnan(one) else round(one, 4) for one in errors["probability"]],
        "top5": errors["top5"].tolist() if has_top5 else None,
        "type": [types[name] for name in errors["error_type"]],
        "provisional": np.flatnonzero(errors["is_provisional"]).tolist(),
        "groups": [sum(bits[name] for name in names) for names in errors["groups"]],
        "superclass_names": superclasses,
        "superclasses": superclass_lists,
        "sentences": sentences,
        "reason": reasons,
        "nearest": errors["nearest"].tolist() if has_nearest else None,
        "num_same": errors["num_same"].tolist(),
        "num_others": errors["num_others"].tolist(),
        "compared": [
            {
                "name": name,
                "prediction": errors[PREDICTION_OF + name].fillna(UNKNOWN).tolist(),
                "type": [types.get(one, UNKNOWN) for one in errors[ERROR_TYPE_OF + name]],
            }
            for name in compared
        ],
    }


def _number_lists(lists: Iterable[Sequence[str]]) -> tuple[list[str], list[list[int]]]:
    """Distinct texts in the order of their appearance, and the lists as positions among these."""
    numbers: dict[str, int] = {}
    numbered = [[numbers.setdefault(text, len(numbers)) for text in texts] for texts in lists]
    return list(numbers), numbered


def render(payload: dict[str, Any]) -> str:
    """The page as HTML."""
    title = f"Errors of {payload['profile']['model']} on {payload['profile']['dataset']}"
    script = join_scripts((FOLDER / name).read_text("utf-8") for name in SCRIPTS)
    return render_page(title, BODY, (FOLDER / "error_page.css").read_text("utf-8"), [script], payload)


BODY = """<a class="skip" href="#gallery">Skip to the gallery</a>
<header id="head"></header>
<main>
<noscript><p>This page needs JavaScript, which it holds itself.</p></noscript>
<section id="profile" aria-labelledby="profile-title"></section>
<section id="comparisons" aria-label="Comparisons"></section>
<section id="confusions" aria-labelledby="confusions-title"></section>
<section id="filters" aria-labelledby="gallery-title"></section>
<section id="gallery" aria-label="Errors" tabindex="-1"></section>
</main>"""
