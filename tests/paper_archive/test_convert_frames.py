"""Unpacked archives of 300 images: order and index of rows, explanations, neighbours, ImageNet-A."""

import ast

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.error_types import ERROR_TYPES
from tests.conftest import refused
from tests.helpers.analyses import read_joined
from tests.helpers.archives import (
    FLAGS,
    MODELS,
    OF_IMAGENET_M,
    assert_row,
    assert_tables,
    from_pandas,
    pack,
    plain_counts,
    plain_list,
    plain_rows,
    put,
    read_table,
    stored,
)
from tests.helpers.plain_facts import read_class_ids


def test_counts_equal_those_of_small_frames(small_archives, collect, few, group_classes):
    assert collect().status == 0
    assert_tables(small_archives / "results", few, group_classes)


@pytest.mark.parametrize("change", ["shuffled", "renumbered", "reversed", "numbered from the end"])
def test_order_of_rows_changes_no_table(tmp_path, collect, few, group_classes, change):
    """Rows in any order, under any index, are matched by the image's name."""
    for model, frame in few.items():
        if change == "shuffled":
            frame = frame.sample(frac=1, random_state=len(model))
        elif change == "renumbered":
            frame = frame.reset_index(drop=True)
        elif change == "reversed":
            frame = frame.iloc[::-1]
        else:
            frame = frame.set_index(pd.Index(range(len(frame) - 1, -1, -1)))
        put(tmp_path, model, frame)
    assert collect().status == 0
    assert_tables(tmp_path / "results", few, group_classes)


def test_order_of_rows_changes_no_list(tmp_path, collect, few, classes):
    for seed, (model, frame) in enumerate(few.items()):
        put(tmp_path, model, frame.sample(frac=1, random_state=seed))
    collect("--collect_results", "--list_most_common_errors")
    for error_type, flag in FLAGS.items():
        text = (tmp_path / "results" / "common_error_samples" / f"most_common_{flag}.txt").read_text()
        assert text == plain_list(list(map(plain_rows, few.values())), error_type, classes)


def test_rows_are_matched_to_samples_by_name(tmp_path, collect, few, group_classes):
    """Frames numbered from 0 beside samples_info.npz of more images."""
    frame = few[MODELS[0]]
    for model, each in few.items():
        put(tmp_path, model, each.reset_index(drop=True))
    files = sorted([*frame.img_rel_path, *(f"{wnid}/aaa.JPEG" for wnid in set(frame.wnet_id))])
    class_ids = read_class_ids()
    targets = [class_ids[file.split("/")[0]] for file in files]
    np.savez(tmp_path / "imagenet" / "samples_info.npz", sample_files=files, targets=targets)
    assert collect().status == 0
    assert_tables(tmp_path / "results", few, group_classes)


@pytest.mark.parametrize("error_type", FLAGS)
def test_explanation_agrees_with_the_archive(small_archives, collect, few, error_type):
    frame = few[MODELS[0]]
    row = next(row for row in frame.itertuples() if row.error_types[0] == error_type and not row.is_problematic)
    assert refused(collect("--explain", row.img_rel_path, "--model", MODELS[0]), "--convert_archives")
    collect()
    done = collect("--explain", row.img_rel_path, "--model", MODELS[0])
    title = next(each.title for each in ERROR_TYPES if each.archived == error_type)
    assert f"{row.img_rel_path}, {MODELS[0]}: {title}\n" in done.stdout
    assert "provisional" not in done.stdout
    assert "skipped" not in done.stdout
    if error_type.startswith("potentially"):
        assert ast.literal_eval(row.error_types[1].split(": ")[1].split(" |")[0])[0][1] in done.stdout


def test_open_world_counts_of_archives_are_not_called_missing(small_archives, collect):
    """Their open-world outcomes are there; no model is without."""
    done = collect()
    assert "counts of out-of-vocabulary errors are missing" not in done.stderr


