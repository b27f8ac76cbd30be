"""The open-world test over several runs: with its files, without them, with wrong ones."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from tests.conftest import FILES, refused
from tests.helpers.analyses import read_joined
from tests.helpers.synthetic_clip import CLIP, Made, units, write_train

SWING, TRIPOD = 843, 872
CLIP_FILES = ("imagenet/clip_image_embeddings.npz", "imagenet/valid_clip_knn.npz", "clip_text_embeddings.npz")
IMAGES, NEIGHBOURS, TEXTS = CLIP_FILES
ANALYSE = "--perform_error_analysis"
PROVISIONAL = "The open-world test was skipped, so what follows is provisional."
BESIDE = "So it shows something beside the prediction that ImageNet has no class for."


@pytest.fixture(scope="module")
def made() -> Made:
    """Two images; the gate is open for a swing on the first, which shows a seesaw, no class, closed on the second."""
    indices = np.full((2, 50), TRIPOD)
    indices[0, 9] = indices[1, 10] = SWING
    return Made.of(FILES, indices).like(0, "A photo of a seesaw")


@pytest.fixture
def here(small, made):
    """Both images are taken for swings; few superclasses are quickly made."""
    (small / "superclasses.json").write_text('{"dogs": [["dog"]]}')
    np.savez(small / "imagenet/me--mine/preds.npz", top1=np.array([SWING, SWING]))
    made.write(small)
    return small


def stored(folder, *columns, model="me--mine"):
    table = read_joined(folder / "imagenet" / model / "errors_analysis.parquet", list(columns))
    return [tuple(row.values()) for row in table.to_pylist()]


def types(folder) -> list[tuple[str, bool]]:
    return stored(folder, "error_type", "provisional")


TESTED = [("out_of_vocabulary", False), ("model_failure", False)]
SKIPPED = [("model_failure", True), ("model_failure", True)]


def remove(folder, names=CLIP_FILES):
    for name in names:
        (folder / name).unlink()


def explain(analyse, file) -> list[str]:
    done = analyse("--explain", file, "--model", "me/mine")
    assert done.status == 0, done.stderr
    return done.stdout.splitlines()


# --- several runs -------------------------------------------------------------------------------------------------


def test_outcome_is_stored_completely(here, analyse):
    assert analyse().status == 0
    assert types(here) == TESTED
    (number, best), closed = stored(here, "num_prompts", "top5")
    assert (number, best[0]["offset"], best[0]["lemma"], len(best)) == (136, 4167759, "seesaw", 5)
    assert closed == (0, [])


@pytest.mark.parametrize("changed", ["image", "prompt", "tenth neighbour"])
def test_outcome_of_changed_embeddings_is_made_again(here, analyse, made, changed):
    analyse()
    assert "1 kept" in analyse(ANALYSE).stderr
    if changed == "image":
        made.like(0, "A photo of a swing").write(here)
    elif changed == "prompt":
        replace(made, texts=units(len(made.texts), 11)).write(here)
    else:
        indices = made.indices.copy()
        indices[0, 9] = TRIPOD
        replace(made, indices=indices).write(here)
    assert "was made from other predictions, labels, superclasses or CLIP files" in analyse("--collect_results").stderr
    assert "me--mine: analysed again because its inputs have changed" in analyse(ANALYSE).stderr
    error_type, number = stored(here, "error_type", "num_prompts")[0]
    assert number == (0 if changed == "tenth neighbour" else 136)
    if changed != "prompt":
        assert error_type == "model_failure"


def test_damaged_analysis_is_made_again_with_the_test(here, analyse):
    analyse()
    path = here / "imagenet/me--mine/errors_analysis.parquet"
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    path.write_bytes(whole[:4] + bytes(len(whole) - 4 - footer) + whole[-footer:])
    assert "analysed again because" in analyse(ANALYSE).stderr
    assert path.read_bytes() == whole


@pytest.mark.parametrize("gone", [(), CLIP_FILES])
def test_skipping_on_request_replaces_tested_outcomes(here, analyse, made, gone):
    analyse()
    remove(here, gone)
    done = analyse(ANALYSE, "--open_world", "skip")
    assert "the open-world test is skipped: " in done.stderr
    assert "≤" in done.stdout
    assert types(here) == SKIPPED
    assert stored(here, "num_prompts", "top5", "neighbours") == [(None, None, None)] * 2
    made.write(here)
    assert "me--mine: analysed again" in analyse(ANALYSE).stderr
    assert types(here) == TESTED


@pytest.mark.parametrize("gone", [CLIP_FILES, [NEIGHBOURS]])
def test_stored_outcomes_are_kept_without_the_embeddings(here, analyse, gone):
    before = analyse(ANALYSE, "--collect_results", "--list_most_common_errors").stdout
    remove(here, gone)
    done = analyse(ANALYSE, "--collect_results", "--list_most_common_errors")
    assert "1 kept" in done.stderr
    assert types(here) == TESTED
    assert done.stdout == before
    assert "≤" not in before


@pytest.mark.parametrize("gone", [CLIP_FILES, [IMAGES], [NEIGHBOURS], [TEXTS]])
def test_first_missing_file_is_named(here, analyse, gone):
    remove(here, gone)
    first = here / gone[0]
    line = next(line for line in analyse().stderr.splitlines() if "the open-world test is skipped" in line)
    assert str(first) in line
    assert "compute_clip_embeddings.py --dataset imagenet" in line
    assert types(here) == SKIPPED
    done = analyse(ANALYSE, "--open_world", "clip")
    assert refused(done, first, "is missing")


def test_outcomes_of_changed_predictions_are_dropped_without_embeddings(here, analyse):
    analyse()
    remove(here)
    np.savez(here / "imagenet/me--mine/preds.npz", top1=np.array([SWING, TRIPOD]))
    assert PROVISIONAL in explain(analyse, FILES[0])
    assert "me--mine: analysed again" in analyse(ANALYSE).stderr
    assert types(here)[0] == SKIPPED[0]


def test_explanation_is_the_same_without_embeddings(here, analyse):
    analyse()
    at_first, closed = explain(analyse, FILES[0]), explain(analyse, FILES[1])
    remove(here)
    assert (explain(analyse, FILES[0]), explain(analyse, FILES[1])) == (at_first, closed)


def test_explanation_gives_the_outcome_of_the_test(here, analyse, made):
    analyse()
    lines, best = explain(analyse, FILES[0]), stored(here, "top5")[0][0]
    assert lines[0].endswith(": fine-grained out-of-vocabulary")
    best_fits = ", ".join(f"{one['lemma']} {one['score']:.2%}" for one in best)
    assert lines[-2] == (
        f"Of 136 names for what the image shows the best fits are {best_fits}; the first is no ImageNet class."
    )
    assert lines[-1] == BESIDE
    closed = explain(analyse, FILES[1])
    assert closed[0].endswith(": model failure")
    assert any(line.startswith("The open-world test says no: no near training image is of a class") for line in closed)
    made.like(0, "A photo of a swing").write(here)
    lines = explain(analyse, FILES[0])
    assert lines[0].endswith(": model failure")
    assert any(line.startswith("Of 136 names") and line.endswith("is an ImageNet class.") for line in lines)
    done = analyse("--explain", FILES[0], "--model", "me/mine", "--open_world", "skip")
    assert PROVISIONAL in done.stdout.splitlines()


def test_only_the_model_without_outcomes_is_provisional(here, analyse):
    """A model added after the embeddings were removed is provisional in tables and in the printed summary."""
    analyse()
    remove(here)
    shutil.copytree(here / "imagenet/me--mine", here / "imagenet/me--new")
    (here / "imagenet/me--new/errors_analysis.parquet").unlink()
    done = analyse(ANALYSE, "--collect_results", "--list_most_common_errors", "--print")
    mine, new = (line for line in done.stdout.splitlines() if line.startswith("me--"))
    assert "≤" not in mine
    assert (new.count("≤"), "–" in new, "–" in mine) == (3, True, False)
    table = (here / "results/stats-imagenet/non_problematic_stats_all.csv").read_text().splitlines()
    place = table[0].split(",").index("num_OOV_clip")
    assert [line.split(",")[place] for line in table[1:]] == ["1", ""]
    assert done.stdout.count("potentially OOV, detected by CLIP") == 1


# --- neighbours ------------------------------------------------------------------------------------------------------


def neighbours(folder):
    return [row[0] and [tuple(one.values()) for one in row[0]] for row in stored(folder, "neighbours")]


def test_neighbours_are_stored_under_the_names_of_training_images(here, analyse):
    analyse(ANALYSE, "--without_neighbours")
    assert neighbours(here) == [None, None]
    (here / "imagenet/me--mine/errors_analysis.parquet").unlink()
    analyse()
    expected = [[(TRIPOD, TRIPOD, None)] * 9 + [(SWING, SWING, None)], [(TRIPOD, TRIPOD, None)] * 10]
    assert neighbours(here) == expected
    (here / "imagenet/me--mine/errors_analysis.parquet").unlink()
    write_train(here)
    analyse()
    assert neighbours(here)[0][9] == (SWING, SWING, f"n04371774/n04371774_{SWING}.JPEG")


def test_analyses_with_and_without_neighbours_replace_each_other(here, analyse):
    analyse()
    (table,) = (here / "imagenet").glob("images-*.parquet")
    assert "1 analysed again" in analyse(ANALYSE, "--without_neighbours").stderr
    assert neighbours(here) == [None, None]
    assert "1 kept" in analyse(ANALYSE, "--without_neighbours").stderr
    assert "1 analysed again" in analyse(ANALYSE).stderr
    assert neighbours(here)[1] == [(TRIPOD, TRIPOD, None)] * 10
    assert table.exists()


def test_file_names_may_be_bytes(here, analyse):
    """NumPy writes byte strings as they are; samples_info.npz may hold them."""
    write_train(here)
    with np.load(here / "train_clip_embeddings.npz") as archive:
        names = archive["train_files"]
    change_arrays(here / "train_clip_embeddings.npz", train_files=names.astype("S"))
    change_arrays(here / IMAGES, sample_files=np.array(FILES).astype("S"))
    assert analyse().status == 0
    assert neighbours(here)[0][9] == (SWING, SWING, f"n04371774/n04371774_{SWING}.JPEG")
    change_arrays(here / IMAGES, sample_files=np.array([FILES[0].encode(), b"n01443537/\xff.JPEG"]))
    assert refused(analyse(), here / IMAGES)


def test_neighbours_beyond_the_training_images_are_refused(here, analyse):
    write_npz_train(here, 800)
    assert refused(analyse(), "train_clip_embeddings.npz")


def write_npz_train(folder, number: int) -> None:
    path = folder / "train_clip_embeddings.npz"
    files = np.array([f"n/{t}" for t in range(number)])
    write_embeddings(path, "train_files", Embeddings(path, files, units(number, 3), CLIP, np.zeros(number, np.int16)))


# --- wrong files -----------------------------------------------------------------------------------------------------


def change_arrays(path, **changes):
    """Rewrite an archive with some arrays replaced, or without them where they are None."""
    with np.load(path) as archive:
        arrays = dict(archive) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def scale(folder, name, row, factor):
    with np.load(folder / name) as archive:
        vectors = archive["embeddings"].copy()
    vectors[row] *= factor
    change_arrays(folder / name, embeddings=vectors)


@pytest.mark.parametrize(("name", "factor"), [(IMAGES, 0), (TEXTS, np.nan)])
def test_vector_without_direction_is_refused(here, analyse, made, name, factor):
    scale(here, name, 1, factor)
    which = FILES[1] if name == IMAGES else made.prompts[1]
    assert refused(analyse(), here / name, f"embedding of {which} has length", "compute_clip_embeddings.py")


@pytest.mark.parametrize("factor", [0, 1.02, 0.98, np.nan, np.inf, -np.inf, 1e38])
def test_vector_that_is_not_of_unit_length_is_refused(here, made, factor):
    scale(here, TEXTS, 1, factor)
    with pytest.raises(InputError, match=f"{made.prompts[1]} has length"):
        read_embeddings(here / TEXTS, "prompts")


@pytest.mark.parametrize("factor", [0.995, 1.005])
def test_vector_of_nearly_unit_length_is_normalised(here, factor):
    scale(here, TEXTS, 1, factor)
    assert np.linalg.norm(read_embeddings(here / TEXTS, "prompts").vectors[1]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", [IMAGES, TEXTS])
def test_half_precision_is_normalised(here, analyse, made, name):
    with np.load(here / name) as archive:
        half = archive["embeddings"].astype(np.float16)
    change_arrays(here / name, embeddings=half)
    read = read_embeddings(here / name, "sample_files" if name == IMAGES else "prompts")
    assert read.vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(read.vectors.astype(float), axis=1) - 1).max() < 1e-6
    assert analyse().status == 0
    assert types(here) == TESTED


@pytest.mark.parametrize("name", CLIP_FILES)
def test_embeddings_of_two_clips_are_refused(here, analyse, name):
    change_arrays(here / name, clip=np.array("another"))
    assert refused(analyse(), "two CLIPs are mixed", "is of another", f"is of {CLIP}", here / name)


@pytest.mark.parametrize("name", CLIP_FILES)
def test_file_that_names_no_clip_is_accepted(here, analyse, name):
    change_arrays(here / name, clip=None)
    assert analyse().status == 0
    assert types(here) == TESTED


def test_embeddings_without_a_clip_are_read_as_written(tmp_path):
    path = tmp_path / "some.npz"
    write_embeddings(path, "prompts", Embeddings(path, np.array(["a"]), units(1, 0), None))
    assert read_embeddings(path, "prompts").clip is None


def test_different_dimensions_are_refused(here, analyse):
    change_arrays(here / IMAGES, embeddings=np.eye(2, 31, dtype=np.float32))
    assert refused(analyse(), "31 dimensions", "32", here / IMAGES, here / TEXTS)


def test_prompt_without_an_embedding_is_named(here, analyse, made):
    change_arrays(here / TEXTS, prompts=made.prompts[1:], embeddings=made.texts[1:])
    unasked = analyse("--explain", FILES[1], "--model", "me/mine")
    assert refused(unasked, here / TEXTS, "lacks the prompt", repr(str(made.prompts[0])))
    more = np.array([*made.prompts, "A photo of a horse on Mars"])
    change_arrays(here / TEXTS, prompts=more, embeddings=np.vstack([made.texts, units(1, 12)]))
    assert analyse().status == 0


@pytest.mark.parametrize("files", [FILES[::-1], FILES[:1], [*FILES, "n01440764/ILSVRC2012_val_00000295.JPEG"]])
def test_embeddings_of_other_images_are_refused(here, analyse, files):
    change_arrays(here / IMAGES, sample_files=np.array(files), embeddings=units(len(files), 1))
    assert refused(analyse(), here / IMAGES, "of other images", here / "imagenet/samples_info.npz")


@pytest.mark.parametrize("shape", [(2, 10), (3, 50), (100,)])
def test_wrong_number_of_neighbours_is_refused(here, analyse, shape):
    zeros = np.zeros(shape, np.int32)
    change_arrays(here / NEIGHBOURS, topk_train_indices=zeros, topk_train_targets=zeros)
    assert refused(analyse(), here / NEIGHBOURS, "50 for each of 2 images")


@pytest.mark.parametrize(
    ("name", "array"), [(IMAGES, "embeddings"), (IMAGES, "sample_files"), (TEXTS, "prompts"), (TEXTS, "embeddings")]
)
def test_missing_or_misshapen_array_is_refused(here, analyse, name, array):
    change_arrays(here / name, **{array: None})
    assert refused(analyse(), here / name, f"lacks the array {array!r}")
    change_arrays(here / name, **{array: np.zeros(5, int)})
    assert refused(analyse(), here / name)


@pytest.mark.parametrize("name", CLIP_FILES)
def test_truncated_file_is_refused(here, analyse, name):
    whole = (here / name).read_bytes()
    for kept in (0, len(whole) - 30):
        (here / name).write_bytes(whole[:kept])
        assert refused(analyse(), here / name, "not a readable npz archive")


@pytest.mark.parametrize("damage", ["missing", "truncated", "incomplete"])
def test_message_names_the_script_that_makes_the_file(here, analyse, damage):
    if damage == "missing":
        remove(here, [IMAGES])
    elif damage == "truncated":
        (here / IMAGES).write_bytes(b"PK")
    else:
        change_arrays(here / IMAGES, embeddings=None)
    assert refused(analyse(ANALYSE, "--open_world", "clip"), here / IMAGES, "compute_clip_embeddings.py")


def test_neighbours_of_an_unknown_class_are_refused(here, analyse, made):
    near = made.near.copy()
    near[0, 3] = 1000
    change_arrays(here / NEIGHBOURS, topk_train_targets=near)
    assert refused(analyse(), here / NEIGHBOURS, "1000")
