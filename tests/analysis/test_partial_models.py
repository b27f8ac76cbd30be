"""A model with predictions for some images only, alone and beside complete models."""

import csv
import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors.analysis.common_errors import rank_errors
from imagenet_errors.analysis.counting import CountedImages, stats_row
from imagenet_errors.analysis.decision import Relations
from imagenet_errors.analysis.experts import check_imagenet_m
from imagenet_errors.analysis.pairs import decide_pairs, find_distinct
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.samples import read_samples
from imagenet_errors.error_types import CODES_BY_FLAG, ERROR_TYPES, NO_ERROR_TYPE
from imagenet_errors.errors import InputError
from imagenet_errors.formats import error_analyses, sealed_parquet
from imagenet_errors.formats.error_analyses import OWN_COLUMNS
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED, left_out, refused
from tests.helpers.analyses import make_analysis, make_images, read_joined
from tests.helpers.part_folders import COMPLETE, NUM_IMAGES, PART, PartWorld
from tests.helpers.plain_decision import decide as decide_plainly
from tests.helpers.plain_facts import plain_mla

ANALYSE, COLLECT = "--perform_error_analysis", "--collect_results"
STEPS = (ANALYSE, COLLECT, "--count_spurious_correlation_pairs", "--list_most_common_errors")
EVEN = "even classes"  # a group
AS_CORRECT = ("correct", "class_overlap", "missing_multi_label")


@pytest.fixture(scope="module")
def made() -> PartWorld:
    return PartWorld.make()


@pytest.fixture
def evaluate(quick):
    """Run all steps of evaluation.py on a folder, or those of `flags`; results go beside it."""

    def run(folder, *flags):
        return quick("evaluation", "--artefacts_dir", folder, "--results_dir", results_of(folder), *(flags or STEPS))

    return run


def results_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name} results")


def read_files(folder: Path, pattern: str) -> dict[str, str]:
    """{name: text} of results."""
    return {path.name: path.read_text() for path in sorted(results_of(folder).rglob(pattern))}


def read_rows(folder: Path) -> dict[tuple[str, str], dict]:
    """{(table, model): row} of the stats tables."""
    tables = {name: csv.DictReader(text.splitlines()) for name, text in read_files(folder, "*stats_*.csv").items()}
    return {(name, row["model_dir_id"]): row for name, rows in tables.items() for row in rows}


def analysis_of(folder: Path, model: str) -> Path:
    return folder / "imagenet" / model / "errors_analysis.parquet"


def metadata_of(path: Path) -> dict:
    return {
        key.decode(): json.loads(value) for key, value in pq.read_schema(path).metadata.items() if key[:5] != b"ARROW"
    }


# --- the same numbers -------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_a_folder_of_its_images_alone(made, evaluate, tmp_path):
    """Tables, lists, pairs and every column of the analysis, with the open-world test."""
    only = made.write(tmp_path / "only", {PART: made.rows})
    alone = made.write(tmp_path / "alone", {PART: None}, made.rows)
    found, expected = (evaluate(folder).stdout.splitlines() for folder in (only, alone))
    assert found[0] == expected[0]  # how many spurious pairs
    row, expected_row = (next(line for line in lines if line.startswith(PART)) for lines in (found, expected))
    assert row.split() == [PART, f"({len(made.rows)}", *["of", "50,000", "images)"], *expected_row.split()[1:]]
    for pattern in ("*stats_*.csv", "most_common_*.txt"):
        assert read_files(only, pattern) == read_files(alone, pattern)
    assert len(read_rows(only)) == len(GROUPS)
    lists = read_files(only, "most_common_*.txt")
    assert len(lists) == len(CODES_BY_FLAG)
    assert all(lists.values())
    rows = read_joined(analysis_of(only, PART)).to_pylist()
    predicted = [row for row in rows if row["row"] in made.rows]
    expected_rows = read_joined(analysis_of(alone, PART)).to_pylist()
    assert predicted == [row | {"row": int(made.rows[row["row"]])} for row in expected_rows]
    assert {row[name] for row in rows if row["row"] not in made.rows for name in OWN_COLUMNS} == {None}
    assert 0 < len(predicted) < len(rows)
    metadata = metadata_of(analysis_of(only, PART))
    assert (metadata["schema_version"], metadata["images"]) == (4, f"{len(made.rows)} of 50,000 images")
    assert metadata_of(analysis_of(alone, PART))["schema_version"] == 3


