"""The archive of two models: every number recomputed from the pickles' own rows, whatever else the folder holds."""

import ast
import json
import re
import shutil

import pytest

from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.files import read_json
from imagenet_errors.paper_archive import convert
from imagenet_errors.paths import Artefacts
from tests.helpers.analyses import read_joined
from tests.helpers.archives import (
    FLAGS,
    MODELS,
    OWN,
    assert_row,
    evaluate,
    plain_counts,
    plain_list,
    plain_pairs,
    read_tables,
    stored,
)
from tests.helpers.plain_facts import GROUPS


@pytest.fixture(scope="session")
def with_samples(twelve, tmp_path_factory):
    """Annotations and samples_info.npz of all 50,000 images, and own predictions of one model."""
    folder = tmp_path_factory.mktemp("whole") / "artefacts"
    for name in ("annotations", f"imagenet/{OWN}"):
        shutil.copytree(twelve / name, folder / name)
    shutil.copy(twelve / "imagenet" / "samples_info.npz", folder / "imagenet")
    return folder


@pytest.fixture(scope="session", params=["unpacked", "packed", "with annotations", "with samples and own predictions"])
def situation(request, archive, unpacked, with_samples, tmp_path_factory):
    """A folder with the archive and what else there may be, collected: (its name, the folder, the finished run)."""
    folder = tmp_path_factory.mktemp("situation") / "artefacts"
    if request.param == "with samples and own predictions":
        shutil.copytree(with_samples, folder)
        assert evaluate(folder, "--perform_error_analysis").returncode == 0
    if request.param == "packed":
        folder.mkdir()
        shutil.copy(archive, folder)
    else:
        shutil.copytree(unpacked, folder, dirs_exist_ok=True)
    if request.param == "with annotations":
        shutil.copytree(with_samples / "annotations", folder / "annotations")
    done = evaluate(folder)
    assert done.returncode == 0, done.stderr
    return request.param, folder, done


@pytest.fixture(scope="session")
def converted(unpacked, tmp_path_factory):
    """{model: its converted analysis, joined with the image table}, of the unpacked archive alone."""
    folder = shutil.copytree(unpacked, tmp_path_factory.mktemp("converted") / "artefacts")
    assert convert.convert(Artefacts(folder), "imagenet") == {}
    return {model: read_joined(stored(folder, model)) for model in MODELS}


@pytest.fixture(scope="session")
def lists(images, classes) -> dict[str, str]:
    """{error type: the list of most common errors}."""
    return {error_type: plain_list(list(images.values()), error_type, classes) for error_type in FLAGS}


def test_counts_equal_those_of_the_pickles_rows(situation, images, group_classes):
    name, folder, _ = situation
    found = read_tables(folder / "results")
    listed = None
    if name.startswith("with "):
        listed = set(read_json(folder / "annotations" / "human_accuracy_v3.0.0.json")["imagenet_m"])
        assert len(listed) in (0, 68)
    for group, classes in group_classes.items():
        assert set(MODELS) <= set(found[group])
        for model in MODELS:
            assert_row(found[group][model], plain_counts(images[model], classes, listed or None))


def test_groups_have_the_published_numbers_of_images(situation):
    found = read_tables(situation[1] / "results")
    counted = {group: found[group][MODELS[0]]["num_group_samples"] for group in GROUPS}
    assert counted == {"all": "18692", "organism": "7624", "artifact": "10184", "other": "1596"}


def test_tables_have_the_metadata_of_the_archive(situation, unpacked):
    found = read_tables(situation[1] / "results")
    for model in MODELS:
        metadata = json.loads((unpacked / "imagenet" / model / "metadata.json").read_text())
        row = found["organism"][model]
        for column in ("num_params", "training_data", "arch", "arch_family", "extra_annotations", "top1_val_acc"):
            assert row[column] == str(metadata[column])
        assert row["imagenet_top1_val_acc"] == str(metadata["top1_val_acc"])
        assert float(row["imagenet_mla_val_acc"]) == metadata["multi_label_val_acc"]
        assert float(row["mla_all"]) == pytest.approx(metadata["multi_label_val_acc"], abs=1e-9)


@pytest.mark.parametrize("error_type", FLAGS)
def test_list_equals_that_of_the_pickles_rows(situation, lists, error_type):
    name, folder, done = situation
    if name.endswith("predictions"):
        pytest.skip("own predictions are listed as well")
    text = (folder / "results" / "common_error_samples" / f"most_common_{FLAGS[error_type]}.txt").read_bytes().decode()
    assert text == lists[error_type]
    assert f"most_common_{FLAGS[error_type]}.txt\n" in done.stdout


def test_number_of_pairs_equals_that_of_the_pickles_rows(situation, images):
    name, _, done = situation
    if name.endswith("predictions"):
        pytest.skip("own predictions are counted as well")
    assert re.findall(r"pairs that appear as a mistake: (\d+)$", done.stdout, re.M) == [
        str(plain_pairs(list(images.values())))
    ]


def test_missing_files_that_the_archive_replaces_are_named(situation):
    name, folder, done = situation
    samples, annotated = folder / "imagenet" / "samples_info.npz", folder / "annotations" / "human_accuracy_v3.0.0.json"
    assert (f"{samples} is missing" in done.stderr) == (not name.endswith("predictions"))
    assert (f"{annotated} is missing" in done.stderr) == (not name.startswith("with"))


def test_second_run_converts_nothing(situation, quick):
    _, folder, done = situation
    assert "2 archived analyses converted" in done.stderr
    written = {path: path.stat().st_mtime_ns for path in folder.glob("imagenet/*/*.parquet")}
    before = {path: path.read_bytes() for path in (folder / "results").rglob("*.csv")}
    again = quick("evaluation", "--artefacts_dir", folder, "--results_dir", folder / "results", "--collect_results")
    assert again.status == 0
    assert "convert" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob("imagenet/*/*.parquet")} == written
    assert {path: path.read_bytes() for path in (folder / "results").rglob("*.csv")} == before


def test_converted_analyses_are_the_same_beside_any_other_files(situation, converted):
    for model, table in converted.items():
        assert read_joined(stored(situation[1], model)).equals(table)


def test_converted_analysis_equals_the_pickle(converted, frames):
    """Every row: image, labels, prediction, error type with its details, neighbours."""
    titles = {error_type.name: error_type.archived for error_type in ERROR_TYPES}
    for model, frame in frames.items():
        found = converted[model].to_pydict()
        assert found["row"] == frame.index.tolist()
        for column in ("img_rel_path", "target", "multi_label", "wrong_multi_label", "is_problematic", "top1"):
            assert found[column] == frame[column].tolist(), column
        assert [titles[name] for name in found["error_type"]] == [
            next(text for text in texts if text in titles.values()) for texts in frame.error_types
        ]
        assert not any(found["provisional"])
        for neighbours, *expected in zip(
            found["neighbours"],
            frame.clip_top10_train_indices,
            frame.clip_top10_train_targets,
            frame.clip_top10_train_files,
            strict=True,
        ):
            assert [[each[key] for each in neighbours] for key in ("index", "target", "file")] == expected
        for texts, prompts, top5 in zip(frame.error_types, found["num_prompts"], found["top5"], strict=True):
            if texts[-1].startswith("Top-5"):
                proposals, number = re.fullmatch(
                    r"Top-5 alternative proposals: (.*) \| out of (\d+)", texts[-1]
                ).groups()
                assert prompts == int(number)
                assert [(p["offset"], p["lemma"], f"{p['score']:.2%}") for p in top5] == ast.literal_eval(proposals)
            else:
                assert prompts is None
