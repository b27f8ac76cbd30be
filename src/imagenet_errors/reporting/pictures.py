"""The pictures of report.py: results of the analysis as what the plots draw."""

from pathlib import Path

import numpy as np

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.profile import Profile, make_profile
from imagenet_errors.analysis.reference import Reference, load_reference
from imagenet_errors.analysis.several_models import KappaMatrix, cluster_models, measure_kappas
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.plots.kappas import draw_kappas
from imagenet_errors.plots.places import Panel, Point, draw_places


def draw(context: DatasetContext, models: list[AnalysedModel], folder: Path, path: Path) -> None:
    """One or two models among those of a reference; of more their error consistency.

    Args:
        context: Of the dataset.
        models: Analysed on its images.
        folder: Of the reference's tables.
        path: Of the picture: png, pdf or svg.

    Raises:
        InputError: for another suffix, or as `load_reference`.
    """
    if len(models) > 2:
        draw_matrix(measure_kappas(context.counted_images, [model.analysis for model in models]), path)
    else:
        reference = load_reference(context.dataset, folder)
        draw_profiles([make_profile(context, model, reference) for model in models], reference, path)


def draw_profiles(profiles: list[Profile], reference: Reference, path: Path, group: str = "all") -> None:
    """A panel per error type: one or two models among those of the reference."""
    shares = reference.shares[:, GROUPS.index(group)]
    by_type = zip(*([line for line in profile.lines if line.group == group] for profile in profiles), strict=True)
    panels = [
        Panel(
            lines[0].title.replace("fine-grained out", "out"),
            lines[0].denominator,
            *(reference.mla, shares[:, column]),
            *(curve.mla, curve.expected, curve.low, curve.high),
            tuple(
                Point(profile.multi_label_accuracy or np.nan, line.share, line.low, line.high, line.is_bound)
                for profile, line in zip(profiles, lines, strict=True)
            ),
        )
        for column, (lines, curve) in enumerate(zip(by_type, reference.compute_curves(group), strict=True))
    ]
    names = [profile.model for profile in profiles]
    draw_places(panels, names, f"{len(reference.models)} models of the reference", path)


def draw_matrix(matrix: KappaMatrix, path: Path) -> None:
    """Error consistency of models, similar ones next to each other."""
    order = cluster_models(matrix)
    title = f"Error consistency of {len(order)} models"
    draw_kappas([matrix.models[row] for row in order], matrix.kappas[np.ix_(order, order)], title, path)
