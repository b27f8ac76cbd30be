"""preds.npz: predictions for all images of a folder or for some, with their top five or without."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError, NewerSchemaError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats import predictions
from imagenet_errors.formats.predictions import NO_PREDICTION, Predictions
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.saved_predictions import read_valid_metadata, write_predictions
from imagenet_errors.paths import Artefacts

TARGETS = np.array([0, 1, 1, 2, 3, 3, 3], np.int16)
SAMPLES = Samples(np.array([f"n{target:08}/{row}.JPEG" for row, target in enumerate(TARGETS)]), TARGETS)
ROWS = np.array([1, 3, 4], np.int32)
RECORD = ModelRecord("me/part", "own", "me", "me/part", "", "resnet", "cnn", "ImageNet-1k (1.2M)", ())


def make_top5(top1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.arange(5, dtype=np.int16)
    return (top1[:, None] + offsets).astype(np.int16), np.tile(np.float32([0.5, 0.2, 0.1, 0.1, 0.1]), (len(top1), 1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "preds.npz"


@given(st.sets(st.integers(0, len(TARGETS) - 1), min_size=1), st.booleans())
def test_predictions_for_some_images_are_read_at_their_rows(tmp_path_factory, chosen, with_top5):
    path = tmp_path_factory.getbasetemp() / "part.npz"
    rows = np.array(sorted(chosen), np.int32)
    top1 = (10 + rows).astype(np.int16)
    made = Predictions(top1, *(make_top5(top1) if with_top5 else ()), rows=rows)
    predictions.write(path, made, SAMPLES)
    expected = [10 + row if row in chosen else NO_PREDICTION for row in range(len(TARGETS))]
    for found in (predictions.read_top1(path, SAMPLES), predictions.check_predictions(path, SAMPLES, probs=False)):
        assert found.dtype == np.int16
        assert found.tolist() == expected
    predictions.check(path, SAMPLES)
    predictions.check(path, None)
    assert predictions.read_fingerprint(path) == made.fingerprint


def test_complete_predictions_have_the_bytes_of_schema_1(path):
    """Those of versions that knew no other; the fingerprint is theirs too."""
    top5, top5_probs = make_top5(TARGETS)
    predictions.write(path, made := Predictions(TARGETS, top5, top5_probs), SAMPLES)
    expected = io.BytesIO()
    arrays = {"top1": top5[:, 0], "top5": top5, "top5_probs": top5_probs}
    np.savez(expected, **arrays, schema_version=1, samples=SAMPLES.fingerprint)
    assert path.read_bytes() == expected.getvalue()
    assert made.fingerprint == predictions.read_fingerprint(path) == fingerprint(*arrays.values())


def test_predictions_for_some_images_have_schema_2(path):
    predictions.write(path, Predictions(TARGETS[ROWS], rows=ROWS), SAMPLES)
    with np.load(path) as archive:
        assert sorted(archive) == ["rows", "samples", "schema_version", "top1"]
        assert archive["schema_version"] == 2
        assert archive["rows"].dtype == np.int32


def test_fingerprints_tell_rows_and_top_five_apart():
    top1 = TARGETS[ROWS]
    made = [
        Predictions(top1),
        Predictions(top1, rows=ROWS),
        Predictions(top1, rows=ROWS + 1),
        Predictions(top1, *make_top5(top1), rows=ROWS),
    ]
    assert len({each.fingerprint for each in made}) == len(made)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1, 4, 3], "ascending"),
        ([1, 3, 3], "ascending"),
        ([-1, 3, 4], "ascending"),
        ([1, 3, 7], "ascending from 0 to at most 6"),
        ([1.0, 3.0, 4.0], "rows is float64"),
        ([[1, 3, 4]], "not positions"),
        ([], "not positions"),
        ([1, 3], r"has \(3,\) predictions for 2 images"),
    ],
)
def test_rows_that_are_no_positions_are_refused(path, rows, message):
    np.savez(path, top1=TARGETS[ROWS], rows=rows)
    with pytest.raises(InputError, match=message):
        predictions.read_top1(path, SAMPLES)


@pytest.mark.parametrize("changed", [{"top1": [0, 1, 1000]}, {"top1": [0, 1, -1]}, {"samples": "others"}])
def test_predictions_for_some_images_are_checked_like_others(path, changed):
    """A -1 in a file is no class id: an image without a prediction is not among `rows`."""
    np.savez(path, **{"top1": TARGETS[ROWS], "rows": ROWS, "samples": SAMPLES.fingerprint} | changed)
    with pytest.raises(InputError, match=r"not a class id|of other images"):
        predictions.read_top1(path, SAMPLES)


@pytest.mark.parametrize("name", ["top5", "top5_probs", "probs"])
def test_other_arrays_have_as_many_rows(path, name):
    np.savez(path, **{"top1": TARGETS[ROWS], "rows": ROWS, name: np.zeros((len(TARGETS), 5), np.int16)})
    with pytest.raises(InputError, match=f"{name} has the shape"):
        predictions.check(path, SAMPLES)


def test_newer_schema_is_refused(path):
    np.savez(path, top1=TARGETS, schema_version=3)
    with pytest.raises(NewerSchemaError):
        predictions.read_top1(path, SAMPLES)


@pytest.mark.parametrize(
    ("num_correct", "count", "text"), [(28_216, 50_000, "56.432"), (38_065, 50_000, "76.13"), (1, 3, str(100 / 3))]
)
def test_accuracy_is_exactly_rounded(num_correct, count, text):
    """So that tables print as many digits as the count has; images without a prediction do not count."""
    top1 = np.full(60_000, NO_PREDICTION, np.int16)
    top1[:count] = 1
    top1[:num_correct] = 0
    assert str(predictions.compute_accuracy(top1, np.zeros(60_000, np.int16))) == text


class TestSavedPredictions:
    def test_metadata_of_predictions_for_some_images(self, tmp_path):
        artefacts = Artefacts(tmp_path)
        made = Predictions(np.array([1, 2, 7], np.int16), rows=ROWS, top1_of_subset=np.array([0, 2, 7], np.int16))
        metadata = write_predictions(artefacts, "imagenet", RECORD, SAMPLES, made)
        assert json.loads(artefacts.metadata("imagenet", "me--part").read_text()) == metadata
        assert metadata["num_images"] == 3
        assert metadata["top1_val_acc"] == 200 / 3
        assert metadata["top1_val_acc_subset_200"] == 100 / 3
        assert not {"num_params", "preds_comp_time"} & set(metadata)
        path = artefacts.predictions("imagenet", "me--part")
        assert predictions.read_top1(path, SAMPLES).tolist() == [-1, 1, -1, 2, 7, -1, -1]
        assert metadata["predictions_fingerprint"] == predictions.read_fingerprint(path)

    def test_predictions_for_some_images_are_not_valid_for_a_run_over_all(self, tmp_path):
        artefacts = Artefacts(tmp_path)
        for rows in (ROWS, None):
            top1 = TARGETS if rows is None else TARGETS[rows]
            made = Predictions(top1, *make_top5(top1), rows=rows, seconds=1.5)
            metadata = write_predictions(artefacts, "imagenet", RECORD, SAMPLES, made, 7)
            arguments = (artefacts, "imagenet", RECORD, SAMPLES, False, {})
            if rows is None:
                assert read_valid_metadata(*arguments) == metadata
                assert "num_images" not in metadata
            else:
                with pytest.raises(InputError, match=r"has predictions for 3 of 7 images$"):
                    read_valid_metadata(*arguments)
