"""The error types: one table for their names, titles, flags and columns, used everywhere.

Source: Peychev et al. 2023, section 3 and appendix.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorType:
    """An outcome of the decision: one row of a table below.

    Attributes:
        name: Its name here and in errors_analysis.parquet.
        title: Its name for people.
        archived: Its name in the paper's archives.
        column: Its column in the stats tables; empty for outcomes of problematic images alone.
        flag: Its name for `--error_type`; empty for what is not an error.
        heading: Its name above a column of a narrow table; empty for what is not an error.
    """

    name: str
    title: str
    archived: str
    column: str = ""
    flag: str = ""
    heading: str = ""


ERROR_TYPES = (
    ErrorType("correct", "correct", "correct", "num_group_correct"),
    ErrorType(
        "class_overlap",
        "class overlap",
        "correct (collapsed mapping)",
        "num_collapsed_mappings",
        "overlapping_classes",
        "over.",
    ),
    ErrorType(
        "missing_multi_label",
        "missing multi-label",
        "correct wrt multi label (ambiguous/multi-object)",
        "num_ambiguous",
        "multi_label",
        "multi",
    ),
    ErrorType("fine_grained", "fine-grained", "same superclass (fine-grained)", "num_same_superclass", "fg", "fine"),
    ErrorType(
        "like_target",
        "like the target",
        "fine-grained/OOV, same superset as target, but target not in multi-label",
    ),
    ErrorType(
        "co_occurs_with_target",
        "co-occurs with the target",
        "common co-occurrences with target (spurious correlations), but target not in multi-label",
    ),
    ErrorType(
        "out_of_vocabulary",
        "fine-grained out-of-vocabulary",
        "potentially OOV, detected by CLIP",
        "num_OOV_clip",
        "fg-OOV",
        "OOV",
    ),
    ErrorType(
        "spurious_correlation",
        "spurious correlation",
        "common co-occurrences (spurious correlations)",
        "num_common_co_occ",
        "spurious_correlation",
        "spur.",
    ),
    ErrorType(
        "non_prototypical",
        "non-prototypical",
        "non-prototypical (DoughBagel)",
        "num_non_prototypical",
        "non-proto",
        "proto",
    ),
    ErrorType("model_failure", "model failure", "error not classified", "num_not_classified", "model_failure", "fail"),
)
CODES = {one.name: code for code, one in enumerate(ERROR_TYPES)}
CODES_BY_FLAG = {one.flag: code for code, one in enumerate(ERROR_TYPES) if one.flag}
ERROR_CODES = tuple(CODES_BY_FLAG.values())  # codes of the seven error types, in the order of the decision
AFTER_OPEN_WORLD = [CODES[name] for name in ("spurious_correlation", "non_prototypical", "model_failure")]

# Of the stats tables, in the published order: out-of-vocabulary after the types that the test precedes.
ERROR_COLUMNS = tuple(
    ERROR_TYPES[code].column
    for code in (*ERROR_CODES[:3], *AFTER_OPEN_WORLD[:2], CODES["out_of_vocabulary"], CODES["model_failure"])
)

# Notes on problematic images, which stand before the type.
NOTES = (
    ErrorType(
        "empty_correct",
        "no label is accepted, and the prediction is the original label",
        "empty (problematic) multi-label, correct (top-1=target)",
    ),
    ErrorType(
        "empty_collapsed",
        "no label is accepted, and the prediction overlaps with the original label",
        "empty (problematic) multi-label, correct wrt collapsed mappings",
    ),
    ErrorType(
        "empty_wrong",
        "no label is accepted, and the prediction is not the original label",
        "empty (problematic) multi label, wrong (top-1 != target)",
    ),
    ErrorType(
        "correct_wrong_label",
        "the prediction is the original label, which is not accepted",
        "correct (top-1=target) but target is wrong/unclear",
    ),
)
NO_NOTE = -1
NO_ERROR_TYPE = -1  # of an image that a model has no prediction for
