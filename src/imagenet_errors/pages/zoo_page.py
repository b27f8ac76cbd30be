"""All analysed models as one HTML file: a table, figures, error consistency, and the images that most get wrong."""

import base64
import html
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors import __version__
from imagenet_errors.analysis.accuracies import measure_accuracies
from imagenet_errors.analysis.analysed_models import join_files
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.hardest_images import HardestImages, find_hardest
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.outcomes import OUTCOMES, WRONG
from imagenet_errors.analysis.profile import ShareLine, count_lines
from imagenet_errors.analysis.several_models import KappaMatrix, cluster_models, measure_kappas
from imagenet_errors.analysis.shares import ERROR_NAMES
from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.files import write_text
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.pages.page_parts import join_scripts, render_page
from imagenet_errors.pages.pictures import describe_pictures
from imagenet_errors.plots.figure_table import DATASET_TITLES
from imagenet_errors.plots.kappas import list_colors
from imagenet_errors.plots.page import read_drawing_parts
from imagenet_errors.progress import show_progress

SCHEMA_VERSION = 1
FOLDER = Path(__file__).parent
SCRIPTS = (
    "elements.js",
    "zoo_table.js",
    "zoo_kappas.js",
    "zoo_images.js",
    "cards.js",
    "gallery_page.js",
    "zoo_page.js",
)
STYLES = ("error_page.css", "zoo_page.css")
KAPPA_UNIT = 10_000  # kappas are stored as integers of this part of 1 ...
NO_KAPPA = -32_768  # ... and this one for an undefined one
NUM_COLORS = 64
NO_OUTCOME_DIGIT = "-"
ACCURACIES = ("top1", "multi_label", "real")  # of `measure_accuracies`


def write_zoo_page(
    context: DatasetContext,
    models: Sequence[ModelFiles],
    analyses: Sequence[ErrorAnalysis],
    figures: dict[str, Any] | None,
    left_out: Sequence[str],
    path: Path,
    images: Path | None = None,
    num_embedded: int = 0,
) -> None:
    """Write the page of all models of a dataset.

    Args:
        context: Of the dataset.
        models: Of its folder.
        analyses: The current ones of some or all of these.
        figures: Of the models of `analyses`, in their order, as `reporting.zoo.describe_figures` gives them.
        left_out: Why others are left out, a line each.
        path: Of the page; an existing file is replaced.
        images: The folder that has the images, as `<WordNet id>/<file>` or `<file>`; None for cards without pictures.
        num_embedded: Of how many images of each gallery, the first ones, the page holds a thumbnail.

    Raises:
        InputError: where the folder has none of the images, or one to be held cannot be read.
    """
    write_text(path, render(make_payload(context, models, analyses, figures, left_out, path, images, num_embedded)))


def make_payload(
    context: DatasetContext,
    models: Sequence[ModelFiles],
    analyses: Sequence[ErrorAnalysis],
    figures: dict[str, Any] | None,
    left_out: Sequence[str],
    path: Path,
    images: Path | None = None,
    num_embedded: int = 0,
) -> dict[str, Any]:
    """What the page holds, as JSON; arguments as for `write_zoo_page`. The form is in docs/file_formats.md."""
    counted = context.counted_images
    files = {one.model: one for one in models}
    kappas = [measure_kappas(counted, analyses, wrong_by) for wrong_by in WRONG]
    hardest = find_hardest(counted, analyses)
    columns = encode_images(context, hardest)
    pictures = None
    if images is not None:
        lists = [np.arange(hardest.num_hardest), *(one.images for one in hardest.common.values())]
        pictures = describe_pictures(columns["file"], lists, images, path, num_embedded)
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": context.dataset,
        "title": DATASET_TITLES.get(context.dataset, context.dataset),
        "num_images": DATASETS[context.dataset].num_images,
        "num_counted": int(counted.counted.sum()),
        "left_out": list(left_out),
        "made_from": {
            "version": __version__,
            "fingerprints": {analysis.model: analysis.fingerprints for analysis in analyses},
        },
        "classes": context.classes.descriptions,
        "wordnet_ids": context.classes.wnids,
        "types": [{"name": ERROR_TYPES[code].name, "title": ERROR_TYPES[code].title} for code in OUTCOMES],
        "wrong": {name: is_wrong.astype(int).tolist() for name, is_wrong in WRONG.items()},
        "groups": GROUPS,
        "models": measure_models(context, [files[analysis.model] for analysis in analyses], analyses),
        "kappas": encode_kappas(kappas),
        "hardest": columns,
        "figures": figures,
        "images": pictures,
    }