def test_complete_models_are_as_without_it(made, evaluate, call, tmp_path):
    """The same bytes and rows; the folder is sound, and a second run keeps everything."""
    without = made.write(tmp_path / "without", dict.fromkeys(COMPLETE))
    beside = made.write(tmp_path / "beside", dict.fromkeys(COMPLETE) | {PART: made.rows})
    evaluate(without)
    done = evaluate(beside)
    extent = f"{PART} ({len(made.rows)} of 50,000 images)"
    named = [line for line in done.stderr.splitlines() if extent in line]
    assert named == [f"1 of 3 models have predictions for some images only: {extent}"]
    assert len([line for line in done.stdout.splitlines() if line.startswith(extent)]) == 1
    for model in COMPLETE:
        assert analysis_of(beside, model).read_bytes() == analysis_of(without, model).read_bytes()
    rows = read_rows(beside)
    assert {key: row for key, row in rows.items() if key[1] != PART} == read_rows(without)
    assert 0 < int(rows["non_problematic_stats_all.csv", PART]["num_all_samples"]) < len(made.rows)
    verify = ("--artefacts_dir", beside, "--verify", "--results_dir", results_of(beside))
    assert call("download_artefacts", *verify).stdout.count("\n") == 1
    before = analysis_of(beside, PART).read_bytes()
    assert "3 kept" in evaluate(beside, ANALYSE).stderr
    assert analysis_of(beside, PART).read_bytes() == before


@pytest.fixture(scope="module")
def relations(committed_superclasses) -> Relations:
    return Relations(committed_superclasses.share, spurious_pairs(COMMITTED, committed_superclasses.share))


@pytest.fixture(scope="module")
def decide(committed_superclasses, relations):
    """The plain decision by target, accepted labels and prediction."""
    members = [set(committed_superclasses.names_of(class_id)) for class_id in range(1000)]
    pairs = {frozenset(map(int, pair)) for pair in np.argwhere(relations.spurious)}

    def run(target, labels, pred) -> str | None:
        known = {"superclasses_of": members, "spurious_pairs": pairs, "non_prototypical": False}
        return None if pred is None else decide_plainly(target, labels, pred, **known).error_type

    return run


class_ids = st.sampled_from([0, 1, 151, 207, 340, 356, 357, 836, 837, 998, 999])


