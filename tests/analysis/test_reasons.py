"""Reasons of many images at once are those of `--explain`, whatever is known of the open-world test."""

import numpy as np
import pytest

from imagenet_errors.analysis.analysed_models import analyse_files, analyse_predictions, read_analysed
from imagenet_errors.analysis.browse import list_errors
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.explain import explain, explain_rows
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.paths import Artefacts
from tests.analysis.test_archived_open_world import (  # noqa: F401
    IMAGES,
    MINE,
    OLD,
    SWING,
    archives,
    here,
    make_clip,
    make_folder,
)

PROMPTS = "names for what the image shows the best fits are seesaw"


@pytest.fixture
def tested(tmp_path):
    """A folder with CLIP files and one model's predictions."""
    folder = make_folder(tmp_path / "tested", {MINE: [SWING] * 4})
    make_clip(folder)
    return folder


def give_reasons(folder, model: str, open_world: str, analyse=analyse_files) -> list[list[str]]:
    """Those of all images, which are compared with what `explain` says of each."""
    context = load_context(Artefacts(folder), "imagenet", open_world=open_world)
    (analysed,) = analyse([ModelFiles(context, model)])
    reasons = explain_rows(context, analysed.analysis, np.arange(4))
    assert reasons == [explain(context, file, model)[4:] for file in IMAGES]
    table = list_errors(context, analysed)
    assert table.reason.tolist() == [tuple(reasons[row]) for row in table.index]
    return reasons


def test_test_of_clip_gives_its_proposals(tested):
    reasons = give_reasons(tested, MINE, "clip")
    assert [any(PROMPTS in line for line in lines) for lines in reasons] == [True, False, False, True]
    assert any("no near training image is of a class" in line for line in reasons[2])


def test_skipped_test_is_said_to_be_skipped(tested):
    assert all(any("was skipped" in line for line in lines) for lines in give_reasons(tested, MINE, "skip"))


def test_stored_outcomes_stand_without_the_files_of_clip(tested):
    give_reasons(tested, MINE, "clip")
    for path in (tested / "imagenet").glob("*clip*.npz"):
        path.unlink()
    reasons = give_reasons(tested, MINE, "auto")
    assert any(PROMPTS in line for line in reasons[0])


def test_outcomes_of_an_archive_are_told_and_unknown_ones_named(here):  # noqa: F811
    reasons = give_reasons(here, MINE, "archive")
    assert any(PROMPTS in line for line in reasons[0])
    assert any("The archive has no outcome" in line for line in reasons[3])
    give_reasons(here, OLD, "archive")
    give_reasons(here, OLD, "skip")


def test_model_in_memory_has_the_reasons_of_one_in_a_folder(tested, here):  # noqa: F811
    for folder, open_world in ((tested, "clip"), (tested, "skip"), (here, "archive")):
        context = load_context(Artefacts(folder), "imagenet", open_world=open_world)
        (stored,) = analyse_files([ModelFiles(context, MINE)])
        given = analyse_predictions(context, "given", Predictions(np.full(4, SWING, np.int16)))
        reasons = [explain_rows(context, one.analysis, np.arange(4)) for one in (stored, given)]
        assert reasons[0] == reasons[1]


def test_nearest_training_images_are_known_with_clip_alone(tested):
    for open_world in ("clip", "skip"):
        context = load_context(Artefacts(tested), "imagenet", open_world=open_world)
        table = list_errors(context, read_analysed(ModelFiles(context, MINE)))
        assert table.nearest.iloc[0] == ((SWING,) * 10 if open_world == "clip" else None)


def test_table_of_partial_predictions_has_their_images_alone(tested):
    context = load_context(Artefacts(tested), "imagenet", open_world="skip")
    top5 = np.array([[SWING, 1, 2, 3, 4], [SWING, 5, 6, 7, 8]], np.int16)
    probabilities = np.array([[0.5, 0.2, 0.1, 0.1, 0.1], [0.25, 0.2, 0.2, 0.2, 0.15]], np.float32)
    some = Predictions(top5[:, 0], top5, probabilities, rows=np.array([1, 3], np.int32))
    table = list_errors(context, analyse_predictions(context, "some", some))
    assert table.file.tolist() == [IMAGES[1], IMAGES[3]]
    assert table.probability.tolist() == [0.5, 0.25]
    assert table.top5.tolist() == [tuple(row) for row in top5.tolist()]
    both = list_errors(
        context,
        analyse_predictions(context, "all", Predictions(np.full(4, SWING, np.int16))),
        [analyse_predictions(context, "some", some)],
    )
    assert both["prediction of some"].isna().tolist() == [True, False, True, False]
    assert both["error type of some"].isna().tolist() == [True, False, True, False]
