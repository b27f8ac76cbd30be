"""Label sets: ReaL labels equal timm's, and images get the labels of a set or are left out and counted."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.dataset.label_sets import STANDARD, apply_label_set, find_label_set, load_label_sets
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
        (lambda text: text.replace("class_ids", "labels"), "is not a table of number,class_ids with 50,000 rows"),
        (lambda text: text[: text.index("\n100,") + 1], "is not a table of number,class_ids with 50,000 rows"),
        (
            lambda text: text.replace("\n2,970 795\n", "\n2,970,795\n"),
            "line 3 is '2,970,795', not number 2 and its class ids",
        ),
        (lambda text: text.replace("\n2,970 795\n", "\n2,970 1000\n"), "line 3 is '2,970 1000'"),
        (lambda text: text.replace("\n2,970 795\n", "\n2,970 970\n"), "line 3 is '2,970 970'"),
        (lambda text: text.replace("\n2,970 795\n", "\n1,970 795\n"), "line 3 is '1,970 795'"),
    ],
)
def test_damaged_real_labels_are_refused(tmp_path, damage, words):
    check_refused(tmp_path / REAL_LABELS, read_real_labels, damage, words)


def test_images_without_a_known_number_have_no_labels(real_labels):
    found = find_labels(real_labels, np.array([2, 0, 50_001, 60_000_000]))
    assert found[0, :3].tolist() == [970, 795, NO_LABEL]
    assert (found[1:] == NO_LABEL).all()


def test_standard_set_changes_nothing(shipped):
    assert apply_label_set(COMMITTED, find_label_set(COMMITTED, STANDARD), shipped.images) is shipped.images


def test_original_label_alone_is_accepted(shipped):
    images = apply_label_set(COMMITTED, find_label_set(COMMITTED, "original"), shipped.images)
    assert images.labels.tolist() == shipped.images.targets[:, None].tolist()
    assert (images.problematic == shipped.images.problematic).all()


def test_images_whose_real_labels_lack_the_original_one_are_problematic(shipped, timm_labels):
    images = apply_label_set(COMMITTED, find_label_set(COMMITTED, "real"), shipped.images)
    for row, (file, target) in enumerate(zip(images.files.tolist(), images.targets.tolist(), strict=True)):
        labels = timm_labels[int(file[-13:-5]) - 1]
        assert [label for label in images.labels[row].tolist() if label != NO_LABEL] == labels
        assert images.problematic[row] == (shipped.images.problematic[row] or target not in labels)


def test_set_of_no_such_image_is_refused(shipped):
    others = replace(shipped.images[:3], files=np.array(["n01440764/a.JPEG"] * 3))
    with pytest.raises(InputError, match=r"real_labels.csv: the label set 'real' accepts .* none of the 3 images"):
        apply_label_set(COMMITTED, find_label_set(COMMITTED, "real"), others)


def test_unknown_name_is_refused():
    with pytest.raises(InputError, match="unknown label set 'reel', did you mean 'real'"):
        find_label_set(COMMITTED, "reel")


def test_unknown_reader_is_refused(tmp_path):
    text = (COMMITTED.root / LABEL_SETS).read_text()
    (tmp_path / LABEL_SETS).write_text(text.replace("class_id_lists", "class_id_list"))
    with pytest.raises(InputError, match="unknown reader 'class_id_list', did you mean 'class_id_lists'"):
        load_label_sets(Artefacts(tmp_path))
