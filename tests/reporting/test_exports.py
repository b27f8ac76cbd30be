"""Errors as CSV and as a dataset of FiftyOne: every value of the table is in them."""

import csv
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import refused

FIRST, OTHER = "pytorch--resnet50", "imagenetx--ViT"
IMPORT = """
import json, sys
from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter
with FiftyOneImageClassificationDatasetImporter(dataset_dir=sys.argv[1]) as importer:
    print(json.dumps([(path, label.label, label.error_type, label.accepted) for path, _, label in importer]))
"""


@pytest.fixture
def report(analysed, call, tmp_path):
    """Report on both models with these flags, without printing."""

    def run(*flags):
        models = ("--model", FIRST, "--compare", OTHER, "--output", tmp_path / "report.txt")
        return call("report", "--artefacts_dir", analysed / "artefacts", *models, *flags)

    return run


def test_csv_has_a_row_for_every_error_and_every_known_value(report, tmp_path):
    done = report("--errors", tmp_path / "errors.csv")
    assert done.status == 0, done
    with open(tmp_path / "errors.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    page = report("--page", tmp_path / "page.html")
    assert page.status == 0
    text = (tmp_path / "page.html").read_text().split('id="data">')[1].split("</script>")[0]
    errors = json.loads(text)["errors"]
    assert [row["file"] for row in rows] == errors["file"]
    assert [int(row["prediction"]) for row in rows] == errors["prediction"]
    assert [[int(one) for one in row["accepted"].split("; ") if one] for row in rows] == errors["accepted"]
    assert [row[f"prediction of {OTHER}"] for row in rows] == [str(one) for one in errors["compared"][0]["prediction"]]
    assert {row["error_type"] for row in rows} > {"correct", "class_overlap", "model_failure"}
    assert all(row["reason"].endswith(".") for row in rows)


def test_fiftyone_dataset_has_the_images_that_are_there(report, shared, tmp_path):
    folder = tmp_path / "fiftyone"
    done = report("--fiftyone", folder, "--images", shared / "images" / "val", "--errors", tmp_path / "errors.csv")
    assert done.status == 0, done
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    files = {path.relative_to(folder / "data").as_posix() for path in folder.glob("data/*/*")}
    assert files == {f"{name}.JPEG" for name in labels}
    with open(tmp_path / "errors.csv", newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert files == {file for file in rows if (shared / "images" / "val" / file).is_file()}
    for name, label in labels.items():
        row = rows[f"{name}.JPEG"]
        assert label["attributes"]["error_type"] == row["error_type"]
        assert label["label"].endswith(f" {row['prediction_text']}")
        assert label["attributes"]["original_label"] == int(row["label"])
    assert all(path.is_file() for path in folder.glob("data/*/*"))
    assert refused(report("--fiftyone", folder, "--images", shared / "images" / "val"), folder, "not empty")


def test_flags_that_do_not_fit_are_refused(report, tmp_path):
    assert refused(report("--fiftyone", tmp_path / "new"), "--images")
    assert refused(report("--images", tmp_path), "--page or --fiftyone")
    assert refused(report("--fiftyone", tmp_path / "new", "--images", tmp_path), "has none of the")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def fiftyone_python():
    """A Python that has fiftyone, which is too large for the test environment."""
    python = os.environ.get("FIFTYONE_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import fiftyone.utils.data.importers"], capture_output=True).returncode:
        pytest.skip("fiftyone is not installed; FIFTYONE_PYTHON may name a Python that has it")
    return python


@pytest.mark.heavy
def test_fiftyone_reads_the_dataset_with_its_own_importer(report, fiftyone_python, shared, tmp_path):
    folder = tmp_path / "fiftyone"
    assert report("--fiftyone", folder, "--images", shared / "images" / "val").status == 0
    done = subprocess.run([fiftyone_python, "-c", IMPORT, folder], capture_output=True, text=True, check=True)
    read = json.loads(done.stdout.splitlines()[-1])
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    assert len(read) == len(labels) > 0
    for path, label, error_type, accepted in read:
        written = labels[path.removeprefix(f"{folder}/data/").removesuffix(".JPEG")]
        assert (label, error_type, accepted) == (
            written["label"],
            written["attributes"]["error_type"],
            written["attributes"]["accepted"],
        )
