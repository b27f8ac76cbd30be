"""Label sets: ReaL labels equal timm's, and images get the labels of a set or are left out and counted."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.dataset.label_sets import STANDARD, apply_label_set, load_label_sets
from imagenet_errors.dataset.real_labels import find_labels, read_real_labels
from imagenet_errors.errors import InputError
from imagenet_errors.paths import LABEL_SETS, REAL_LABELS, Artefacts
from tests.conftest import COMMITTED
from tests.dataset.test_shipped_facts import check_refused


@pytest.fixture(scope="module")
def timm_labels() -> list[list[int]]:
    """The ReaL labels in timm's package, by validation file number."""
    package = find_spec("timm")
    if package is None:
        pytest.skip("timm is not installed")
    folder = Path(package.submodule_search_locations[0])
    return json.loads((folder / "data/_info/imagenet_real_labels.json").read_text())


@pytest.fixture(scope="module")
def real_labels() -> np.ndarray:
    return read_real_labels(COMMITTED.root / REAL_LABELS)


def test_real_labels_are_those_of_timm(timm_labels, real_labels):
    assert real_labels.dtype == np.int16
    assert [[label for label in row if label != NO_LABEL] for row in real_labels.tolist()] == timm_labels
    assert (real_labels == NO_LABEL).all(axis=1).sum() == 3163


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace("class_ids", "labels"), "has the columns"),
        (lambda text: text[: text.index("\n100,") + 1], "lists 99 images instead of 50,000"),
        (lambda text: text.replace("\n2,970 795\n", "\n2,970,795\n"), "line 3 does not have 2 cells"),
        (lambda text: text.replace("\n2,970 795\n", "\n2,970 1000\n"), "line 3: '1000' is not a class id"),
        (lambda text: text.replace("\n2,970 795\n", "\n2,970 970\n"), "line 3 is '2,970 970', not number 2 and"),
        (lambda text: text.replace("\n2,970 795\n", "\n1,970 795\n"), "line 3 is '1,970 795', not number 2 and"),
    ],
)
def test_damaged_real_labels_are_refused(tmp_path, damage, words):
    check_refused(tmp_path / REAL_LABELS, read_real_labels, damage, words)


def test_images_without_a_known_number_have_no_labels(real_labels):
    found = find_labels(real_labels, np.array([2, 0, 50_001, 60_000_000]))
    assert found[0, :3].tolist() == [970, 795, NO_LABEL]
    assert (found[1:] == NO_LABEL).all()


def test_standard_set_changes_nothing(shipped):
    labelled = apply_label_set(COMMITTED, load_label_sets(COMMITTED)[STANDARD], shipped.images)
    assert labelled.images is shipped.images
    assert (labelled.num_empty, labelled.num_without_original) == (0, 0)


def test_original_label_alone_is_accepted(shipped):
    labelled = apply_label_set(COMMITTED, load_label_sets(COMMITTED)["original"], shipped.images)
    assert labelled.images.labels.tolist() == shipped.images.targets[:, None].tolist()
    assert (labelled.images.problematic == shipped.images.problematic).all()
    assert (labelled.num_empty, labelled.num_without_original) == (0, 0)


def test_images_without_sound_real_labels_are_left_out_and_counted(shipped, timm_labels):
    labelled = apply_label_set(COMMITTED, load_label_sets(COMMITTED)["real"], shipped.images)
    num_empty = num_without_original = 0
    for row, (file, target) in enumerate(zip(shipped.images.files, shipped.images.targets, strict=True)):
        labels, is_counted = timm_labels[int(file[-13:-5]) - 1], not shipped.images.problematic[row]
        assert [label for label in labelled.images.labels[row].tolist() if label != NO_LABEL] == labels
        assert labelled.images.problematic[row] == (not is_counted or target not in labels)
        num_empty += is_counted and not labels
        num_without_original += is_counted and bool(labels) and target not in labels
    assert (labelled.num_empty, labelled.num_without_original) == (num_empty, num_without_original) == (941, 1310)


def test_set_of_no_such_image_is_refused(shipped):
    others = replace(shipped.images[:3], files=np.array(["n01440764/a.JPEG"] * 3))
    with pytest.raises(InputError, match=r"real_labels.csv: the label set 'real' accepts .* none of the 3 images"):
        apply_label_set(COMMITTED, load_label_sets(COMMITTED)["real"], others)


def test_unknown_reader_is_refused(tmp_path):
    text = (COMMITTED.root / LABEL_SETS).read_text()
    (tmp_path / LABEL_SETS).write_text(text.replace("class_id_lists", "class_id_list"))
    with pytest.raises(InputError, match="unknown reader 'class_id_list', did you mean 'class_id_lists'"):
        load_label_sets(Artefacts(tmp_path))
