"""Fixtures for many small runs: what every run reads again is read once, and no picture is drawn.

A conftest.py imports them. Tests of the picture, and of the files themselves, use `call`.
"""

import pytest

from imagenet_errors.analysis import context
from imagenet_errors.analysis.proposals import Proposer
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.paper_archive import archived_outcomes
from imagenet_errors.paths import CLOSURE, SUPERCLASSES
from imagenet_errors.plots import error_bars
from tests.conftest import COMMITTED


@pytest.fixture(scope="session")
def committed_superclasses(classes, synsets):
    return load_superclasses(COMMITTED, classes, synsets)


@pytest.fixture(scope="session")
def proposers():
    """{superclasses: Proposer on the committed hierarchy}; it keeps the names that it has listed."""
    return {}


@pytest.fixture
def quick(call, synsets, committed_superclasses, proposers, monkeypatch):
    """As `call`, with the committed hierarchy and superclasses where the folder has none of its own."""

    def wordnet(artefacts, classes):
        return load_wordnet(artefacts, classes) if (artefacts.root / CLOSURE).exists() else synsets

    def superclasses(artefacts, *facts):
        return (
            load_superclasses(artefacts, *facts) if (artefacts.root / SUPERCLASSES).exists() else committed_superclasses
        )

    def proposer(classes, wordnet, superclasses):
        if wordnet is not synsets:
            return Proposer(classes, wordnet, superclasses)
        key = superclasses.names, superclasses.members.tobytes()
        return proposers.setdefault(key, proposers.get(key) or Proposer(classes, wordnet, superclasses))

    monkeypatch.setattr(context, "load_wordnet", wordnet)
    monkeypatch.setattr(context, "Proposer", proposer)
    monkeypatch.setattr(context, "load_superclasses", superclasses)
    monkeypatch.setattr(archived_outcomes, "load_wordnet", wordnet)
    monkeypatch.setattr(archived_outcomes, "load_superclasses", superclasses)
    monkeypatch.setattr(error_bars, "draw", lambda *_: None)
    return call