def measure_models(
    context: DatasetContext, models: Sequence[ModelFiles], analyses: Sequence[ErrorAnalysis]
) -> dict[str, Any]:
    """The numbers of each model's profile, as columns of its m entries; what is unknown is None."""
    accuracies, lines = [], []
    for files, analysis in show_progress(list(zip(models, analyses, strict=True)), "measuring"):
        measured = measure_accuracies(context, join_files(files, analysis))
        accuracies.append({accuracy.name: accuracy for accuracy in measured})
        counts = context.counted_images.count(analysis.error_types)
        lines.append(count_lines(context.counted_images, counts, analysis))
    return {
        "name": [analysis.model for analysis in analyses],
        "num_images": [one["top1"].num_images for one in accuracies],
        "accuracies": {name: [one[name].value for one in accuracies] for name in ACCURACIES if name in accuracies[0]},
        "shares": {
            group: {
                name: _encode_shares([of_model[at] for of_model in lines]) for at, name in enumerate(ERROR_NAMES, first)
            }
            for group, first in zip(GROUPS, range(0, len(GROUPS) * len(ERROR_NAMES), len(ERROR_NAMES)), strict=True)
        },
    }


def _encode_shares(lines: Sequence[ShareLine]) -> dict[str, Any]:
    """One error type in one group of images, by model."""
    return {
        "count": [line.count for line in lines],
        "low_count": [line.low_count for line in lines],
        "high_count": [line.high_count for line in lines],
        "is_upper_bound": [int(line.is_bound) for line in lines],
        "denominator": lines[0].denominator,
        "total": [line.total for line in lines],
    }


def encode_kappas(matrices: Sequence[KappaMatrix]) -> dict[str, Any]:
    """Kappas of every two models, first by the first one, then by the second: integers in base 64.

    `order` has similar models next to each other.
    """
    m = len(matrices[0].models)
    pairs = np.triu_indices(m, 1)
    scaled = {one.wrong_by: np.round(one.kappas[pairs] * KAPPA_UNIT) for one in matrices}
    return {
        "order": cluster_models(matrices[0]) if m > 1 else [0],
        "colors": list_colors(NUM_COLORS),
        **{
            wrong_by: base64.b64encode(np.nan_to_num(values, nan=NO_KAPPA).astype("<i2").tobytes()).decode()
            for wrong_by, values in scaled.items()
        },
    }


def encode_images(context: DatasetContext, hardest: HardestImages) -> dict[str, Any]:
    """The images as columns of k entries, and the lists of common errors as positions among them."""
    images = context.images[hardest.rows]
    members = np.array([context.counted_images.groups[group][hardest.rows] for group in GROUPS[1:]])
    digits = np.array([*map(str, range(len(OUTCOMES))), NO_OUTCOME_DIGIT])  # the last is that of NO_OUTCOME, -1
    return {
        "file": images.files.tolist(),
        "label": images.targets.tolist(),
        "accepted": [labels[labels != NO_LABEL].tolist() for labels in images.labels],
        "groups": (members * (1 << np.arange(len(members)))[:, None]).sum(axis=0).tolist(),
        "outcomes": ["".join(of_image) for of_image in digits[hardest.outcomes].T.tolist()],
        "predictions": [list(chain.from_iterable(of_image)) for of_image in hardest.predictions],
        "num_hardest": hardest.num_hardest,
        "num_half": hardest.num_half,
        "common": {
            name: {"image": one.images.tolist(), "prediction": one.predictions.tolist(), "count": one.counts.tolist()}
            for name, one in hardest.common.items()
        },
    }


def render(payload: dict[str, Any]) -> str:
    """The page as HTML."""
    title = f"Errors of {len(payload['models']['name']):,} models on {payload['title']}"
    drawing = read_drawing_parts()
    elements, *others = ((FOLDER / name).read_text("utf-8") for name in SCRIPTS)
    script = join_scripts([elements, drawing.script, *others])
    plotly = drawing.plotly if (payload["figures"] or {}).get("figures") else ""
    style = "".join((FOLDER / name).read_text("utf-8") for name in STYLES) + drawing.style
    return render_page(title, BODY.format(title=html.escape(title)), style, [plotly, script], payload)


BODY = """<a class="skip" href="#gallery">Skip to the images</a>
<header><h1>{title}</h1><div id="head"></div></header>
<main>
<noscript><p>This page needs JavaScript, which it holds itself.</p></noscript>
<section id="selection" aria-label="Selected models"></section>
<section id="models" aria-labelledby="models-title"></section>
<section id="figures" aria-labelledby="figures-title"></section>
<section id="kappas" aria-labelledby="kappas-title"></section>
<section id="filters" aria-labelledby="gallery-title"></section>
<section id="gallery" aria-label="Images" tabindex="-1"></section>
</main>"""
