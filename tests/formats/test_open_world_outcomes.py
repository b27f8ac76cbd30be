"""The table of open-world outcomes: what is written is read again, and nothing else is taken for one."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_errors.errors import InputError, NewerSchemaError
from imagenet_errors.formats import open_world_outcomes
from imagenet_errors.formats.error_analyses import Outcome, Proposal
from imagenet_errors.formats.open_world_outcomes import NOT_TOLD, OpenWorldOutcomes, Source, Verdicts
from tests.helpers.analyses import reseal

NAMES = [(12, "seesaw"), (12, "teeter"), (99, "seesaw")]
SOURCE = Source("ab" * 32, None, "0123", 2, num_disagreeing=1, num_regrouped=3)


def make(keys=(7, 1003, 1009), yes=(True, False, True), lengths=(2, 0, 3)) -> OpenWorldOutcomes:
    """Outcomes of pairs of three images; those that are yes have so many proposals."""
    verdicts = Verdicts.closed(len(keys))
    verdicts.is_out_of_vocabulary[:] = yes
    verdicts.num_prompts[:] = np.where(yes, 40 + np.arange(len(keys)), NOT_TOLD)
    for row, length in enumerate(lengths):
        verdicts.best[row, :length] = np.arange(length) % len(NAMES)
        verdicts.scores[row, :length] = np.linspace(0.5, 0.1, length)
    files, gates = np.array(["n/0", "n/1", "n/2"]), np.array([[0, 10], [10, 10], [9, 3]], np.int8)
    has_gate = np.array([True, False, True])
    return OpenWorldOutcomes(SOURCE, files, ("bird", "dog"), gates, has_gate, np.array(keys, int), verdicts, NAMES)


def plain(outcomes: OpenWorldOutcomes) -> tuple:
    """All that it says, independent of the order of names."""
    gates = [
        {outcomes.superclasses[at]: int(row[at]) for at in np.flatnonzero(row < 10)} if known else None
        for row, known in zip(outcomes.gates, outcomes.has_gate, strict=True)
    ]
    found = [outcomes.verdicts.outcome(row, outcomes.names) for row in range(len(outcomes.keys))]
    return outcomes.source, outcomes.files.tolist(), gates, outcomes.keys.tolist(), found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "imagenet" / "open_world_outcomes.parquet"


def test_what_is_written_is_read_again(path):
    outcomes = make()
    open_world_outcomes.write(path, outcomes)
    assert plain(open_world_outcomes.read(path)) == plain(outcomes)
    assert plain(outcomes)[-1][:2] == [
        Outcome(True, 40, [Proposal(12, "seesaw", 0.5), Proposal(12, "teeter", pytest.approx(0.1))]),
        Outcome(False, None, []),
    ]


@settings(max_examples=20)
@given(
    st.sets(st.integers(0, 2999), max_size=8).map(sorted),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.lists(st.integers(0, 5), min_size=8, max_size=8),
)
def test_any_outcomes_are_read_as_they_were_written(tmp_path_factory, keys, yes, lengths):
    path = tmp_path_factory.mktemp("any") / "open_world_outcomes.parquet"
    yes = yes[: len(keys)]
    outcomes = make(keys, yes, [length * is_yes for length, is_yes in zip(lengths, yes, strict=False)])
    open_world_outcomes.write(path, outcomes)
    assert plain(open_world_outcomes.read(path)) == plain(outcomes)


def test_a_no_stores_neither_prompts_nor_proposals(path):
    open_world_outcomes.write(path, make())
    table = pq.read_table(path).to_pylist()
    assert [row["gate"] for row in table] == [
        [{"superclass": "bird", "neighbour": 0}],
        None,
        [{"superclass": "bird", "neighbour": 9}, {"superclass": "dog", "neighbour": 3}],
    ]
    no = next(outcome for row in table for outcome in row["outcomes"] if not outcome["is_out_of_vocabulary"])
    assert no == {"prediction": 3, "is_out_of_vocabulary": False, "num_prompts": None, "top5": None}
    assert json.loads(pq.read_schema(path).metadata[b"source"])["archive"] == SOURCE.archive


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": np.array([7, 7, 9])},
        {"files": np.array(["n/0", "n/0", "n/1"])},
        {"has_gate": np.zeros(3, bool)},
    ],
)
def test_outcomes_that_contradict_themselves_are_not_made(changes):
    with pytest.raises(ValueError, match=r"image twice|in order and distinct|gate that is not known"):
        replace(make(), **changes)


@pytest.mark.parametrize("metadata", [{"source": 3}, {"source": {"archive": None}}, {"schema_version": 0}])
def test_table_with_odd_metadata_is_refused_with_one_line(path, metadata):
    open_world_outcomes.write(path, make())
    reseal(path, **metadata)
    with pytest.raises(InputError, match="--convert_archives --dataset imagenet") as error:
        open_world_outcomes.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_table_of_a_newer_version_is_refused_as_such(path):
    open_world_outcomes.write(path, make())
    reseal(path, schema_version=open_world_outcomes.SCHEMA_VERSION + 1)
    with pytest.raises(NewerSchemaError, match="update this repository"):
        open_world_outcomes.read(path)


def test_missing_table_is_named(path):
    with pytest.raises(InputError, match="is missing: run download_artefacts"):
        open_world_outcomes.read(path)
