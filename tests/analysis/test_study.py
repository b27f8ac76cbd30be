"""Runs over several models: what is opened, decided, kept, upgraded and written."""

import json
import shutil
from itertools import product

import numpy as np
import pyarrow.parquet as pq
import pytest

from imagenet_errors.analysis import pairs
from imagenet_errors.formats import sealed_parquet
from imagenet_errors.formats.error_analyses import OWN_COLUMNS
from imagenet_errors.formats.image_tables import COLUMNS
from tests.conftest import FILES, annotate, left_out
from tests.helpers.analyses import read_joined
from tests.helpers.opened_files import count_reads

ANALYSE, COLLECT, LIST = "--perform_error_analysis", "--collect_results", "--list_most_common_errors"


@pytest.fixture
def path(small):
    """The analysis of the model in the small folder."""
    return small / "imagenet" / "me--mine" / "errors_analysis.parquet"


@pytest.fixture
def decided(monkeypatch) -> list[list[tuple[int, int]]]:
    """The (image, prediction) pairs of every call of `decide`."""
    calls, decide = [], pairs.decide

    def record(images, top1, *arguments):
        calls.append(list(zip(images.rows.tolist(), top1.tolist(), strict=True)))
        return decide(images, top1, *arguments)

    monkeypatch.setattr(pairs, "decide", record)
    return calls


def add_model(small, name: str, top1: list[int]) -> None:
    (small / "imagenet" / name).mkdir(exist_ok=True)
    np.savez(small / "imagenet" / name / "preds.npz", top1=np.array(top1))
    (small / "imagenet" / name / "metadata.json").write_text('{"arch": "resnet"}')