@given(st.data())
def test_decisions_and_counts_are_those_of_the_plain_decision(relations, decide, data):
    """Of random models with predictions for random images; also where class 999 stands before a missing prediction."""
    n = data.draw(st.integers(1, 12))
    targets = data.draw(st.lists(class_ids, min_size=n, max_size=n))
    labels = [[target, *data.draw(st.lists(class_ids, max_size=2))] for target in targets]
    problematic = data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda drawn: not all(drawn)))
    images = make_images([f"n/{row}" for row in range(n)], targets, labels, [False] * n, problematic)
    predicted = data.draw(st.lists(st.lists(st.none() | class_ids, min_size=n, max_size=n), min_size=1, max_size=3))
    predicted = [of_model for of_model in predicted if any(one is not None for one in of_model)]
    top1 = [np.array([NO_PREDICTION if one is None else one for one in each], np.int16) for each in predicted]
    keys = find_distinct(top1, n)
    assert set(keys) == {row * 1000 + one for each in predicted for row, one in enumerate(each) if one is not None}
    pairs = decide_pairs(SimpleNamespace(images=images, relations=relations, open_world=None), keys)
    counted = CountedImages.of(images, {"all": np.ones(1000, bool), EVEN: np.arange(1000) % 2 == 0})
    analyses, names = [], []
    for each, of_model in zip(top1, predicted, strict=True):
        error_types = pairs.error_types_at(pairs.find(each))
        assert error_types.dtype == np.int8
        names.append([decide(*image) for image in zip(targets, labels, of_model, strict=True)])
        assert [None if code == NO_ERROR_TYPE else ERROR_TYPES[code].name for code in error_types] == names[-1]
        analyses.append(make_analysis("m", each, error_types))
        of_images = zip(targets, labels, names[-1], problematic, strict=True)
        check_counts(counted, analyses[-1], [fact for *fact, out in of_images if not out and fact[-1] is not None])
    for code in CODES_BY_FLAG.values():
        counts = Counter(
            (row, pred)
            for of_model, of_types in zip(predicted, names, strict=True)
            for row, (pred, name) in enumerate(zip(of_model, of_types, strict=True))
            if name == ERROR_TYPES[code].name and not problematic[row]
        )
        rows, preds, how_often, _ = rank_errors(counted, analyses, code)
        assert dict(zip(zip(rows.tolist(), preds.tolist(), strict=True), how_often.tolist(), strict=True)) == counts


def check_counts(counted: CountedImages, analysis, facts: list[list]) -> None:
    """Against target, labels and error type of the images that are predicted and unproblematic."""
    row = stats_row(counted, analysis, counted.count(analysis.error_types), {}, EVEN)
    of_group = [fact for fact in facts if any(label % 2 == 0 for label in fact[1])]
    assert row["num_all_samples"] == len(facts)
    assert row["num_group_samples"] == len(of_group)
    assert row["num_all_top1_errors"] == sum(name != "correct" for *_, name in facts)
    for one in ERROR_TYPES:
        if one.column:
            assert row[one.column] == sum(name == one.name for *_, name in of_group)
    for cell, images in (("mla_all", facts), ("mla_group", of_group)):
        expected = plain_mla([(target, name in AS_CORRECT) for target, _, name in images]) if images else None
        assert row[cell] == (expected and pytest.approx(expected))


def test_published_number_on_imagenet_m_is_compared_where_all_of_it_has_a_prediction():
    """19 of 68 right; images have fewer labels than places, which are padded with -1."""
    images = make_images([f"n/{row}" for row in range(68)], [1] * 68, [[1, 2], *[[1]] * 67], [False] * 68, [False] * 68)
    context = SimpleNamespace(images=replace(images, imagenet_m=np.ones(68, bool)))
    top1 = np.array([1] * 19 + [3] * 49, np.int16)
    files = SimpleNamespace(model="greedysoups", context=context, top1=top1)
    assert check_imagenet_m([files]) == ["greedysoups gets 19 of ImageNet-M's 68 right, as published"]
    top1[-1] = NO_PREDICTION
    assert check_imagenet_m([files]) == []


# --- questions and archives -------------------------------------------------------------------------------------------


def test_explanation_says_how_many_images_have_a_prediction(made, evaluate, tmp_path):
    folder = made.write(tmp_path / "a", {PART: made.rows})
    listed = [file for file in made.samples.files if file.split("/")[1] in made.annotations["initial_annots"]]
    predicted = set(made.samples.files[made.rows])
    known, unknown = (next(file for file in listed if (file in predicted) == wanted) for wanted in (True, False))
    done = evaluate(folder, "--explain", known, "--model", PART)
    assert done.stdout.startswith(f"{known}, {PART} ({len(made.rows)} of 50,000 images): ")
    done = evaluate(folder, "--explain", unknown, "--model", PART)
    assert refused(done, f"{PART} has no prediction for this image", f"only for {len(made.rows)} of 50,000 images")


