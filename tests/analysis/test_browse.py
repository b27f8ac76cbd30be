"""The table of a model's errors: its rows are those that plain loops find, and each filter keeps what it says."""

import numpy as np
import pytest

from imagenet_errors.analysis.analysed_models import analyse_files, analyse_predictions
from imagenet_errors.analysis.browse import list_errors, read_others, select
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.explain import explain
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.formats.predictions import Predictions, read
from imagenet_errors.paths import Artefacts

FIRST, OTHER = "pytorch--resnet50", "imagenetx--ViT"


@pytest.fixture(scope="module")
def context(analysed):
    return load_context(Artefacts(analysed / "artefacts"), "imagenet")


@pytest.fixture(scope="module")
def models(context):
    return analyse_files([ModelFiles(context, name) for name in (FIRST, OTHER)])


@pytest.fixture(scope="module")
def errors(context, models):
    return list_errors(context, models[0], models[1:], read_others(context, without=[FIRST]))


@pytest.fixture(scope="module")
def plain(context, models):
    """{row of an image: what is known of it}, one image at a time."""
    found = {}
    first, other = (model.analysis for model in models)
    for row in range(len(context.images)):
        types = [ERROR_TYPES[one.error_types[row]].name for one in (first, other)]
        if not context.images.problematic[row] and types != ["correct", "correct"]:
            accepted = [label for label in context.images.labels[row].tolist() if label >= 0]
            label, prediction = int(context.images.targets[row]), int(first.top1[row])
            described = [context.classes.descriptions[one] for one in (label, *accepted, prediction)]
            found[row] = {
                "types": types,
                "label": label,
                "accepted": accepted,
                "prediction": prediction,
                "groups": {
                    group
                    for group in ("organism", "artifact", "other")
                    if any(context.class_groups[group][i] for i in accepted)
                },
                "superclasses": context.superclasses.names_of(label),
                "words": [word.lower() for word in (context.images.files[row], *described)],
            }
    return found


def wrong(one) -> bool:
    return one["types"][0] != "correct"


def test_rows_are_the_errors_of_the_model_and_of_the_compared_one(errors, plain):
    assert errors.index.tolist() == list(plain)
    for row, (_, one) in zip(plain.values(), errors.iterrows(), strict=True):
        assert (row["label"], tuple(row["accepted"]), row["prediction"]) == (one.label, one.accepted, one.prediction)
        assert row["types"] == [one.error_type, one[f"error type of {OTHER}"]]


FILTERS = {
    "none": ({}, wrong),
    "type": ({"error_type": "fine_grained"}, lambda one: one["types"][0] == "fine_grained"),
    "correct": ({"error_type": "correct"}, lambda one: one["types"][0] == "correct"),
    "group": ({"group": "artifact"}, lambda one: wrong(one) and "artifact" in one["groups"]),
    "superclass": ({"superclass": "snakes"}, lambda one: wrong(one) and "snakes" in one["superclasses"]),
    "label": ({"label": 664}, lambda one: wrong(one) and one["label"] == 664),
    "prediction": ({"prediction": 782}, lambda one: wrong(one) and one["prediction"] == 782),
    "text": ({"text": "SharK"}, lambda one: wrong(one) and any("shark" in word for word in one["words"])),
    "right in": ({"right_in": OTHER}, lambda one: wrong(one) and one["types"][1] == "correct"),
    "types of": (
        {"error_type": "fine_grained", "types_of": {OTHER: "model_failure"}},
        lambda one: one["types"] == ["fine_grained", "model_failure"],
    ),
    "two": (
        {"group": "organism", "right_in": OTHER},
        lambda one: wrong(one) and "organism" in one["groups"] and one["types"][1] == "correct",
    ),
}


@pytest.mark.parametrize(("filters", "keeps"), FILTERS.values(), ids=FILTERS)
def test_filter_keeps_what_a_plain_loop_keeps(errors, plain, filters, keeps):
    expected = [row for row, one in plain.items() if keeps(one)]
    assert expected
    assert select(errors, **filters).index.tolist() == expected


def test_errors_by_at_least_half_are_counted_over_the_other_models(context, errors, models):
    others = [name for name in context.models if name != FIRST]
    predictions = {name: ModelFiles(context, name).top1 for name in others}
    for row in errors.index[::97]:
        number = sum(predictions[name][row] == models[0].analysis.top1[row] for name in others)
        assert (errors.num_same[row], errors.num_others[row]) == (number, 11)
    kept = select(errors, by_half=True)
    assert len(kept)
    assert (kept.num_same >= 6).all()
    assert (select(errors).drop(kept.index).num_same < 6).all()


def test_reason_is_that_of_explain(context, errors):
    for _, one in select(errors).iloc[::211].iterrows():
        lines = explain(context, one.file, FIRST)
        assert lines[4:] == list(one.reason)


def test_probability_is_that_of_the_prediction_where_it_is_known(shared, context, errors, models):
    stored = read(context.artefacts.predictions("imagenet", FIRST), context.samples)
    for row in errors.index[::301]:
        at = context.images.rows[row]
        assert errors.probability[row] == stored.top5_probs[at, 0]
        assert errors.top5[row] == tuple(stored.top5[at].tolist())
    assert np.isnan(list_errors(context, models[1]).probability).all()


def test_unknown_filters_are_refused(errors):
    with pytest.raises(InputError, match="did you mean 'fine_grained'"):
        select(errors, error_type="fine_grain")
    with pytest.raises(InputError, match="unknown group 'organ'"):
        select(errors, group="organ")
    with pytest.raises(InputError, match="unknown compared model 'me'"):
        select(errors, right_in="me")


def test_model_without_errors_has_an_empty_table(context):
    rows = np.flatnonzero((context.images.labels == context.images.targets[:, None]).any(axis=1))
    right = Predictions(context.images.targets[rows], rows=context.images.rows[rows].astype(np.int32))
    empty = list_errors(context, analyse_predictions(context, "right", right))
    assert len(empty) == 0
    for filters in ({}, {"error_type": "correct"}, {"group": "other", "text": "a", "superclass": "snakes"}):
        assert len(select(empty, **filters, label=3, by_half=True)) == 0