def snapshot(folder) -> dict[str, tuple[int, bytes]]:
    """{file: (when it was written, content)} of all files but locks."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


def image_table_of(path) -> str:
    return json.loads(pq.read_schema(path).metadata[b"image_table"])


def write_schema_2(path) -> dict[str, str]:
    """Rewrite an analysis as one file of schema 2, which holds the image table too; returns its fingerprints."""
    metadata = {name: json.loads(pq.read_schema(path).metadata[name.encode()]) for name in ("fingerprints", "images")}
    table = read_joined(path, [*COLUMNS, *OWN_COLUMNS])
    image_table = path.parents[1] / image_table_of(path)
    sealed_parquet.write(path, table, metadata | {"schema_version": 2}, distinct=("row", "img_rel_path"))
    image_table.unlink()
    return metadata["fingerprints"]


# --- what is opened and decided ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["new", "stale", "current"])
def test_every_file_of_a_model_is_opened_once(analyse, small, path, state):
    if state != "new":
        analyse(ANALYSE)
    if state == "stale":
        np.savez(path.with_name("preds.npz"), top1=np.array([0, 1]))
    with count_reads(small) as reads:
        assert analyse(ANALYSE, COLLECT, LIST).status == 0
    of_model = {file.name: number for file, number in reads.items() if file.parent == path.parent}
    assert of_model == {"preds.npz": 1, "metadata.json": 1} | ({} if state == "new" else {"errors_analysis.parquet": 1})
    assert reads[small / "imagenet/samples_info.npz"] == 1


def test_distinct_pairs_of_stale_models_are_decided_once(analyse, small, decided):
    """Of four stale models on two images, beside one that is current."""
    add_model(small, "me--current", [7, 8])
    analyse(ANALYSE)
    decided.clear()
    for name, top1 in (("me--mine", [0, 1]), ("me--same", [0, 1]), ("me--other", [3, 1]), ("me--third", [0, 9])):
        add_model(small, name, top1)
    done = analyse(ANALYSE, COLLECT, LIST)
    assert "1 kept" in done.stderr
    assert decided == [[(0, 0), (0, 3), (1, 1), (1, 9)]]
    stored = {file.parent.name: pq.read_table(file)["top1"].to_pylist() for file in small.glob("imagenet/*/*.parquet")}
    assert stored["me--other"] == [3, 1]
    assert len(stored) == 5


def test_nothing_is_decided_again_for_tables_and_lists(analyse, decided):
    analyse(ANALYSE)
    decided.clear()
    assert analyse(ANALYSE, COLLECT, LIST).status == 0
    assert [pair for call in decided for pair in call] == []


def test_predictions_are_opened_once_and_their_distinct_pairs_decided_once(twelve, tmp_path, quick, decided):
    """Three of the twelve sets; one is analysed before the other two are added."""
    for name in ("annotations", "imagenet/keras--xception"):
        shutil.copytree(twelve / name, tmp_path / name)
    shutil.copy(twelve / "imagenet/samples_info.npz", tmp_path / "imagenet")
    where = ("--artefacts_dir", tmp_path, "--results_dir", tmp_path / "results")
    assert quick("evaluation", ANALYSE, *where).status == 0
    assert len(decided.pop()) == 20_000
    added = ("pytorch--resnet18", "pytorch--vgg16")
    for name in added:
        shutil.copytree(twelve / "imagenet" / name, tmp_path / "imagenet" / name)
    with count_reads(tmp_path) as reads:
        assert quick("evaluation", ANALYSE, COLLECT, LIST, *where).status == 0
    opened = {f"{file.parent.name}/{file.name}": number for file, number in reads.items() if "--" in file.parent.name}
    of_model = ("preds.npz", "metadata.json", "errors_analysis.parquet")
    expected = [*product(added, of_model[:2]), *product(["keras--xception"], of_model)]
    assert opened == dict.fromkeys(map("/".join, expected), 1)
    analysis = tmp_path / "imagenet" / added[0] / of_model[-1]
    rows, distinct = read_joined(analysis, ["row"])["row"].to_numpy(), set()
    for name in added:
        with np.load(twelve / "imagenet" / name / "preds.npz") as archive:
            distinct |= set(zip(rows.tolist(), archive["top1"][rows].tolist(), strict=True))
    (found,) = decided
    assert (len(found), set(found)) == (len(distinct), distinct)


# --- schema 2 ---------------------------------------------------------------------------------------------------------


def test_tables_and_lists_are_made_of_schema_2_without_changing_it(analyse, small, path):
    expected = analyse(ANALYSE, COLLECT, LIST).stdout
    before = {file.name: file.read_bytes() for file in (small / "results").rglob("*.csv")}
    write_schema_2(path)
    content = path.read_bytes()
    done = analyse(COLLECT, LIST)
    assert (done.status, done.stdout) == (0, expected)
    assert path.read_bytes() == content
    assert {file.name: file.read_bytes() for file in (small / "results").rglob("*.csv")} == before
    assert not list(small.glob("imagenet/images-*"))


def test_schema_2_is_upgraded_once(analyse, small, path, decided):
    analyse(ANALYSE)
    joined = read_joined(path)
    fingerprints = write_schema_2(path)
    decided.clear()
    assert "1 upgraded" in analyse(ANALYSE).stderr
    assert not any(decided)
    metadata = pq.read_schema(path).metadata
    assert json.loads(metadata[b"schema_version"]) == 3
    assert json.loads(metadata[b"fingerprints"]) == fingerprints
    assert read_joined(path).equals(joined)
    before = snapshot(small)
    assert "1 kept" in analyse(ANALYSE).stderr
    assert snapshot(small) == before


def test_stale_analysis_of_schema_2_is_made_again(analyse, path):
    analyse(ANALYSE)
    write_schema_2(path)
    np.savez(path.with_name("preds.npz"), top1=np.array([0, 1]))
    assert "1 analysed again" in analyse(ANALYSE).stderr
    assert pq.read_table(path)["top1"].to_pylist() == [0, 1]


# --- image tables -----------------------------------------------------------------------------------------------------


def test_image_tables_of_different_content_stand_side_by_side(analyse, small, path):
    """A table is kept while the file of a model that cannot be analysed again names it."""
    add_model(small, "me--other", [0, 5])
    analyse(ANALYSE)
    first, joined = image_table_of(path), read_joined(path.parents[1] / "me--other" / path.name)
    annotate(small, {FILES[0]: {"correct": ["n01440764"]}, FILES[1]: {"correct": ["n01443537"]}})
    (small / "imagenet/me--other/preds.npz").write_bytes(b"damaged")
    assert left_out(analyse(ANALYSE), "me--other/preds.npz")
    second = image_table_of(path)
    assert {file.name for file in small.glob("imagenet/images-*")} == {first, second}
    assert len({first, second}) == 2
    assert read_joined(path)["multi_label"].to_pylist() == [[0], [1]]
    assert read_joined(path.parents[1] / "me--other" / path.name).equals(joined)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_missing_or_damaged_image_table_is_written_again(analyse, small, path, damage):
    analyse(ANALYSE)
    table = small / "imagenet" / image_table_of(path)
    whole, analysis = table.read_bytes(), path.read_bytes()
    if damage == "missing":
        table.unlink()
        assert f"its image table {table.name} is missing" in analyse(ANALYSE).stderr
    else:
        table.write_bytes(whole[:-100])
        add_model(small, "me--other", [0, 1])
        assert "1 kept; 1 analysed" in analyse(ANALYSE).stderr
    assert table.read_bytes() == whole
    assert path.read_bytes() == analysis


# --- questions and results --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [("--explain", FILES[1], "--model", "me/mine"), (LIST,), ("--count_spurious_correlation_pairs",)],
    ids=["explain", "list", "count pairs"],
)
def test_questions_change_no_artefact_and_draw_no_picture(call, small, flags):
    where = ("--artefacts_dir", small, "--results_dir", small.parent / f"{small.name}-results")
    assert call("evaluation", ANALYSE, *where).status == 0
    before = snapshot(small)
    assert call("evaluation", *flags, *where).status == 0
    assert snapshot(small) == before
    assert not list(where[-1].rglob("*.png"))
    assert call("evaluation", COLLECT, *where).status == 0
    assert [file.name for file in where[-1].rglob("*.png")] == ["error_types.png"]


def test_lists_have_the_same_made_from_as_the_tables(analyse, small, path):
    add_model(small, "me--other", [0, 1])
    assert analyse(ANALYSE, COLLECT, LIST).status == 0
    folders = [small / "results" / name for name in ("stats-imagenet", "common_error_samples")]
    of_tables, of_lists = (json.loads((folder / "made_from.json").read_text()) for folder in folders)
    assert of_lists == of_tables
    assert of_tables["models"]["me--mine"] == json.loads(pq.read_schema(path).metadata[b"fingerprints"])
    assert set(of_tables["models"]) == {"me--mine", "me--other"}


def test_models_that_are_not_analysed_are_left_out_in_one_line(analyse, small, path):
    analyse(ANALYSE)
    for number in range(5):
        add_model(small, f"me--{number}", [0, 5])
    done = analyse(COLLECT)
    missing = f"{path.parents[1] / 'me--0' / path.name} is missing: run evaluation.py --perform_error_analysis"
    assert left_out(done, f"5 of 6 models are left out: {missing}")
    assert f"skipped me--0, me--1, me--2 and 2 more: {missing}" in done.stderr.splitlines()
    assert len([line for line in done.stderr.splitlines() if line.startswith("skipped")]) == 1
