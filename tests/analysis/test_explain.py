"""--explain gives the reasons of the decision."""

import numpy as np
import pytest

from imagenet_errors.analysis.decision import decide
from imagenet_errors.analysis.explain import explain
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_NOTE, NOTES

MODEL = "pytorch--alexnet"


@pytest.fixture(scope="session")
def decided(context):
    """The decisions of the weakest of the twelve models, which has images of every error type."""
    return decide(context.images, ModelFiles(context, MODEL).top1, context.relations)


OVERLAP = "The prediction is none of the classes that overlap with the original label."
NO_LABEL = "The prediction is not among the accepted labels."
NOT_SHARED = "The prediction shares a superclass with no accepted label."
SKIPPED = "The open-world test was skipped, so what follows is provisional."
NO_PAIR = "The prediction makes a spurious pair with no accepted label."
TYPICAL = "The image is not on the experts' list of non-prototypical images."
REASONS = {  # of unproblematic images: the sentences after the prediction, and how the last begins
    "correct": ([], "The prediction is the original label, and that is accepted"),
    "class_overlap": ([], "The prediction overlaps with the original label"),
    "missing_multi_label": ([OVERLAP], "The prediction is another accepted label"),
    "fine_grained": ([OVERLAP, NO_LABEL], "The prediction shares a superclass ("),
    "spurious_correlation": ([OVERLAP, NO_LABEL, NOT_SHARED, SKIPPED], "The prediction often co-occurs with"),
    "non_prototypical": ([OVERLAP, NO_LABEL, NOT_SHARED, SKIPPED, NO_PAIR], "Experts call this image"),
    "model_failure": ([OVERLAP, NO_LABEL, NOT_SHARED, SKIPPED, NO_PAIR, TYPICAL], "Nothing explains the error."),
}


@pytest.mark.parametrize("name", REASONS)
def test_explanation_agrees_with_the_decision(context, decided, name):
    before, last = REASONS[name]
    for row in np.flatnonzero((decided.error_types == CODES[name]) & ~context.images.problematic)[:20]:
        lines = explain(context, context.images.files[row], MODEL)
        assert lines[0] == f"{context.images.files[row]}, {MODEL}: {ERROR_TYPES[CODES[name]].title}"
        assert lines[3] == f"The prediction is {context.classes.describe(ModelFiles(context, MODEL).top1[row])}."
        assert lines[4:-1] == before
        assert lines[-1].startswith(last)
        matching = context.images.labels[row][decided.matching[row]]
        assert all(context.classes.describe(label) in lines[-1] for label in matching)


@pytest.mark.parametrize("name", ["like_target", "co_occurs_with_target", "fine_grained", "model_failure"])
def test_explanation_says_that_the_image_is_problematic(context, decided, name):
    for row in np.flatnonzero((decided.error_types == CODES[name]) & context.images.problematic)[:20]:
        lines = explain(context, context.images.files[row].partition("/")[2], MODEL.replace("--", "/"))
        assert lines[4].startswith("The image is problematic")
        noted = [note.title for note in NOTES if f"Noted before its type: {note.title}." in lines]
        assert noted == ([NOTES[decided.notes[row]].title] if decided.notes[row] != NO_NOTE else [])


def test_explanation_gives_only_tests_that_apply(context, decided):
    """Of an image without accepted labels no test of these is mentioned."""
    empty = (context.images.labels < 0).all(axis=1)
    for row in np.flatnonzero(empty)[:20]:
        lines = explain(context, context.images.files[row], MODEL)
        assert "Accepted labels: none." in lines
        assert not any("no accepted label" in line or "among the accepted" in line for line in lines)


def test_only_shared_superclasses_are_named(context, decided):
    fine_grained = np.flatnonzero(decided.error_types == CODES["fine_grained"])
    for row in fine_grained[:200]:
        matching = context.images.labels[row][decided.matching[row]]
        sharing = {name for label in matching for name in context.superclasses.names_of(label)}
        named = explain(context, context.images.files[row], MODEL)[-1].partition("(")[2].partition(")")[0].split(", ")
        assert set(named) == sharing & set(context.superclasses.names_of(ModelFiles(context, MODEL).top1[row]))