def test_neighbours_are_stored_only_where_wanted(small_archives, collect, few, group_classes):
    assert collect("--collect_results", "--without_neighbours").status == 0
    (small,) = (small_archives / "imagenet").glob("images-*.parquet")
    assert read_joined(stored(small_archives))["neighbours"].null_count == len(few[MODELS[0]])
    assert_tables(small_archives / "results", few, group_classes)
    stored(small_archives).unlink()
    assert collect().status == 0
    _, large = sorted(path.stat().st_size for path in (small_archives / "imagenet").glob("images-*.parquet"))
    assert large > 1.2 * small.stat().st_size


@pytest.fixture
def few_of_a(few) -> pd.DataFrame:
    """A frame as of ImageNet-A: the original label is the accepted one, nothing is problematic, no ImageNet-M."""
    frame = few[MODELS[0]].copy()
    frame["multi_label"] = [[target] for target in frame.target]
    frame["wrong_multi_label"] = [[] for _ in frame.target]
    frame["is_problematic"] = False
    right = frame.top1 == frame.target
    frame["error_types"] = [["correct"] if hit else ["error not classified"] for hit in right]
    return frame.reset_index(drop=True)


def test_imagenet_a_has_no_cells_of_imagenet_m(tmp_path, collect, few, few_of_a, group_classes):
    accuracies = {"top1_val_acc": 12.5, "multi_label_val_acc": 34.5}
    for model in MODELS:
        put(tmp_path, model, few_of_a, "imagenet-a", top1_val_acc=5.25, top1_val_acc_subset_200=7.5)
        put(tmp_path, model, few[model], "imagenet", **accuracies)
    done = collect("--dataset", "imagenet-a", "--collect_results", "--list_most_common_errors")
    assert done.status == 0, done.stderr
    for group, classes in group_classes.items():
        found = read_table(tmp_path / "results" / "stats-imagenet-a" / f"non_problematic_stats_{group}.csv")
        assert set(found) == set(MODELS)
        for row in found.values():
            counts = plain_counts(plain_rows(few_of_a), classes)
            assert_row(row, {key: value for key, value in counts.items() if key not in OF_IMAGENET_M})
            assert not set(OF_IMAGENET_M) & set(row)
            assert (row["top1_val_acc"], row["top1_val_acc_subset_200"]) == ("5.25", "7.5")
            assert (row["imagenet_top1_val_acc"], row["imagenet_mla_val_acc"]) == ("12.5", "34.5")
    assert (tmp_path / "results" / "common_error_samples-imagenet-a" / "most_common_fg.txt").exists()


def test_accuracies_on_imagenet_are_read_from_a_packed_archive(tmp_path, collect, contents, few_of_a):
    """Two archives, neither unpacked."""
    metadata = {name.replace("errors_analysis.pkl", "metadata.json"): b'{"top1_val_acc": 12.5}' for name in contents}
    pack(tmp_path / "models-imagenet.tar.gz", metadata | contents)
    of_a = {f"imagenet-a/{model}/errors_analysis.pkl": from_pandas(few_of_a) for model in MODELS}
    pack(tmp_path / "models-imagenet-a.tar.gz", of_a)
    assert collect("--dataset", "imagenet-a", "--collect_results").status == 0
    found = read_table(tmp_path / "results" / "stats-imagenet-a" / "non_problematic_stats_all.csv")
    assert {model: row["imagenet_top1_val_acc"] for model, row in found.items()} == dict.fromkeys(MODELS, "12.5")


def test_imagenet_a_is_collected_without_imagenet(tmp_path, collect, few_of_a):
    put(tmp_path, MODELS[0], few_of_a, "imagenet-a")
    assert collect("--dataset", "imagenet-a", "--collect_results").status == 0
    row = read_table(tmp_path / "results" / "stats-imagenet-a" / "non_problematic_stats_all.csv")[MODELS[0]]
    assert (row["imagenet_top1_val_acc"], row["imagenet_mla_val_acc"]) == ("", "")
