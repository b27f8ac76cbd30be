"""Predictions in files, read for a report: what is wrong with them, and whose the flags are that mend it."""

import numpy as np

from tests.conftest import refused


def test_report_says_that_the_flags_are_those_of_import_predictions(call, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(50_000) % 1000)
    done = call("report", "--predictions", tmp_path / "a.npy", "--artefacts_dir", tmp_path)
    assert refused(done, "give --order", "these are flags of import_predictions.py")


def test_report_on_a_missing_model_says_that_a_file_will_do(call, tmp_path):
    done = call("report", "--model", "me/mine", "--artefacts_dir", tmp_path)
    assert refused(done, tmp_path / "imagenet", "has no models; for predictions in a file give its path")
