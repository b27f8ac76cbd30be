"""A model beside the experts' mistakes, recounted plainly from their lists."""

import json
from dataclasses import replace

import numpy as np
import pytest

from imagenet_errors.analysis.beside_experts import place_beside_experts
from imagenet_errors.error_types import CODES, NO_ERROR_TYPE
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.paths import MISTAKE_LISTS

RIGHT = ("correct", "class_overlap", "missing_multi_label")


@pytest.fixture
def mistakes(shared, twelve) -> dict[str, dict[str, int]]:
    """{list: {file: class that the experts' model predicts}}."""
    return {
        name.split("/")[1].removesuffix("_mistakes.json"): {
            file: one["top_prediction"] for file, one in json.loads((twelve / name).read_text()).items()
        }
        for name in MISTAKE_LISTS
    }


@pytest.fixture
def model(context, mistakes) -> ErrorAnalysis:
    """Makes ViT-3B's mistakes, but a third of them right, a third others; predicts no image of an odd number."""
    names = [file.split("/")[1] for file in context.images.files]
    top1 = np.array([mistakes["vit3b"].get(name, 0) for name in names], np.int16)
    kinds = np.array([int(name[15:23]) % 3 for name in names])
    top1[kinds == 0] = (top1[kinds == 0] + 1) % 1000
    types = np.full(len(names), CODES["model_failure"], np.int8)
    types[kinds == 1] = CODES["class_overlap"]
    top1[::2], types[::2] = NO_PREDICTION, NO_ERROR_TYPE
    return ErrorAnalysis("me--mine", top1, types, np.zeros(len(top1), bool), {})


def test_meetings_are_those_of_a_plain_count(context, mistakes, model):
    positions = {file.split("/")[1]: row for row, file in enumerate(context.images.files)}
    expected = {}
    for name, predicted in mistakes.items():
        counts = expected[name] = {"images": 0, "no error": 0, "the same mistake": 0, "another mistake": 0}
        for file, prediction in predicted.items():
            row = positions[file]
            if model.top1[row] == NO_PREDICTION:
                continue
            is_right = model.error_types[row] in [CODES[one] for one in RIGHT]
            kind = (
                "no error" if is_right else "the same mistake" if model.top1[row] == prediction else "another mistake"
            )
            counts["images"] += 1
            counts[kind] += 1
    beside = place_beside_experts(context, model)
    assert beside.count() == expected
    assert all(expected["vit3b"].values())
    wrong = sum(counts["images"] - counts["no error"] for counts in expected.values())
    same = sum(counts["the same mistake"] for counts in expected.values())
    listed = beside.list_mistakes(context)
    assert len(listed) == wrong
    assert sum(one["prediction"] == one["their prediction"] for one in listed) == same
    assert sum(sum(row.values()) for row in beside.count_types().values()) == same


def test_model_without_a_prediction_for_these_images_is_refused(context, model, shared):
    nothing = replace(model, top1=np.full_like(model.top1, NO_PREDICTION))
    with pytest.raises(InputError, match="me--mine has no prediction for the images on the experts' lists"):
        place_beside_experts(context, nothing)
