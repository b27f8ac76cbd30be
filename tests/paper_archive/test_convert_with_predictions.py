"""Archived analyses beside own predictions, and beside archived ones of other images or labels."""

import shutil

import numpy as np
import pytest

from tests.conftest import left_out
from tests.helpers.archives import MODELS, OWN, assert_tables, put, put_predictions, put_samples, read_tables, stored
from tests.helpers.plain_facts import GROUPS


@pytest.fixture
def own_alone(tmp_path_factory, quick, few):
    """A folder with one own model over the 300 images, analysed and collected."""
    folder = tmp_path_factory.mktemp("own")
    put_predictions(folder, OWN, np.roll(few[MODELS[0]].top1, 1))
    put_samples(folder, few[MODELS[0]])
    flags = ("--perform_error_analysis", "--collect_results")
    assert quick("evaluation", "--artefacts_dir", folder, "--results_dir", folder / "results", *flags).status == 0
    return folder


@pytest.mark.parametrize("first", ["own", "archived"])
def test_own_and_archived_models_are_counted_as_each_alone(tmp_path, collect, own_alone, few, group_classes, first):
    """Own and archived models together have the numbers that each have alone, whichever came first."""
    if first == "own":
        shutil.copytree(own_alone, tmp_path, dirs_exist_ok=True)
    for model, frame in few.items():
        put(tmp_path, model, frame)
    if first == "archived":
        assert collect().status == 0
        put_samples(tmp_path, few[MODELS[0]])
        put_predictions(tmp_path, OWN, np.roll(few[MODELS[0]].top1, 1))
    before = {path: path.read_bytes() for path in tmp_path.glob("imagenet/*/*.parquet")}
    done = collect("--perform_error_analysis", "--collect_results")
    assert done.status == 0, done.stderr
    assert all(path.read_bytes() == content for path, content in before.items())
    assert_tables(tmp_path / "results", few, group_classes, (*MODELS, OWN))
    assert stored(tmp_path, OWN).read_bytes() == stored(own_alone, OWN).read_bytes()
    alone, beside = read_tables(own_alone / "results"), read_tables(tmp_path / "results")
    assert [beside[group][OWN] for group in GROUPS] == [alone[group][OWN] for group in GROUPS]


def test_archived_analysis_is_kept_where_predictions_agree(small_archives, collect, few, group_classes):
    put_samples(small_archives, few[MODELS[0]])
    assert collect().status == 0
    before = stored(small_archives).read_bytes()
    put_predictions(small_archives, MODELS[0], few[MODELS[0]].top1)
    assert collect("--perform_error_analysis", "--collect_results").status == 0
    assert stored(small_archives).read_bytes() == before
    assert_tables(small_archives / "results", few, group_classes)


def test_predictions_that_differ_replace_an_archived_analysis(small_archives, collect, few, own_alone):
    """A folder's own predictions count, once they are analysed; until then the model is named and left out."""
    put_samples(small_archives, few[MODELS[0]])
    put_predictions(small_archives, MODELS[0], np.roll(few[MODELS[0]].top1, 1))
    done = collect()
    assert left_out(
        done,
        "1 of 2 models are left out",
        stored(small_archives),
        "was made from other predictions, labels, superclasses or CLIP files",
    )
    assert set(read_tables(small_archives / "results")["all"]) == {MODELS[1]}
    assert f"{MODELS[0]}: analysed again" in collect("--perform_error_analysis", "--collect_results").stderr
    assert stored(small_archives).read_bytes() == stored(own_alone, OWN).read_bytes()
    before = stored(small_archives).read_bytes()
    assert collect().status == 0
    assert stored(small_archives).read_bytes() == before


def test_own_predictions_without_samples_info_are_left_out(small_archives, collect, few, group_classes):
    put_predictions(small_archives, OWN, few[MODELS[0]].top1[:-1])
    done = collect("--perform_error_analysis", "--collect_results")
    assert left_out(done, OWN)
    assert set(read_tables(small_archives / "results")["all"]) == set(MODELS)


def test_pickle_of_other_images_is_left_out(small_archives, collect, few):
    put(small_archives, "z--other", few[MODELS[0]].iloc[:-5])
    done = collect()
    assert left_out(done, "z--other", "of other images")
    assert set(read_tables(small_archives / "results")["all"]) == set(MODELS)


def test_images_of_most_pickles_are_counted(small_archives, collect, few):
    """The first model by name is the one with other images."""
    put(small_archives, "a--other", few[MODELS[0]].iloc[:5])
    done = collect()
    assert left_out(done, "a--other", "of other images")
    assert set(read_tables(small_archives / "results")["all"]) == set(MODELS)


def test_pickle_of_other_labels_is_left_out(small_archives, collect, few):
    frame = few[MODELS[0]].copy()
    frame["multi_label"] = [[*labels, 999] if labels and 999 not in labels else labels for labels in frame.multi_label]
    put_samples(small_archives, few[MODELS[0]])
    put(small_archives, "z--other", frame)
    assert left_out(collect(), "z--other", "of other images or labels")
    assert set(read_tables(small_archives / "results")["all"]) == set(MODELS)


def test_archived_models_beside_predictions_for_part_of_their_images_are_left_out(small_archives, collect, few):
    """The own model has its tables; the archived ones are named in one line, with what to do; the status is 1."""
    assert collect().status == 0
    put_samples(small_archives, few[MODELS[0]].iloc[:50])
    put_predictions(small_archives, OWN, few[MODELS[0]].top1[:50])
    for number in range(3):
        put(small_archives, f"z--{number}", few[MODELS[0]])
    done = collect("--perform_error_analysis", "--collect_results")
    assert left_out(done, "5 of 6 models are left out", stored(small_archives), "use another --artefacts_dir")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("skipped ")]
    assert line.startswith(f"skipped {MODELS[0]}, {MODELS[1]}, z--0 and 2 more: ")
    assert set(read_tables(small_archives / "results")["all"]) == {OWN}
