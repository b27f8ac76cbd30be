"""What the tests of files of predictions share: four images' predictions, and how what is read is compared."""

import numpy as np
import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.formats.prediction_files import PredictionFile, RawPredictions, read

NAMES = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (293, 2138, 236, 1)]
TOP5 = np.array([[0, 758, 389, 391, 1], [2, 3, 983, 4, 389], [0, 1, 2, 3, 4], [999, 12, 7, 8, 134]])
PROBS = np.array([[0.9, 0.04, 0.03, 0.02, 0.01]] * 3 + [[0.5, 0.25, 0.125, 0.0625, 0.03125]])
SCORES = np.random.default_rng(0).normal(size=(4, 1000)).astype(np.float32)


def only(file: PredictionFile) -> RawPredictions:
    """The single candidate."""
    assert len(file.candidates) == 1, [candidate.label for candidate in file.candidates]
    return file.candidates[0]


def assert_holds(file: PredictionFile, ids=None, texts=None, scores=None, probs=None, names=NAMES):
    """One candidate with just these contents, in the types of the contract."""
    found = only(file)
    assert (file.names.tolist() if file.names is not None else None) == (list(names) if names is not None else None)
    for expected, part, kind in ((ids, found.ids, np.int64), (scores, found.scores, np.float32)):
        assert (part is None) == (expected is None)
        if expected is not None:
            assert part.dtype == kind
            np.testing.assert_array_equal(part, expected)
    assert (found.texts.tolist() if found.texts is not None else None) == texts
    assert (found.probs is None) == (probs is None)
    if probs is not None:
        assert found.probs.dtype == np.float32
        np.testing.assert_allclose(found.probs, probs, rtol=1e-6)


def refuses(path, *words, **columns) -> bool:
    """An error in one line that names the file and holds all `words`."""
    with pytest.raises(InputError) as raised:
        read(path, **columns)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 700
    for word in (str(path), *words):
        assert word in message, message
    return True