def test_export_leaves_images_without_prediction_out(made, evaluate, call, tmp_path):
    """The archive's analysis, converted in a folder of its own, gives the same table."""
    folder = made.write(tmp_path / "a", {PART: made.rows})
    evaluate(folder, ANALYSE, COLLECT)
    archive = tmp_path / "b" / "models-imagenet.tar.gz"
    done = call("download_artefacts", "--artefacts_dir", folder, "--export_archive", archive)
    assert "1 of them with predictions for some of the images, exported without the others" in done.stderr
    with tarfile.open(archive) as members:
        assert len(members.getnames()) == 2
    assert evaluate(archive.parent, ANALYSE, COLLECT).status == 0
    found, stored = (read_joined(analysis_of(place, PART)).to_pylist() for place in (archive.parent, folder))
    for row in (*found, *stored):
        del row["top5"], row["num_prompts"]  # which an archive rounds, or does not hold
    assert found == [row for row in stored if row["top1"] is not None]
    unlike = ("imagenet-m", "mla_val_acc")  # which an archive does not hold
    tables = [
        {key: {name: cell for name, cell in row.items() if not any(word in name for word in unlike)}}
        for place in (folder, archive.parent)
        for key, row in read_rows(place).items()
    ]
    assert tables[: len(GROUPS)] == tables[len(GROUPS) :]


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["not annotated", "problematic"])
def test_model_without_an_image_that_counts_is_named(made, evaluate, tmp_path, images):
    names = [file.split("/")[1] for file in made.samples.files]
    listed, problematic = made.annotations["initial_annots"], made.annotations["problematic_images"]
    chosen = [
        row
        for row, name in enumerate(names)
        if (name in problematic if images == "problematic" else name not in listed)
    ]
    folder = made.write(tmp_path / "a", {COMPLETE[0]: None, PART: np.array(chosen)})
    done = evaluate(folder, ANALYSE, COLLECT)
    path = folder / "imagenet" / PART / "preds.npz"
    assert left_out(done, "1 of 2 models are left out", f"{path}: none of its {len(chosen)} images is annotated")
    assert {model for _, model in read_rows(folder)} == {COMPLETE[0]}


@pytest.mark.parametrize("column", ["top1", "error_type"])
def test_rows_that_are_empty_in_one_column_are_damage(made, evaluate, tmp_path, column):
    """A null prediction and a null error type go together."""
    folder = made.write(tmp_path / "a", {COMPLETE[0]: None})
    evaluate(folder, ANALYSE)
    path = analysis_of(folder, COMPLETE[0])
    whole = path.read_bytes()
    table = pq.read_table(path)
    metadata = {key: value for key, value in metadata_of(path).items() if key != "seal"}
    cells = table[column].to_pylist()
    position = table.column_names.index(column)
    table = table.set_column(position, column, [[None, *cells[1:]]])
    sealed_parquet.write(path, table, metadata)
    with pytest.raises(InputError, match="unknown error type"):
        error_analyses.read(path, COMPLETE[0])
    assert "1 analysed again" in evaluate(folder, ANALYSE).stderr
    assert path.read_bytes() == whole


def test_analysis_is_made_again_where_other_images_have_a_prediction(made, evaluate, tmp_path):
    folder = made.write(tmp_path / "a", {PART: made.rows})
    evaluate(folder, ANALYSE)
    made.write_model(Artefacts(folder), PART, read_samples(Artefacts(folder), "imagenet"), made.rows[:-20], True)
    assert "1 analysed again" in evaluate(folder, ANALYSE).stderr
    made.write_model(Artefacts(folder), PART, read_samples(Artefacts(folder), "imagenet"), np.arange(NUM_IMAGES), False)
    assert "1 analysed again" in evaluate(folder, ANALYSE).stderr
    assert metadata_of(analysis_of(folder, PART))["schema_version"] == 3
