"""The comparison of two models as a report."""

from typing import Any

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.compare import Comparison, compare
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.outcomes import IS_BOUND, OUTCOMES, SHORT_TITLES
from imagenet_errors.analysis.reports import (
    BOUND_NOTE,
    Report,
    Table,
    format_bound,
    format_count,
    format_interval,
    format_number,
)
from imagenet_errors.dataset.classes import Classes
from imagenet_errors.error_types import ERROR_TYPES

NUM_PRINTED = 10  # classes and images; JSON has more
WRONG_BY = {"top1": "top-1", "multi_label": "multi-label"}
OUTCOME_NAMES = tuple(ERROR_TYPES[code].name for code in OUTCOMES)


def report_pair(context: DatasetContext, models: list[AnalysedModel]) -> Report:
    """Two models; the second is looked at as the successor of the first."""
    first, second = models
    comparison = compare(context.counted_images, first.analysis, second.analysis)
    content = _describe(comparison, context.dataset)
    changed = "" if comparison.changed_in_type is None else f"; {comparison.changed_in_type:,} errors change in type"
    return Report(
        heading=(
            f"{first.name} (first) and {second.name} (second): {context.dataset},"
            f" {describe_images(len(comparison.rows), comparison.num_counted)}",
            f"By top-1 the second model fixes {comparison.fixed:,} errors of the first and makes"
            f" {comparison.broken:,} that the first does not make{changed}.",
        ),
        tables=(
            _tabulate_shares(comparison),
            _tabulate_consistency(comparison),
            _tabulate_types(comparison),
            _tabulate_transitions(comparison),
            _tabulate_classes(comparison, context.classes),
            _tabulate_images(comparison, context.classes),
        ),
        notes=(
            f"95 % intervals of differences: paired bootstrap over images, {comparison.resamples:,} resamples. Kappa:"
            " Cohen's, of being wrong (error consistency, Geirhos et al. 2020) or of having an error of the type. p:"
            " McNemar's exact test.",
            *([f"{BOUND_NOTE} ?: it could have said otherwise."] if comparison.is_provisional else []),
        ),
        rows=_list_rows(content),
        content=content,
    )


def describe_images(num_images: int, num_counted: int) -> str:
    if num_images == num_counted:
        return f"{num_images:,} unproblematic images"
    return f"{num_images:,} of {num_counted:,} unproblematic images, which all have predictions for"


def _tabulate_shares(comparison: Comparison) -> Table:
    parts: dict[str, list[list[str]]] = {}
    for one in comparison.differences:
        title = f"percent of {one.share.denominator}"
        parts.setdefault(title, []).append(
            [
                one.share.title,
                *(format_bound(format_number(value, 2), one.is_bound) for value in (one.first, one.second)),
                format_number(one.difference, 2, sign=True),
                format_interval(one.low, one.high, 2, sign=True),
            ]
        )
    return Table(("", "first", "second", "difference", "95 %"), parts)


def _tabulate_consistency(comparison: Comparison) -> Table:
    rows = [
        [
            WRONG_BY[one.wrong_by],
            *map(format_count, (one.both_right, one.only_first_wrong, one.only_second_wrong, one.both_wrong)),
            format_number(one.kappa, 3),
            f"{one.p_value:.2g}",
        ]
        for one in comparison.consistency.values()
    ]
    return Table(("wrong by", "neither", "only first", "only second", "both", "kappa", "p"), {"": rows})


def _tabulate_types(comparison: Comparison) -> Table:
    rows = [
        [
            ERROR_TYPES[one.error_type].title,
            *(format_bound(format_count(count), one.is_bound) for count in (one.first, one.second, one.both)),
            format_number(one.kappa, 3),
        ]
        for one in comparison.types
    ]
    return Table(("errors", "first", "second", "both", "kappa"), {"": rows})


def _tabulate_transitions(comparison: Comparison) -> Table:
    are_bounds = comparison.is_provisional & (IS_BOUND[:, None] | IS_BOUND)
    rows = [
        [title, *map(format_bound, map(format_count, counts), bounds)]
        for title, counts, bounds in zip(SHORT_TITLES, comparison.known_transitions, are_bounds, strict=True)
    ]
    return Table(("from \\ to", *SHORT_TITLES), {"": rows})


def _tabulate_classes(comparison: Comparison, classes: Classes) -> Table:
    rows = [
        [
            _name(classes, one.class_id),
            *map(format_count, (one.num_images, one.fixed, one.broken)),
            f"{one.fixed - one.broken:+d}",
        ]
        for one in comparison.list_classes(NUM_PRINTED)
    ]
    return Table(("classes that differ most", "images", "fixed", "broken", "fixed - broken"), {"": rows})


def _tabulate_images(comparison: Comparison, classes: Classes) -> Table:
    rows = [
        [
            one.file.rpartition("/")[2].rpartition(".")[0],
            _name(classes, one.target),
            *(_name_outcome(OUTCOMES.index(outcome), one.is_provisional) for outcome in one.outcomes),
        ]
        for one in comparison.list_images(NUM_PRINTED)
    ]
    return Table(("images that differ most", "original label", "first", "second"), {"": rows})


def _name_outcome(outcome: int, is_provisional: bool) -> str:
    return f"{SHORT_TITLES[outcome]}?" if is_provisional and IS_BOUND[outcome] else SHORT_TITLES[outcome]


def _name(classes: Classes, class_id: int) -> str:
    """The first name of a class, with its id."""
    return f"{classes.descriptions[class_id].partition(',')[0]} ({class_id})"


def _describe(comparison: Comparison, dataset: str) -> dict[str, Any]:
    """All numbers, for JSON."""
    return {
        "models": list(comparison.models),
        "dataset": dataset,
        "num_images": len(comparison.rows),
        "num_counted": comparison.num_counted,
        "is_provisional": comparison.is_provisional,
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "fixed": comparison.fixed,
        "broken": comparison.broken,
        "changed_in_type": comparison.changed_in_type,
        "shares": [one.to_row() for one in comparison.differences],
        "consistency": [_without(one) for one in comparison.consistency.values()],
        "error_types": [
            {"error_type": ERROR_TYPES[one.error_type].name} | _without(one, "error_type") for one in comparison.types
        ],
        "transitions": [
            {"first": name} | dict(zip(OUTCOME_NAMES, counts, strict=True))
            for name, counts in zip(OUTCOME_NAMES, comparison.known_transitions, strict=True)
        ],
        "classes": [_without(one) for one in comparison.list_classes()],
        "images": [
            _without(one, "outcomes") | {"outcomes": [ERROR_TYPES[code].name for code in one.outcomes]}
            for one in comparison.list_images()
        ],
    }


def _without(record: Any, *names: str) -> dict[str, Any]:
    """The attributes of a record, without the named ones."""
    return {name: value for name, value in vars(record).items() if name not in names}


def _list_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The numbers of the tables of JSON, one a row; the first entry of a table's row is its name."""
    return [
        {"table": table, "row": next(iter(entry.values())), "column": column, "value": value}
        for table in ("shares", "consistency", "error_types", "transitions", "classes")
        for entry in content[table]
        for column, value in list(entry.items())[1:]
    ]
