"""Several datasets in one run: tables of each, figures of those that have tables."""

import shutil

import numpy as np
import pytest

from imagenet_errors.paths import PUBLISHED_TABLES
from tests.conftest import refused


@pytest.fixture
def two_datasets(small, classes):
    """The small artefacts folder, with two images of ImageNet-A as well."""
    folder = small / "imagenet-a"
    (folder / "me--mine").mkdir(parents=True)
    wnids = ["n01498041", "n01531178"]
    targets = [classes.ids[wnid] for wnid in wnids]
    np.savez(folder / "samples_info.npz", sample_files=[f"{wnid}/0.jpg" for wnid in wnids], targets=targets)
    np.savez(folder / "me--mine" / "preds.npz", top1=np.array([targets[0], 0]))
    return small


def test_tables_of_several_datasets_are_collected_in_one_run(analyse, two_datasets):
    done = analyse("--dataset", "imagenet", "imagenet-a", "--perform_error_analysis", "--collect_results")
    assert done.status == 0, done.stderr
    tables = sorted((two_datasets / "results").glob("stats-*/*_all.csv"))
    assert [path.parent.name for path in tables] == ["stats-imagenet", "stats-imagenet-a"]
    assert done.stdout.index("imagenet: ") < done.stdout.index("imagenet-a: ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--explain", "a.jpg", "--model", "me/mine"], "with one --dataset"),
        (["--compare_with_experts"], "--compare_with_experts goes with --dataset imagenet"),
        (["--collect_results", "--multi_label_source", "tfds"], "tfds goes with --dataset imagenet"),
    ],
)
def test_what_is_about_one_dataset_takes_no_others(analyse, flags, words):
    assert refused(analyse("--dataset", "imagenet", "imagenet-a", *flags), words)


@pytest.fixture
def only_imagenet(tmp_path):
    shutil.copytree(PUBLISHED_TABLES / "stats-imagenet", tmp_path / "stats-imagenet")
    return tmp_path


def plot(call, folder, *flags):
    return call("utils_plot", "--stats_dir", folder, "--results_dir", folder / "results", *flags)


def test_figures_of_a_dataset_without_tables_are_left_out_by_name(call, only_imagenet):
    done = plot(call, only_imagenet, "--figure", "*num_ambiguous_abs*groups=all", "--format", "png")
    assert done.status == 0, done.stderr
    assert f"{only_imagenet} has no tables of imagenet-a: its figures are left out" in done.stderr
    assert len(list((only_imagenet / "results" / "figures").glob("*/*.png"))) >= 1


def test_dataset_that_is_asked_for_must_have_tables(call, only_imagenet):
    assert refused(plot(call, only_imagenet, "--dataset", "imagenet-a", "--trends"), "is missing")


def test_folder_without_any_table_is_refused(call, tmp_path):
    assert refused(plot(call, tmp_path, "--trends"), "stats-imagenet", "is missing")
