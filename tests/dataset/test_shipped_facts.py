"""The facts that come with the repository: equal to their sources, and refused where they are damaged."""

import csv
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors.dataset.annotations import load_annotated_images
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.dataset.multi_labels import annotations_from_csv
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.dataset.validation_labels import load_validation_samples, read_validation_labels
from imagenet_errors.errors import InputError
from imagenet_errors.paths import (
    ANNOTATIONS,
    MULTI_LABELS,
    PUBLISHED_TABLES,
    VALIDATION_LABELS,
    Artefacts,
    stats_table,
)
from tests.conftest import COMMITTED, FILES, ROOT
from tests.helpers.quick_runs import committed_superclasses, proposers, quick  # noqa: F401

SMALL = Samples(np.array(FILES), np.array([0, 1], np.int16))  # the second is not among the 20,000


@pytest.fixture(scope="module")
def validation_samples():
    return load_validation_samples(COMMITTED)


# --- validation labels -----------------------------------------------------------------------------------------------


def test_validation_labels_are_the_public_ones(shared, validation_samples):
    with open(shared / "predictions" / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert validation_samples.files.tolist() == [row["file"] for row in rows]
    assert validation_samples.targets.tolist() == [int(row["target"]) for row in rows]
    assert validation_samples.targets.dtype == np.int16


def test_every_class_has_fifty_validation_images(validation_samples, classes):
    assert (np.bincount(validation_samples.targets) == np.full(1000, 50)).all()
    assert validation_samples.files.tolist() == sorted(set(validation_samples.files.tolist()))
    wnids = [file.split("/")[0] for file in validation_samples.files.tolist()]
    assert [classes.ids[wnid] for wnid in wnids] == validation_samples.targets.tolist()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: "", "may be truncated"),
        (lambda text: "\n", "not a table of number,class_id with 50,000 rows"),
        (lambda text: text.replace("class_id", "class"), "not a table of number,class_id"),
        (lambda text: text[: text.rindex("50000")], "with 50,000 rows"),
        (lambda text: text.replace("\n7,334\n", "\n7,x\n"), "is damaged"),
        (lambda text: text.replace("\n7,334\n", "\n7\n"), "is damaged"),
        (lambda text: text.replace("\n7,334\n", "\n7,\n"), "is damaged"),
        (lambda text: text.replace("\n7,334\n", "\n7,1000\n"), "line 8 is '7,1000', not number 7 and a class id"),
        (lambda text: text.replace("\n7,334\n", "\n7,-1\n"), "line 8 is '7,-1'"),
        (lambda text: text.replace("\n7,334\n", "\n6,334\n"), "line 8 is '6,334'"),
    ],
)
def test_damaged_validation_labels_are_refused(tmp_path, damage, words):
    check_refused(tmp_path / VALIDATION_LABELS, read_validation_labels, damage, words)


def check_refused(path, read, damage, words):
    text = (COMMITTED.root / path.name).read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    with pytest.raises(InputError, match="restore it from the repository") as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert words in str(refused.value)


# --- multi-labels ----------------------------------------------------------------------------------------------------


def test_table_gives_the_same_images_as_the_official_file(shared, context, shipped):
    for name, values in vars(context.images).items():
        if name != "imagenet_m":
            assert np.array_equal(getattr(shipped.images, name), values), name
            assert getattr(shipped.images, name).dtype == values.dtype, name


def test_imagenet_m_is_not_known_without_the_official_file(shipped):
    assert shipped.images.imagenet_m is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace("unclear", "uncertain"), "has the columns"),
        (lambda text: text[: text.index("\n100,") + 1], "images instead of 20,000"),
        (lambda text: text.replace("\n11,109,,,0\n", "\n11,109,,0\n"), "line 5 does not have 5 cells"),
        (lambda text: text.replace("\n11,109,,,0\n", "\n5,109,,,0\n"), "line 5 lists image 5 again"),
        (lambda text: text.replace("\n11,109,,,0\n", "\n50001,109,,,0\n"), "line 5: '50001'"),
        (lambda text: text.replace("\n11,109,,,0\n", "\n11,1000,,,0\n"), "line 5: '1000'"),
        (lambda text: text.replace("\n11,109,,,0\n", "\n11,109,,x,0\n"), "line 5: 'x'"),
        (lambda text: text.replace("\n11,109,,,0\n", "\n11,109,,,True\n"), "line 5: 'True'"),
    ],
)
def test_damaged_multi_labels_are_refused(tmp_path, damage, words):
    check_refused(tmp_path / MULTI_LABELS, annotations_from_csv, damage, words)


