"""The images that most models get wrong: models without a prediction, ties, problematic images, and the limit."""

import numpy as np

from imagenet_errors.analysis import hardest_images
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.hardest_images import NO_OUTCOME, find_hardest
from imagenet_errors.analysis.outcomes import OUTCOMES
from imagenet_errors.error_types import CODES, NO_ERROR_TYPE
from imagenet_errors.formats.predictions import NO_PREDICTION
from tests.helpers.analyses import make_analysis, make_images

TYPES = {"c": CODES["correct"], "o": CODES["class_overlap"], "f": CODES["model_failure"], "-": NO_ERROR_TYPE}


def find(*models: str, problematic: str = ""):
    """The hardest images of models that are given by a letter an image; a wrong prediction is the model's number."""
    n = len(models[0])
    images = make_images(range(n), [9] * n, [[9]] * n, [False] * n, [str(row) in problematic for row in range(n)])
    counted = CountedImages.of(images, {"all": np.ones(1000, bool)})
    tops = {"c": lambda _: 9, "-": lambda _: NO_PREDICTION}
    analyses = [
        make_analysis(
            f"model{at}",
            [tops.get(letter, lambda number: number)(at) for letter in letters],
            [TYPES[letter] for letter in letters],
        )
        for at, letters in enumerate(models)
    ]
    return find_hardest(counted, analyses)


def test_half_is_of_the_models_that_have_a_prediction():
    found = find("fcccf-", "fccc--", "fffcc-")
    assert found.rows[: found.num_hardest].tolist() == [0, 4]
    assert found.outcomes[:, 1].tolist() == [OUTCOMES.index(CODES["model_failure"]), NO_OUTCOME, 0]


def test_most_models_come_first_then_those_that_no_accepted_label_explains():
    found = find("ooff", "offf", "ofcf")
    assert found.rows[: found.num_hardest].tolist() == [3, 1, 0, 2]


def test_problematic_images_are_left_out():
    found = find("ff", "ff", problematic="0")
    assert found.rows.tolist() == [1]


def test_images_beyond_the_limit_are_counted_and_images_of_lists_are_kept(monkeypatch):
    monkeypatch.setattr(hardest_images, "MOST_IMAGES", 1)
    found = find("ffo", "fco", "fco")
    assert (found.num_hardest, found.num_half) == (1, 2)
    assert found.rows.tolist() == [0, 2, 1]
    failures, overlaps = found.common["model_failure"], found.common["class_overlap"]
    assert (failures.images.tolist(), failures.counts.tolist()) == ([0, 2], [1, 1])
    assert (overlaps.images.tolist(), overlaps.predictions.tolist()) == ([1], [0])


def test_predictions_are_counted_by_class_with_their_type():
    found = find("fo", "fo", "co")
    failure, overlap = (OUTCOMES.index(CODES[name]) for name in ("model_failure", "class_overlap"))
    by_image = dict(zip(found.rows.tolist(), found.predictions, strict=True))
    assert by_image == {0: [(0, failure, 1), (1, failure, 1)], 1: [(model, overlap, 1) for model in range(3)]}


def test_one_model_has_all_its_errors():
    assert find("cfof").rows.tolist() == [1, 3, 2]
