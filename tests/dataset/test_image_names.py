"""A validation image is known by the number in its name, wherever images are matched."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors.dataset.image_names import canonical_name, read_number
from imagenet_errors.dataset.samples import read_samples
from imagenet_errors.errors import InputError
from imagenet_errors.inference.image_sources import read_folder
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED, FILES, annotate

OFFICIAL = "ILSVRC2012_val_00000293.JPEG"


@pytest.mark.parametrize(
    "name",
    [
        OFFICIAL,
        "ILSVRC2012_val_00000293",
        "ILSVRC2012_val_00000293.jpg",
        "ilsvrc2012_VAL_00000293.png",
        "ILSVRC2012_val_00000293_n01440764.JPEG",
        "val/n01440764/ILSVRC2012_val_00000293.JPEG",
        r"C:\data\val\ILSVRC2012_val_00000293.JPEG",
    ],
)
def test_names_of_one_image_have_its_number(name):
    assert read_number(name) == 293


@pytest.mark.parametrize("name", ["n01440764_293.JPEG", "ILSVRC2012_val_293.JPEG", "ILSVRC2012_test_00000293.JPEG", ""])
def test_other_names_are_left_as_they_are(name):
    assert read_number(name) is None
    assert canonical_name(f"n01440764/{name}") == f"n01440764/{name}"


@given(st.integers(1, 50_000), st.sampled_from(["", ".jpg", ".JPEG", "_n01440764.JPEG"]), st.booleans())
def test_folders_stay_and_names_become_official(number, end, is_lower):
    name = f"ILSVRC2012_val_{number:08d}{end}"
    path = f"n01440764/{name.lower() if is_lower else name}"
    assert canonical_name(path) == f"n01440764/ILSVRC2012_val_{number:08d}.JPEG"
    assert canonical_name(canonical_name(path)) == canonical_name(path)


def test_folder_of_renamed_images_lists_the_official_names(tmp_path):
    names = ["ILSVRC2012_val_00000293.jpg", "ilsvrc2012_val_00003014_n01440764.png", "ILSVRC2012_val_00002138.JPEG"]
    (tmp_path / "n01440764").mkdir()
    for name in names:
        (tmp_path / "n01440764" / name).touch()
    found = read_folder(COMMITTED, tmp_path)
    files = [f"n01440764/ILSVRC2012_val_{number:08d}.JPEG" for number in (293, 2138, 3014)]
    assert found.samples.files.tolist() == files
    paths = [str(tmp_path / "n01440764" / names[row]) for row in (0, 2, 1)]
    assert [image.path for image in found.stored] == paths
    assert [image.path for image in found.select(files[1:])] == paths[1:]
    (tmp_path / "n01440764" / OFFICIAL).touch()
    with pytest.raises(InputError, match=r"00000293.* and .*00000293.*, one image: remove one of them"):
        read_folder(COMMITTED, tmp_path)


def test_renamed_samples_and_annotations_give_the_same_table(analyse, small):
    analyse("--perform_error_analysis", "--collect_results")
    table = small / "results/stats-imagenet/non_problematic_stats_all.csv"
    expected = pd.read_csv(table)
    renamed = [FILES[0].replace(".JPEG", ".jpg"), FILES[1].replace(".JPEG", "_n01443537.JPEG")]
    np.savez(small / "imagenet/samples_info.npz", sample_files=renamed, targets=[0, 1])
    annotate(
        small,
        {renamed[0]: {"correct": ["n01440764"]}, renamed[1]: {"correct": ["n01443537"], "unclear": ["n01440764"]}},
    )
    done = analyse("--perform_error_analysis", "--collect_results")
    assert done.status == 0, done.stderr
    assert "1 kept" in done.stderr
    pd.testing.assert_frame_equal(pd.read_csv(table), expected)
    assert read_samples(Artefacts(small), "imagenet").files.tolist() == FILES
    assert "model failure" in analyse("--explain", renamed[1], "--model", "me/mine").stdout


def test_accuracies_of_metadata_do_not_win_over_predictions(analyse, small):
    path = small / "imagenet/me--mine/metadata.json"
    path.write_text(json.dumps({"arch": "resnet", "top1_val_acc": 76.1}))
    done = analyse("--perform_error_analysis", "--collect_results")
    assert "76.1" in done.stderr
    assert pd.read_csv(small / "results/stats-imagenet/non_problematic_stats_all.csv").top1_val_acc.tolist() == [50.0]
