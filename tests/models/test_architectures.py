"""The networks that the tables name are the ones that the paper ran: their trainable parameters are as many."""

import pytest

from imagenet_errors.maintenance import model_tables
from imagenet_errors.models.model_table import load_records
from imagenet_errors.paths import MODELS, MODELS_BEYOND
from tests.conftest import COMMITTED

PAPER = load_records(COMMITTED, MODELS)
COSTLY = "torchvision/regnet_y_128gf_swag"  # 10 s: RegNets cannot be built on the meta device
FIXED = [record for record in PAPER[::10] if record.model_id != COSTLY]


def differing(records) -> list[str]:
    """The models whose architecture has another number of trainable parameters than the table says."""
    return [record.model_id for record in records if model_tables.count_parameters(record) != record.num_params]


def first_of_each(records, *attributes):
    """The first record of every combination of the attributes."""
    return {tuple(getattr(record, name) for name in attributes): record for record in reversed(records)}.values()


def test_a_library_changed_an_architecture():
    """A fixed tenth of the 962, and one of every module and source."""
    assert not differing({*FIXED, *first_of_each(PAPER, "module", "source")})


def test_auxiliary_heads_are_counted_as_they_are_loaded():
    """GoogLeNet drops its heads, Inception v3 keeps them."""
    by_id = {record.model_id: record for record in PAPER}
    heads = {"torchvision/googlenet": 6_624_904, "torchvision/inception_v3": 27_161_264}
    assert {name: model_tables.count_parameters(by_id[name]) for name in heads} == heads


@pytest.mark.heavy
def test_a_library_changed_any_architecture():
    assert len(PAPER) == 962
    assert not differing(PAPER)


@pytest.mark.heavy
def test_a_newer_architecture_was_counted_wrong():
    assert not differing(load_records(COMMITTED, MODELS_BEYOND))
