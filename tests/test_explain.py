"""--explain says what the decision says."""

import numpy as np
import pytest

from imagenet_errors.analysis.explain import explain
from imagenet_errors.analysis.taxonomy import CODES, KINDS, NO_NOTE, NOTES, decide

MODEL = "pytorch--alexnet"


@pytest.fixture(scope="session")
def decided(study):
    """The decisions of the weakest of the twelve models, which has an image of every kind."""
    return decide(study.images, study.top1(MODEL), study.relations)


@pytest.mark.parametrize("code", [code for code, kind in enumerate(KINDS) if kind.name != "out_of_vocabulary"])
def test_explanation_contradicts_the_decision(study, decided, code):
    for row in np.flatnonzero(decided.kinds == code)[:20]:
        file = study.images.files[row]
        lines = explain(study, file.partition("/")[2], MODEL)
        matching = study.images.labels[row][decided.matching[row]]
        assert lines[0] == f"{file}, {MODEL}: {KINDS[code].title}"
        assert f"The prediction is {study.vocabulary.describe(study.top1(MODEL)[row])}." in lines
        assert all(study.vocabulary.describe(label) in lines[-1] for label in matching)
        assert any("problematic" in line for line in lines) == study.images.problematic[row]
        assert any("provisional" in line for line in lines) == decided.provisional[row]
        noted = [note.title for note in NOTES if any(f"type: {note.title}." in line for line in lines)]
        assert noted == ([NOTES[decided.notes[row]].title] if decided.notes[row] != NO_NOTE else [])


def test_explanation_claims_tests_that_do_not_apply(study, decided):
    """An image without accepted labels is said to fail no test that looks at them."""
    empty = (study.images.labels < 0).all(axis=1)
    for row in np.flatnonzero(empty)[:20]:
        lines = explain(study, study.images.files[row], MODEL)
        assert "Accepted labels: none." in lines
        assert not any("no accepted label" in line or "among the accepted" in line for line in lines)


def test_superclasses_that_are_not_shared_are_named(study, decided):
    fine_grained = np.flatnonzero(decided.kinds == CODES["fine_grained"])
    for row in fine_grained[:200]:
        matching = study.images.labels[row][decided.matching[row]]
        sharing = {name for label in matching for name in study.superclasses.names_of(label)}
        named = explain(study, study.images.files[row], MODEL)[-1].partition("(")[2].partition(")")[0].split(", ")
        assert set(named) == sharing & set(study.superclasses.names_of(study.top1(MODEL)[row]))
