"""The networks that the tables name have as many trainable parameters as the tables say."""

import pytest

from imagenet_errors.maintenance import model_tables
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paths import MODELS, MODELS_BEYOND
from tests.conftest import COMMITTED

PAPER = load_records(COMMITTED, MODELS)


def differing(records) -> list[str]:
    """The models whose architecture has another number of trainable parameters than the table says."""
    return [record.model_id for record in records if model_tables.count_parameters(record) != record.num_params]


def smallest_of_each(records, *attributes) -> list[ModelRecord]:
    """The model with the fewest parameters for every combination of the attributes."""
    ordered = sorted(records, key=lambda record: -record.num_params)
    return list({tuple(getattr(record, name) for name in attributes): record for record in ordered}.values())


def test_architectures_have_the_published_number_of_parameters():
    """The smallest model of every module and source; all 962 are checked in the heavy test."""
    sample = smallest_of_each(PAPER, "module", "source")
    assert len(sample) == 27
    assert not differing(sample)


def test_auxiliary_heads_are_counted_as_loaded():
    """GoogLeNet drops its heads, Inception v3 keeps them."""
    by_id = {record.model_id: record for record in PAPER}
    heads = {"torchvision/googlenet": 6_624_904, "torchvision/inception_v3": 27_161_264}
    assert {name: model_tables.count_parameters(by_id[name]) for name in heads} == heads


@pytest.mark.heavy
def test_all_architectures_have_the_published_number_of_parameters():
    assert len(PAPER) == 962
    assert not differing(PAPER)


@pytest.mark.heavy
def test_newer_architectures_have_the_number_of_parameters_in_the_table():
    assert not differing(load_records(COMMITTED, MODELS_BEYOND))
