"""Several models, or runs of one, as reports."""

from typing import Any

import numpy as np

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.outcomes import SHARES
from imagenet_errors.analysis.pair_report import WRONG_BY, describe_images
from imagenet_errors.analysis.reports import BOUND_NOTE, Report, Table, format_bound, format_number
from imagenet_errors.analysis.several_models import (
    KappaMatrix,
    Runs,
    cluster_models,
    measure_kappas,
    summarise_runs,
)
from imagenet_errors.analysis.shares import number_or_none
from imagenet_errors.error_types import ERROR_CODES, ERROR_TYPES

HEADINGS = ("top-1", "MLA", *(ERROR_TYPES[code].heading for code in ERROR_CODES))  # of SHARES


def report_runs(context: DatasetContext, models: list[AnalysedModel]) -> Report:
    """Runs of one model: the mean of every share and its spread."""
    runs = summarise_runs(context.counted_images, [model.analysis for model in models])
    statistics = {"mean": runs.mean, "spread": runs.spread}
    return Report(
        heading=(f"{len(models)} runs: {_describe_images(context, runs)}",),
        tables=(_tabulate(runs, statistics),),
        notes=(
            _explain_denominators(),
            "Spread: standard deviation of the runs (divisor r - 1), in percentage points.",
            *([BOUND_NOTE] if runs.is_provisional else []),
        ),
        rows=_list_rows(runs, statistics),
        content=_describe(context, runs, statistics),
    )


def report_several(context: DatasetContext, models: list[AnalysedModel]) -> Report:
    """More than two models: the shares of each, and the error consistency of every two."""
    analyses = [model.analysis for model in models]
    runs = summarise_runs(context.counted_images, analyses)
    matrices = [measure_kappas(context.counted_images, analyses, wrong_by) for wrong_by in WRONG_BY]
    kappas = {matrix.wrong_by: [list(map(number_or_none, row)) for row in matrix.kappas] for matrix in matrices}
    return Report(
        heading=(f"{len(models)} models: {_describe_images(context, runs)}",),
        tables=(_tabulate(runs, {}), *map(_tabulate_kappas, matrices)),
        notes=(
            _explain_denominators(),
            "Kappa: Cohen's, of being wrong on the same images (error consistency, Geirhos et al. 2020). Similar models"
            " are next to each other (average linkage of 1 - kappa).",
            *([BOUND_NOTE] if runs.is_provisional else []),
        ),
        rows=_list_rows(runs, {})
        + [
            {"table": f"kappa_{wrong_by}", "row": first, "column": second, "value": value}
            for wrong_by, matrix in kappas.items()
            for first, values in zip(runs.models, matrix, strict=True)
            for second, value in zip(runs.models, values, strict=True)
        ],
        content=_describe(context, runs, {})
        | {"kappas": kappas, "num_images_of_kappas": matrices[0].num_images.tolist()},
    )


def _explain_denominators() -> str:
    named = (f"{heading} = {share.title}" for heading, share in zip(HEADINGS[2:], SHARES[2:], strict=True))
    return (
        "Percent of images (top-1), of the images of a class (MLA), of top-1 errors (over., multi), of multi-label"
        f" errors (the others). {'; '.join(named)}."
    )


def _describe_images(context: DatasetContext, runs: Runs) -> str:
    num_counted = int(context.counted_images.groups[runs.group].sum())
    return f"{context.dataset}, {describe_images(runs.num_images, num_counted)}"


def _tabulate(runs: Runs, statistics: dict[str, np.ndarray]) -> Table:
    """The shares of each model, and statistics of all of them."""
    parts = {"": [[model, *_cells(runs, values)] for model, values in zip(runs.models, runs.values, strict=True)]}
    if statistics:
        parts["of these"] = [[name, *_cells(runs, values)] for name, values in statistics.items()]
    return Table(("model", *HEADINGS), parts)


def _cells(runs: Runs, values: np.ndarray) -> list[str]:
    return [
        format_bound(format_number(number_or_none(value)), runs.is_provisional and share.is_bound)
        for share, value in zip(SHARES, values, strict=True)
    ]


def _tabulate_kappas(matrix: KappaMatrix) -> Table:
    order = cluster_models(matrix)
    rows = [
        [
            f"{position} {matrix.models[row]}",
            *("1" if row == column else _kappa_cell(matrix.kappas[row, column]) for column in order),
        ]
        for position, row in enumerate(order, 1)
    ]
    heading = f"kappa ({WRONG_BY[matrix.wrong_by]})"
    return Table((heading, *(str(position + 1) for position in range(len(order)))), {"": rows})


def _kappa_cell(kappa: float) -> str:
    """Two digits without the leading zero, so that a dozen models fit a terminal."""
    return format_number(number_or_none(kappa), 2).replace("0.", ".")


def _list_rows(runs: Runs, statistics: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = dict(zip(runs.models, runs.values, strict=True)) | statistics
    return [
        {"table": "shares", "row": name, "column": share.name, "value": number_or_none(value)}
        for name, values in rows.items()
        for share, value in zip(SHARES, values, strict=True)
    ]


def _describe(context: DatasetContext, runs: Runs, statistics: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "models": list(runs.models),
        "dataset": context.dataset,
        "num_images": runs.num_images,
        "is_provisional": runs.is_provisional,
        "shares": [_by_share(values) for values in runs.values],
    } | {name: _by_share(values) for name, values in statistics.items()}


def _by_share(values: np.ndarray) -> dict[str, float | None]:
    return {share.name: number_or_none(value) for share, value in zip(SHARES, values, strict=True)}