def test_official_file_takes_precedence(small, classes):
    images = load_annotated_images(Artefacts(small), "imagenet", SMALL, classes, "json")
    assert images.labels.tolist() == [[0, -1], [1, 0]]
    (small / ANNOTATIONS).unlink()
    from_table = load_annotated_images(Artefacts(small), "imagenet", SMALL, classes, "json")
    assert from_table.labels.tolist() == [[0]]


def test_missing_official_file_is_said_once(small, quick):  # noqa: F811
    flags = ("--artefacts_dir", small, "--results_dir", small / "results", "--perform_error_analysis")
    assert "ImageNet-M" not in quick("evaluation", *flags).stderr
    (small / ANNOTATIONS).unlink()
    done = quick("evaluation", *flags, "--collect_results", "--list_most_common_errors")
    assert done.status == 0
    (line,) = [line for line in done.stderr.splitlines() if "ImageNet-M" in line]
    for words in (str(small / ANNOTATIONS), "is missing", MULTI_LABELS, "download_artefacts.py --what annotations"):
        assert words in line


def test_tables_are_the_same_with_either_form(twelve, analysed, quick, tmp_path):  # noqa: F811
    """Those of the twelve, analysed again without the official file."""
    shutil.copytree(twelve / "imagenet", tmp_path / "imagenet")
    flags = ("--artefacts_dir", tmp_path, "--results_dir", tmp_path / "results")
    done = quick("evaluation", *flags, "--perform_error_analysis", "--collect_results")
    assert done.status == 0
    assert "12 analysed" in done.stderr
    made, tables = (sorted((folder / "results" / "stats-imagenet").iterdir()) for folder in (tmp_path, analysed))
    assert [path.name for path in made] == [path.name for path in tables]
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in tables]


# --- the paper's tables, and what is said of all facts ----------------------------------------------------------------


def test_published_tables_are_copies(shared):
    names = [stats_table(Path(), dataset, group) for dataset in ("imagenet", "imagenet-a") for group in GROUPS]
    for name in names:
        assert (PUBLISHED_TABLES / name).read_bytes() == (shared / "published" / name).read_bytes()


@pytest.mark.parametrize("document", ["NOTICE", "artefacts/README.md"])
def test_every_committed_file_is_named_with_its_source(document):
    listed = subprocess.run(["git", "ls-files", "artefacts"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    text = (ROOT / document).read_text()
    folder = "artefacts/" if document == "NOTICE" else ""
    names = {
        folder + re.sub(r"(stats-[a-z-]+/).*", r"\1", name.removeprefix("artefacts/"))
        for name in listed.stdout.split()
        if not name.endswith(".md")
    }
    assert len(names) > 15
    assert not [name for name in names if name not in text]


@pytest.mark.parametrize("name", ["published/models.csv", "published/stats-imagenet/a.csv.part", "downloads_done.csv"])
def test_downloads_are_not_committed(name):
    done = subprocess.run(["git", "check-ignore", "-q", COMMITTED.root / name], cwd=ROOT)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.returncode == 0


# --- all images are there, but not all annotated ones ----------------------------------------------------------------


def test_annotated_image_that_is_not_among_all_is_refused(validation_samples, classes, tmp_path):
    files = validation_samples.files.tolist()
    rows = [row for row, file in enumerate(files) if file.endswith(("00000001.JPEG", "00000004.JPEG"))]
    for row in rows:
        files[row] = files[row].removesuffix(".JPEG") + ".webp"
    samples = Samples(np.array(files), validation_samples.targets)
    with pytest.raises(InputError, match=r"but lacks ILSVRC2012_val_00000001\.JPEG and 1 others"):
        load_annotated_images(Artefacts(tmp_path), "imagenet", samples, classes, "json")


def test_part_of_all_images_may_lack_annotated_ones(validation_samples, classes, tmp_path):
    part = Samples(validation_samples.files[1:], validation_samples.targets[1:])
    assert len(load_annotated_images(Artefacts(tmp_path), "imagenet", part, classes, "json")) == 19_999
