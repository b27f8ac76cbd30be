"""The paper's archives: every number recomputed from the pickles' own rows, whatever else lies in the folder."""

import ast
import csv
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from itertools import count

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from imagenet_errors import processes
from imagenet_errors.analysis import context
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json
from imagenet_errors.paper_archive import convert, tar_reader
from imagenet_errors.paper_archive.pickled_frames import Frame, write_frame
from imagenet_errors.paths import Artefacts
from imagenet_errors.plots import error_bars
from tests.analysis.test_counting import plain_mla
from tests.analysis.test_decision import plain_lemmas
from tests.conftest import COMMITTED, ROOT, refused, run_script
from tests.helpers import hostile_pickles as made
from tests.helpers.analyses import read_joined
from tests.helpers.shared_predictions import convert as convert_shared

MODELS = ("keras--xception", "pytorch--resnet50")
OWN = "pytorch--resnet18"
GROUPS = ("all", "organism", "artifact", "other")
STEPS = ("--collect_results", "--count_spurious_correlation_pairs", "--list_most_common_errors")
COLUMNS = {  # of the stats tables, by the type's name in the archives
    "correct (collapsed mapping)": "num_collapsed_mappings",
    "correct wrt multi label (ambiguous/multi-object)": "num_ambiguous",
    "same superclass (fine-grained)": "num_same_superclass",
    "potentially OOV, detected by CLIP": "num_OOV_clip",
    "common co-occurrences (spurious correlations)": "num_common_co_occ",
    "non-prototypical (DoughBagel)": "num_non_prototypical",
    "error not classified": "num_not_classified",
}
FLAGS = {
    "correct (collapsed mapping)": "overlapping_classes",
    "correct wrt multi label (ambiguous/multi-object)": "multi_label",
    "same superclass (fine-grained)": "fg",
    "potentially OOV, detected by CLIP": "fg-OOV",
    "common co-occurrences (spurious correlations)": "spurious_correlation",
    "non-prototypical (DoughBagel)": "non-proto",
    "error not classified": "model_failure",
}
AS_CORRECT = ["correct", *list(COLUMNS)[:2]]
FORGIVEN = {
    "": AS_CORRECT,
    "_minor_error": [*AS_CORRECT, *list(COLUMNS)[2:4]],
    "_explainable_error": [*AS_CORRECT, *list(COLUMNS)[2:6]],
}
OF_IMAGENET_M = ("num_all_imagenet-m_samples", "num_group_imagenet-m_samples", "num_imagenet-m_errors")


# --- the archive of two models ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def archive(shared):
    return shared / "archives" / "models-imagenet.tar.gz"


@pytest.fixture(scope="session")
def unpacked(archive, tmp_path_factory):
    """The archive unpacked, nothing else. Do not write to it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def frames(unpacked) -> dict[str, pd.DataFrame]:
    """{model: its frame}, as pandas reads them."""
    return {model: pd.read_pickle(unpacked / "imagenet" / model / "errors_analysis.pkl") for model in MODELS}


@pytest.fixture(scope="session")
def group_classes() -> dict[str, set[int]]:
    lemmas = list(plain_lemmas(ROOT / "artefacts").values())
    organism, artifact = ({i for i in range(1000) if name in lemmas[i]} for name in ("organism", "artifact"))
    everything = set(range(1000))
    return {"all": everything, "organism": organism, "artifact": artifact, "other": everything - organism - artifact}


def plain_rows(frame: pd.DataFrame) -> list[tuple]:
    """(file, target, labels, prediction, type, strings) of the unproblematic images."""
    columns = ("img_rel_path", "target", "multi_label", "top1", "is_problematic", "error_types")
    rows = zip(*(frame[column].tolist() for column in columns), strict=True)
    return [(*row, types[0], types) for *row, problematic, types in rows if not problematic]


def plain_counts(frame: pd.DataFrame, classes: set[int], imagenet_m: set[str] | None = None) -> dict:
    """What is counted of a model and a group, as rules.md has it."""
    images = plain_rows(frame)
    members = [image for image in images if classes & set(image[2])]
    kinds = Counter(kind for *_, kind, _ in members)
    counts = {
        "num_all_samples": len(images),
        "num_group_samples": len(members),
        "num_group_correct": kinds["correct"],
        "num_all_top1_errors": sum(kind != "correct" for *_, kind, _ in images),
        "num_group_top1_errors": sum(kind != "correct" for *_, kind, _ in members),
        **{column: kinds[name] for name, column in COLUMNS.items()},
    }
    for scope, counted in (("all", images), ("group", members)):
        for suffix, names in FORGIVEN.items():
            of = [(target, kind in names) for _, target, _, _, kind, _ in counted]
            counts[f"mla_{scope}{suffix}"] = plain_mla(of) if of else None
    if imagenet_m is None:
        return counts | dict.fromkeys(OF_IMAGENET_M)
    listed = [image for image in images if image[0].split("/")[1] in imagenet_m]
    of_group = [image for image in listed if classes & set(image[2])]
    wrong = sum(pred not in labels for _, _, labels, pred, *_ in of_group)
    return counts | dict(zip(OF_IMAGENET_M, (len(listed), len(of_group), wrong), strict=True))


def read(path) -> dict[str, dict[str, str]]:
    """{model: row} of a table."""
    with open(path, newline="") as file:
        return {row["model_dir_id"]: row for row in csv.DictReader(file)}


def tables(results) -> dict[str, dict[str, dict[str, str]]]:
    return {group: read(results / "stats-imagenet" / f"non_problematic_stats_{group}.csv") for group in GROUPS}


def same(row: dict[str, str], counts: dict) -> bool:
    for column, value in counts.items():
        if value is None:
            assert row[column] == "", column
        elif isinstance(value, float):
            assert float(row[column]) == pytest.approx(value, abs=1e-9), column
        else:
            assert row[column] == str(value), column
    return True


def plain_list(frames: list[pd.DataFrame], kind: str, classes) -> str:
    times, about = Counter(), {}
    for frame in frames:
        for file, target, labels, pred, of, strings in plain_rows(frame):
            if of == kind:
                times[file, pred] += 1
                about.setdefault((file, pred), (target, labels, strings))
    text, printed = "", set()
    for number, ((file, pred), how_often) in enumerate(times.most_common(1000), start=1):  # ties stay in order
        if file not in printed:
            printed.add(file)
            target, labels, strings = about[file, pred]
            told = {i: f"{i}, {classes.wnids[i]}: {classes.descriptions[i]}\n" for i in (target, pred, *labels)}
            text += f"{number}) cnt mistakes = {how_often}, file = {file}\ntarget = {told[target]}multi_labels:\n"
            text += "".join(told[label] for label in labels) + f"pred = {told[pred]}"
            text += f"{strings}\n\n" if FLAGS[kind] == "fg-OOV" else "\n"
    return text


def plain_pairs(frames: list[pd.DataFrame], shared) -> int:
    with open(shared / "published" / "spurious_pairs.csv", newline="") as file:
        spurious = {frozenset((int(row["class_a"]), int(row["class_b"]))) for row in csv.DictReader(file)}
    kind = "common co-occurrences (spurious correlations)"
    images = [image for frame in frames for image in plain_rows(frame) if image[4] == kind]
    return len({frozenset((label, pred)) for _, _, labels, pred, *_ in images for label in labels} & spurious)


def evaluate(folder, *flags) -> subprocess.CompletedProcess:
    where = ("--artefacts_dir", folder, "--results_dir", folder / "results")
    return run_script("evaluation", *where, *(flags or STEPS))


@pytest.fixture(scope="session")
def with_samples(shared, tmp_path_factory):
    """Annotations and samples_info.npz of all 50,000 images, and own predictions of one model."""
    folder = tmp_path_factory.mktemp("whole") / "artefacts"
    convert_shared(folder)
    for model in folder.glob("imagenet/*/"):
        if model.name != OWN:
            shutil.rmtree(model)
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


def test_a_count_is_not_that_of_the_pickles_rows(situation, frames, group_classes):
    name, folder, _ = situation
    found = tables(folder / "results")
    listed = None
    if name.startswith("with "):
        listed = set(read_json(folder / "annotations" / "human_accuracy_v3.0.0.json")["imagenet_m"])
        assert len(listed) in (0, 68)
    for group, classes in group_classes.items():
        assert set(MODELS) <= set(found[group])
        for model, frame in frames.items():
            assert same(found[group][model], plain_counts(frame, classes, listed or None))


def test_check_numbers_are_not_those_of_the_rules(situation):
    found = tables(situation[1] / "results")
    counted = {group: found[group][MODELS[0]]["num_group_samples"] for group in GROUPS}
    assert counted == {"all": "18692", "organism": "7624", "artifact": "10184", "other": "1596"}


def test_metadata_of_an_archive_are_lost(situation, unpacked):
    found = tables(situation[1] / "results")
    for model in MODELS:
        metadata = json.loads((unpacked / "imagenet" / model / "metadata.json").read_text())
        row = found["organism"][model]
        for column in ("num_params", "training_data", "arch", "arch_family", "extra_annotations", "top1_val_acc"):
            assert row[column] == str(metadata[column])
        assert row["imagenet_top1_val_acc"] == str(metadata["top1_val_acc"])
        assert float(row["imagenet_mla_val_acc"]) == metadata["multi_label_val_acc"]
        assert float(row["mla_all"]) == pytest.approx(metadata["multi_label_val_acc"], abs=1e-9)


@pytest.mark.parametrize("kind", FLAGS)
def test_a_list_is_not_that_of_the_pickles_rows(situation, frames, classes, kind):
    name, folder, done = situation
    if name.endswith("predictions"):
        pytest.skip("own predictions are listed as well")
    text = (folder / "results" / "common_error_samples" / f"most_common_{FLAGS[kind]}.txt").read_bytes().decode()
    assert text == plain_list(list(frames.values()), kind, classes)
    assert text in done.stdout


def test_pairs_are_not_those_of_the_pickles_rows(situation, frames, shared):
    name, _, done = situation
    if name.endswith("predictions"):
        pytest.skip("own predictions are counted as well")
    assert re.findall(r"pairs that appear as a mistake: (\d+)$", done.stdout, re.M) == [
        str(plain_pairs(list(frames.values()), shared))
    ]


def test_what_is_only_borrowed_goes_without_saying(situation):
    name, folder, done = situation
    samples, annotated = folder / "imagenet" / "samples_info.npz", folder / "annotations" / "human_accuracy_v3.0.0.json"
    assert (f"{samples} is missing" in done.stderr) == (not name.endswith("predictions"))
    assert (f"{annotated} is missing" in done.stderr) == (not name.startswith("with"))


def test_second_run_reads_an_archive_again(situation):
    _, folder, done = situation
    assert "2 archived analyses converted" in done.stderr
    written = {path: path.stat().st_mtime_ns for path in folder.glob("imagenet/*/*.parquet")}
    before = {path: path.read_bytes() for path in (folder / "results").rglob("*.csv")}
    again = evaluate(folder, "--collect_results")
    assert again.returncode == 0
    assert "convert" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob("imagenet/*/*.parquet")} == written
    assert {path: path.read_bytes() for path in (folder / "results").rglob("*.csv")} == before


def test_a_parquet_file_is_not_what_the_pickle_says(situation, frames):
    """Every row: image, labels, prediction, type with its details, neighbours."""
    _, folder, _ = situation
    titles = {kind.name: kind.archived for kind in ERROR_TYPES}
    for model, frame in frames.items():
        stored = read_joined(folder / "imagenet" / model / "errors_analysis.parquet").to_pydict()
        assert stored["row"] == frame.index.tolist()
        for column in ("img_rel_path", "target", "multi_label", "wrong_multi_label", "is_problematic", "top1"):
            assert stored[column] == frame[column].tolist(), column
        assert [titles[name] for name in stored["error_type"]] == [
            next(text for text in texts if text in titles.values()) for texts in frame.error_types
        ]
        assert not any(stored["provisional"])
        for neighbours, *expected in zip(
            stored["neighbours"],
            frame.clip_top10_train_indices,
            frame.clip_top10_train_targets,
            frame.clip_top10_train_files,
            strict=True,
        ):
            assert [[each[key] for each in neighbours] for key in ("index", "target", "file")] == expected
        for texts, prompts, top5 in zip(frame.error_types, stored["num_prompts"], stored["top5"], strict=True):
            if texts[-1].startswith("Top-5"):
                proposals, number = re.fullmatch(
                    r"Top-5 alternative proposals: (.*) \| out of (\d+)", texts[-1]
                ).groups()
                assert prompts == int(number)
                assert [(p["offset"], p["lemma"], f"{p['score']:.2%}") for p in top5] == ast.literal_eval(proposals)
            else:
                assert prompts is None


# --- small archives -------------------------------------------------------------------------------------------------


def from_pandas(frame: pd.DataFrame) -> bytes:
    columns = {name: cells.tolist() if cells.dtype == object else cells.to_numpy() for name, cells in frame.items()}
    return write_frame(Frame(columns, frame.index.to_numpy(), frame.attrs))


@pytest.fixture(scope="session")
def few(frames) -> dict[str, pd.DataFrame]:
    """The same 300 images of both models, of every type."""
    chosen = set(range(0, 20_000, 90))
    for frame in frames.values():
        chosen |= set(np.flatnonzero(~frame.error_types.map(str).duplicated()).tolist()[:3])
        for name in COLUMNS:
            chosen |= set(np.flatnonzero(frame.error_types.map(lambda texts, name=name: texts[0] == name))[:5].tolist())
        notes = frame.error_types.map(lambda texts: texts[0])
        chosen |= set(np.flatnonzero(~notes.duplicated()).tolist())
    rows = sorted(chosen)
    return {model: frame.iloc[rows] for model, frame in frames.items()}


def annotations_of(frame: pd.DataFrame) -> dict:
    wnids = sorted(json.loads((ROOT / "artefacts" / "imagenet_wnet_id_to_target.json").read_text()))
    rows = frame[["file_name", "multi_label", "wrong_multi_label"]].itertuples(index=False)
    listed = {
        name: {"correct": [wnids[i] for i in labels], "wrong": [wnids[i] for i in wrong]}
        for name, labels, wrong in rows
    }
    problematic = dict.fromkeys(frame[frame.is_problematic].file_name, True)
    return {"initial_annots": listed, "problematic_images": problematic, "imagenet_m": []}


def put(folder, model: str, frame: pd.DataFrame | bytes, dataset="imagenet", **metadata) -> None:
    target = folder / dataset / model
    target.mkdir(parents=True, exist_ok=True)
    (target / "errors_analysis.pkl").write_bytes(frame if isinstance(frame, bytes) else from_pandas(frame))
    (target / "metadata.json").write_text(json.dumps({"arch": "resnet", "model_id": model} | metadata))


def put_inputs(folder, frame: pd.DataFrame) -> None:
    """samples_info.npz and annotations of these images."""
    np.savez(
        folder / "imagenet" / "samples_info.npz", sample_files=frame.img_rel_path.to_numpy(str), targets=frame.target
    )
    (folder / "annotations").mkdir()
    (folder / "annotations" / "human_accuracy_v3.0.0.json").write_text(json.dumps(annotations_of(frame)))


def put_own(folder, model: str, top1) -> None:
    (folder / "imagenet" / model).mkdir(parents=True, exist_ok=True)
    np.savez(folder / "imagenet" / model / "preds.npz", top1=np.asarray(top1))


def pack(path, contents: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def small_archives(tmp_path, few):
    """A folder with the two models' 300 images."""
    for model, frame in few.items():
        put(tmp_path, model, frame)
    return tmp_path


@pytest.fixture(scope="session")
def committed_superclasses(classes, synsets):
    return load_superclasses(COMMITTED, classes, synsets)


@pytest.fixture
def quick(call, committed_superclasses, monkeypatch):
    """As `call`, without what costs most and is the same each time: superclasses and pictures."""
    monkeypatch.setattr(context, "load_superclasses", lambda *_: committed_superclasses)
    monkeypatch.setattr(error_bars, "draw", lambda *_: None)
    return call


@pytest.fixture
def collect(quick, tmp_path):
    def run(*flags):
        flags = flags or ("--collect_results",)
        return quick("evaluation", "--artefacts_dir", tmp_path, "--results_dir", tmp_path / "results", *flags)

    return run


def stored(folder, model="keras--xception"):
    return folder / "imagenet" / model / "errors_analysis.parquet"


def rows_are(results, frames, group_classes, models=MODELS) -> bool:
    found = tables(results)
    for group, classes in group_classes.items():
        assert set(found[group]) == set(models)
        assert all(same(found[group][model], plain_counts(frames[model], classes)) for model in MODELS)
    return True


def test_small_frames_are_counted_otherwise(small_archives, collect, few, group_classes):
    assert collect().status == 0
    assert rows_are(small_archives / "results", few, group_classes)


@pytest.mark.parametrize("made_otherwise", ["shuffled", "renumbered", "backwards", "numbered from behind"])
def test_order_of_rows_matters(tmp_path, collect, few, group_classes, made_otherwise):
    """Rows in any order, under any index, are matched by the image's name."""
    for model, frame in few.items():
        if made_otherwise == "shuffled":
            frame = frame.sample(frac=1, random_state=len(model))
        elif made_otherwise == "renumbered":
            frame = frame.reset_index(drop=True)
        elif made_otherwise == "backwards":
            frame = frame.iloc[::-1]
        else:
            frame = frame.set_index(pd.Index(range(len(frame) - 1, -1, -1)))
        put(tmp_path, model, frame)
    assert collect().status == 0
    assert rows_are(tmp_path / "results", few, group_classes)


def test_order_of_rows_changes_a_list(tmp_path, collect, few, classes):
    for seed, (model, frame) in enumerate(few.items()):
        put(tmp_path, model, frame.sample(frac=1, random_state=seed))
    collect("--collect_results", "--list_most_common_errors")
    for kind, flag in FLAGS.items():
        text = (tmp_path / "results" / "common_error_samples" / f"most_common_{flag}.txt").read_text()
        assert text == plain_list(list(few.values()), kind, classes)


def test_rangeindex_and_other_samples_are_mixed_up(tmp_path, collect, few, group_classes):
    """Frames numbered from 0 beside samples_info.npz of more images."""
    frame = few[MODELS[0]]
    for model, each in few.items():
        put(tmp_path, model, each.reset_index(drop=True))
    files = sorted([*frame.img_rel_path, *(f"{wnid}/aaa.JPEG" for wnid in set(frame.wnet_id))])
    targets = [read_json(ROOT / "artefacts" / "imagenet_wnet_id_to_target.json")[file.split("/")[0]] for file in files]
    np.savez(tmp_path / "imagenet" / "samples_info.npz", sample_files=files, targets=targets)
    assert collect().status == 0
    assert rows_are(tmp_path / "results", few, group_classes)


@pytest.mark.parametrize("kind", FLAGS)
def test_explanation_contradicts_the_archive(small_archives, collect, few, kind):
    frame = few[MODELS[0]]
    row = next(row for row in frame.itertuples() if row.error_types[0] == kind and not row.is_problematic)
    assert refused(collect("--explain", row.img_rel_path, "--model", MODELS[0]), "--convert_archives")
    collect()
    done = collect("--explain", row.img_rel_path, "--model", MODELS[0])
    title = next(each.title for each in ERROR_TYPES if each.archived == kind)
    assert f"{row.img_rel_path}, {MODELS[0]}: {title}\n" in done.stdout
    assert "provisional" not in done.stdout
    assert "skipped" not in done.stdout
    if kind.startswith("potentially"):
        assert ast.literal_eval(row.error_types[1].split(": ")[1].split(" |")[0])[0][1] in done.stdout


def test_counts_of_archives_are_said_to_be_missing(small_archives, collect):
    """Their open-world outcomes are there; no model is without."""
    done = collect()
    assert "counts of out-of-vocabulary errors are missing" not in done.stderr


# --- beside own predictions -----------------------------------------------------------------------------------------


@pytest.fixture
def own_alone(tmp_path_factory, quick, few):
    """A folder with one own model over the 300 images, analysed and collected."""
    folder = tmp_path_factory.mktemp("own")
    put_own(folder, OWN, np.roll(few[MODELS[0]].top1, 1))
    put_inputs(folder, few[MODELS[0]])
    flags = ("--perform_error_analysis", "--collect_results")
    assert quick("evaluation", "--artefacts_dir", folder, "--results_dir", folder / "results", *flags).status == 0
    return folder


@pytest.mark.parametrize("first", ["own", "archived"])
def test_neighbours_in_the_folder_change_results(tmp_path, collect, own_alone, few, group_classes, first):
    """Own and archived models together have the numbers that each have alone, whichever came first."""
    inputs, archived = tmp_path / "imagenet", few
    if first == "own":
        shutil.copytree(own_alone, tmp_path, dirs_exist_ok=True)
    for model, frame in archived.items():
        put(tmp_path, model, frame)
    if first == "archived":
        assert collect().status == 0
        put_inputs(tmp_path, few[MODELS[0]])
        put_own(tmp_path, OWN, np.roll(few[MODELS[0]].top1, 1))
    before = {path: path.read_bytes() for path in inputs.glob("*/*.parquet")}
    done = collect("--perform_error_analysis", "--collect_results")
    assert done.status == 0, done.stderr
    assert all(path.read_bytes() == content for path, content in before.items())
    assert rows_are(tmp_path / "results", few, group_classes, (*MODELS, OWN))
    assert stored(tmp_path, OWN).read_bytes() == stored(own_alone, OWN).read_bytes()
    alone, beside = tables(own_alone / "results"), tables(tmp_path / "results")
    assert [beside[group][OWN] for group in GROUPS] == [alone[group][OWN] for group in GROUPS]


def test_predictions_that_agree_make_an_archive_stale(small_archives, collect, few, group_classes):
    put_inputs(small_archives, few[MODELS[0]])
    assert collect().status == 0
    before = stored(small_archives).read_bytes()
    put_own(small_archives, MODELS[0], few[MODELS[0]].top1)
    assert collect("--perform_error_analysis", "--collect_results").status == 0
    assert stored(small_archives).read_bytes() == before
    assert rows_are(small_archives / "results", few, group_classes)


def test_predictions_that_differ_are_mixed_with_an_archive(small_archives, collect, few, own_alone):
    """A folder's own predictions count, once they are analysed; until then the model is named and left out."""
    put_inputs(small_archives, few[MODELS[0]])
    put_own(small_archives, MODELS[0], np.roll(few[MODELS[0]].top1, 1))
    done = collect()
    assert f"skipped {MODELS[0]}: its analysis is of other inputs, run --perform_error_analysis" in done.stderr
    assert set(tables(small_archives / "results")["all"]) == {MODELS[1]}
    assert f"{MODELS[0]}: analysed again" in collect("--perform_error_analysis", "--collect_results").stderr
    assert stored(small_archives).read_bytes() == stored(own_alone, OWN).read_bytes()
    before = stored(small_archives).read_bytes()
    assert collect().status == 0
    assert stored(small_archives).read_bytes() == before, "the pickle took its place again"


def test_own_predictions_without_samples_info_are_counted(small_archives, collect, few, group_classes):
    put_own(small_archives, OWN, few[MODELS[0]].top1[:-1])
    done = collect("--perform_error_analysis", "--collect_results")
    assert refused(done, OWN)
    assert set(tables(small_archives / "results")["all"]) == set(MODELS)


def test_pickle_of_other_images_is_counted(small_archives, collect, few):
    put(small_archives, "z--other", few[MODELS[0]].iloc[:-5])
    done = collect()
    assert refused(done, "z--other", "of other images")
    assert set(tables(small_archives / "results")["all"]) == set(MODELS)


def test_one_odd_pickle_puts_all_others_out(small_archives, collect, few):
    """The first model by name is the odd one; the images of the many count."""
    put(small_archives, "a--other", few[MODELS[0]].iloc[:5])
    done = collect()
    assert refused(done, "a--other", "of other images")
    assert set(tables(small_archives / "results")["all"]) == set(MODELS)


def test_pickle_of_other_labels_is_counted(small_archives, collect, few):
    frame = few[MODELS[0]].copy()
    frame["multi_label"] = [[*labels, 999] if labels and 999 not in labels else labels for labels in frame.multi_label]
    put_inputs(small_archives, few[MODELS[0]])
    put(small_archives, "z--other", frame)
    assert refused(collect(), "z--other", "of other images or labels")
    assert set(tables(small_archives / "results")["all"]) == set(MODELS)


# --- damage ----------------------------------------------------------------------------------------------------------


def test_parquet_is_made_again_from_a_pickle(small_archives, collect, few):
    """It wins over the pickle, which may even be damaged by then."""
    assert collect().status == 0
    before = {path: path.read_bytes() for path in small_archives.glob("imagenet/*/*.parquet")}
    put(small_archives, MODELS[0], few[MODELS[1]])
    put(small_archives, MODELS[1], b"damaged")
    done = collect()
    assert done.status == 0
    assert "convert" not in done.stderr
    assert {path: path.read_bytes() for path in small_archives.glob("imagenet/*/*.parquet")} == before


@pytest.mark.parametrize("part", [0, 1, 2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_parquet_beside_its_pickle_stays(small_archives, collect, few, packed, part):
    if packed:
        contents = {f"imagenet/{model}/errors_analysis.pkl": from_pandas(frame) for model, frame in few.items()}
        pack(small_archives / "models-imagenet.tar.gz", contents)
        for model in MODELS:
            (small_archives / "imagenet" / model / "errors_analysis.pkl").unlink()
    assert collect().status == 0
    whole = stored(small_archives).read_bytes()
    stored(small_archives).write_bytes(whole[: len(whole) * part // 4])
    done = collect()
    assert done.status == 0
    assert "1 archived analyses converted" in done.stderr
    assert stored(small_archives).read_bytes() == whole


@pytest.mark.parametrize("content", ["cut", "empty", "hostile", "text", "another frame", "no rows"])
def test_bad_pickle_stops_the_others(small_archives, collect, few, group_classes, tmp_path, content):
    bad = {
        "cut": from_pandas(few[MODELS[0]])[:-100],
        "empty": b"",
        "hostile": made.forms("os", "system", f"touch {tmp_path / 'marker'}")["STACK_GLOBAL"],
        "text": b"not a pickle",
        "another frame": from_pandas(few[MODELS[0]].drop(columns="error_types")),
        "no rows": from_pandas(few[MODELS[0]].iloc[:0]),
    }[content]
    put(small_archives, "a--bad", bad)
    done = collect()
    assert refused(done, "1 of 3 models", tmp_path / "imagenet" / "a--bad" / "errors_analysis.pkl")
    assert "os.system" in done.stderr or content != "hostile"
    assert not (tmp_path / "marker").exists()
    assert rows_are(tmp_path / "results", few, group_classes)
    assert not stored(tmp_path, "a--bad").exists()


def test_run_with_bad_pickles_alone_is_a_success(tmp_path, collect):
    put(tmp_path, "a--bad", b"")
    assert refused(collect(), "a--bad")


def test_link_in_a_circle_is_a_traceback(small_archives, collect):
    (small_archives / "imagenet" / "a--bad").mkdir()
    (small_archives / "imagenet" / "a--bad" / "errors_analysis.pkl").symlink_to("errors_analysis.pkl")
    assert collect().status == 0


@pytest.fixture
def contents(few) -> dict[str, bytes]:
    """A dozen small analyses for an archive, ten of them of one model."""
    pickles = {model: from_pandas(frame) for model, frame in few.items()}
    pickles |= {f"m--{number:02}": pickles[MODELS[0]] for number in range(10)}
    return {f"imagenet/{model}/errors_analysis.pkl": content for model, content in sorted(pickles.items())}


@pytest.fixture
def cut_archive(tmp_path, contents):
    """A dozen sound analyses, and damage within the one after them."""
    path = tmp_path / "models-imagenet.tar.gz"
    rng = random.Random(6)
    noise = {"imagenet/z--last/errors_analysis.pkl": bytes(rng.getrandbits(8) for _ in range(300_000))}
    pack(path, contents | noise)
    whole = path.read_bytes()
    path.write_bytes(whole[:-150_000])
    return path


@pytest.mark.parametrize("jobs", [1, 2, 4, 12, 13])
def test_what_came_before_the_damage_is_lost(tmp_path, cut_archive, contents, jobs):
    """However many processes: none of the last analyses is dropped for having come just before."""
    with pytest.raises(InputError, match="damaged or cut off"):
        convert.convert(Artefacts(tmp_path), "imagenet", jobs)
    kept = {file.parent.name for file in tmp_path.glob("imagenet/*/*.parquet")}
    assert kept == {name.split("/")[1] for name in contents}


def test_sound_archive_does_not_complete_a_cut_one(collect, cut_archive, contents, tmp_path):
    assert refused(collect(), cut_archive, "damaged or cut off")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("imagenet/*/*.parquet")}
    assert before
    pack(cut_archive, contents)
    assert collect().status == 0
    after = {file: file.stat().st_mtime_ns for file in tmp_path.glob("imagenet/*/*.parquet")}
    assert len(after) == 12
    assert after.items() >= before.items()


def test_hostile_pickle_before_the_damage_goes_without_saying(tmp_path, collect, cut_archive):
    put(tmp_path, "a--bad", made.forms("os", "system", f"touch {tmp_path}/marker")["INST"])
    done = collect()
    assert refused(done, cut_archive)
    assert "os.system" in done.stderr
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_cut_archive_is_taken_for_a_short_one(tmp_path, collect, contents, part):
    path = tmp_path / "models-imagenet.tar.gz"
    pack(path, contents)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * part // 4])
    assert refused(collect(), path)
    path.write_bytes(whole)
    assert collect().status == 0
    assert len(list(tmp_path.glob("imagenet/*/*.parquet"))) == len(contents)


def test_hostile_pickle_in_an_archive_stops_the_others(tmp_path, collect, contents):
    hostile = {"imagenet/a--bad/errors_analysis.pkl": made.forms("os", "system", f"touch {tmp_path}/marker")["INST"]}
    metadata = {"imagenet/a--bad/metadata.json": b"{}"}
    pack(tmp_path / "models-imagenet.tar.gz", hostile | metadata | contents)
    for _ in range(2):  # the second run knows the archive
        done = collect()
        assert refused(
            done, "1 of 13 models", "models-imagenet.tar.gz/imagenet/a--bad/errors_analysis.pkl", "os.system"
        )
        assert len(tables(tmp_path / "results")["all"]) == 12
    assert not (tmp_path / "marker").exists()


def test_strange_file_of_an_archive_goes_without_saying(tmp_path, collect, contents):
    strange = {
        "imagenet/a--x/preds.npz": b"x",
        "imagenet-a/b/errors_analysis.pkl": b"",
        "README": b"x",
        "imagenet/y": b"",
    }
    pack(tmp_path / "models-imagenet.tar.gz", strange | contents)
    done = collect()
    assert done.status == 0
    for name in strange:
        assert f"{name} is passed over" in done.stderr
    assert not (tmp_path / "imagenet" / "a--x").exists()
    assert not (tmp_path / "imagenet-a").exists()


def test_archive_that_was_replaced_is_not_read(tmp_path, collect, contents, few):
    path = tmp_path / "models-imagenet.tar.gz"
    names = list(contents)
    pack(path, {name: contents[name] for name in names[:2]})
    assert collect().status == 0
    assert len(tables(tmp_path / "results")["all"]) == 2
    pack(path, contents)
    assert collect().status == 0
    assert len(tables(tmp_path / "results")["all"]) == 12


def test_analyses_of_a_replaced_archive_are_converted_again(tmp_path, collect, few, group_classes):
    """Where the pickle is another; the user's own analysis of a model stays."""
    path, content = tmp_path / "models-imagenet.tar.gz", {model: from_pandas(frame) for model, frame in few.items()}
    member = "imagenet/{}/errors_analysis.pkl".format
    pack(path, {member(model): content[model] for model in MODELS} | {member("same"): content[MODELS[0]]})
    (tmp_path / "imagenet").mkdir()
    put_inputs(tmp_path, few[MODELS[0]])
    put_own(tmp_path, OWN, np.roll(few[MODELS[0]].top1, 1))
    assert collect("--perform_error_analysis", "--collect_results").status == 0
    before = {model: stored(tmp_path, model).stat().st_mtime_ns for model in (*MODELS, "same", OWN)}
    swapped = dict(zip(MODELS, MODELS[::-1], strict=True)) | {"same": MODELS[0], OWN: MODELS[0]}
    pack(path, {member(model): content[other] for model, other in swapped.items()})
    done = collect()
    assert done.status == 0
    assert {line for line in done.stderr.splitlines() if "converted again" in line} == {
        f"{model}: converted again because the archive was replaced by another" for model in MODELS
    }
    found = {model: few[other] for model, other in swapped.items()}
    assert rows_are(tmp_path / "results", found, group_classes, (*MODELS, "same", OWN))
    after = {model: stored(tmp_path, model).stat().st_mtime_ns for model in before}
    assert {model for model in before if after[model] == before[model]} == {"same", OWN}
    assert "again" not in collect().stderr


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"models": 5}', "old", "another model"])
def test_damaged_note_of_an_archive_stops_a_run(tmp_path, collect, contents, content):
    """archive.json is ours: without it, or with rubbish in its place, the archive is read again."""
    pack(tmp_path / "models-imagenet.tar.gz", contents)
    assert collect().status == 0
    note = tmp_path / "imagenet" / "archive.json"
    whole = note.read_text()
    if content == "old":
        content = json.dumps({key: value for key, value in json.loads(whole).items() if key != "models"})
    elif content == "another model":
        content = whole.replace("m--03", "m--33")
    note.write_text(content)
    done = collect()
    assert done.status == 0, done.stderr
    assert note.read_text() == whole


def test_known_archive_is_opened_again(tmp_path, collect, contents, monkeypatch):
    pack(tmp_path / "models-imagenet.tar.gz", contents)
    assert collect().status == 0

    def opened(*_):
        raise AssertionError

    monkeypatch.setattr(tar_reader, "read_members", opened)
    monkeypatch.setattr(processes, "pool", opened)
    assert collect().status == 0


def test_metadata_of_an_archive_replace_ours(tmp_path, collect, contents):
    metadata = {name.replace("errors_analysis.pkl", "metadata.json"): b'{"arch": "vit"}' for name in contents}
    pack(tmp_path / "models-imagenet.tar.gz", metadata | contents)
    ours = tmp_path / "imagenet" / MODELS[0] / "metadata.json"
    ours.parent.mkdir(parents=True)
    ours.write_text('{"arch": "resnet"}')
    assert collect().status == 0
    found = {model: row["arch"] for model, row in tables(tmp_path / "results")["all"].items()}
    assert found.pop(MODELS[0]) == "resnet"
    assert set(found.values()) == {"vit"}


def test_archive_in_a_folder_of_its_own_is_not_read(tmp_path, collect, contents):
    """Members below artefacts/, as in the archive of everything."""
    pack(tmp_path / "models-imagenet.tar.gz", {f"artefacts/{name}": content for name, content in contents.items()})
    assert collect().status == 0
    assert len(tables(tmp_path / "results")["all"]) == 12


def test_unwanted_neighbours_are_stored(small_archives, collect, few, group_classes):
    assert collect("--collect_results", "--without_neighbours").status == 0
    (small,) = (small_archives / "imagenet").glob("images-*.parquet")
    assert read_joined(stored(small_archives))["neighbours"].null_count == len(few[MODELS[0]])
    assert rows_are(small_archives / "results", few, group_classes)
    stored(small_archives).unlink()
    assert collect().status == 0
    _, large = sorted(path.stat().st_size for path in (small_archives / "imagenet").glob("images-*.parquet"))
    assert large > 1.2 * small.stat().st_size


# --- ImageNet-A -------------------------------------------------------------------------------------------------------


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


def test_imagenet_a_is_counted_as_imagenet(tmp_path, collect, few, few_of_a, group_classes):
    accuracies = {"top1_val_acc": 12.5, "multi_label_val_acc": 34.5}
    for model in MODELS:
        put(tmp_path, model, few_of_a, "imagenet-a", top1_val_acc=5.25, top1_val_acc_subset_200=7.5)
        put(tmp_path, model, few[model], "imagenet", **accuracies)
    done = collect("--dataset", "imagenet-a", "--collect_results", "--list_most_common_errors")
    assert done.status == 0, done.stderr
    for group, classes in group_classes.items():
        found = read(tmp_path / "results" / "stats-imagenet-a" / f"non_problematic_stats_{group}.csv")
        assert set(found) == set(MODELS)
        for row in found.values():
            counts = plain_counts(few_of_a, classes)
            assert same(row, {key: value for key, value in counts.items() if key not in OF_IMAGENET_M})
            assert not set(OF_IMAGENET_M) & set(row)
            assert (row["top1_val_acc"], row["top1_val_acc_subset_200"]) == ("5.25", "7.5")
            assert (row["imagenet_top1_val_acc"], row["imagenet_mla_val_acc"]) == ("12.5", "34.5")
    assert (tmp_path / "results" / "common_error_samples-imagenet-a" / "most_common_fg.txt").exists()


def test_packed_accuracies_on_imagenet_are_not_read(tmp_path, collect, contents, few_of_a):
    """Two archives, neither unpacked."""
    metadata = {name.replace("errors_analysis.pkl", "metadata.json"): b'{"top1_val_acc": 12.5}' for name in contents}
    pack(tmp_path / "models-imagenet.tar.gz", metadata | contents)
    of_a = {f"imagenet-a/{model}/errors_analysis.pkl": from_pandas(few_of_a) for model in MODELS}
    pack(tmp_path / "models-imagenet-a.tar.gz", of_a)
    assert collect("--dataset", "imagenet-a", "--collect_results").status == 0
    found = read(tmp_path / "results" / "stats-imagenet-a" / "non_problematic_stats_all.csv")
    assert {model: row["imagenet_top1_val_acc"] for model, row in found.items()} == dict.fromkeys(MODELS, "12.5")


def test_imagenet_a_needs_imagenet(tmp_path, collect, few_of_a):
    put(tmp_path, MODELS[0], few_of_a, "imagenet-a")
    assert collect("--dataset", "imagenet-a", "--collect_results").status == 0
    row = read(tmp_path / "results" / "stats-imagenet-a" / "non_problematic_stats_all.csv")[MODELS[0]]
    assert (row["imagenet_top1_val_acc"], row["imagenet_mla_val_acc"]) == ("", "")


# --- two runs, killed runs --------------------------------------------------------------------------------------------


def start(folder, *flags) -> subprocess.Popen:
    where = ("--artefacts_dir", folder, "--results_dir", folder / "results")
    command = [sys.executable, ROOT / "src" / "evaluation.py", *where, *(flags or ("--collect_results",))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def everything(folder) -> dict[str, bytes]:
    """All files but locks and what is told apart by time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".locks" not in path.parts and path.name != "archive.json"
    }


@pytest.fixture(scope="module")
def undisturbed(few, tmp_path_factory) -> dict:
    """(a folder with an archive of a dozen models and two unpacked, what a run makes of it)."""
    folder = tmp_path_factory.mktemp("undisturbed") / "folder"
    pickles = {model: from_pandas(frame) for model, frame in few.items()}
    packed = {f"imagenet/m--{number:02}/errors_analysis.pkl": pickles[MODELS[number % 2]] for number in range(12)}
    for model, content in pickles.items():
        put(folder, model, content)
    pack(folder / "models-imagenet.tar.gz", packed)
    fresh = shutil.copytree(folder, folder.with_name("fresh"))
    begun = time.perf_counter()
    assert evaluate(folder, "--collect_results").returncode == 0
    return {"fresh": fresh, "files": everything(folder), "seconds": time.perf_counter() - begun}


def test_two_runs_at_once_leave_another_result(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed["fresh"], tmp_path / "folder")
    runs = [start(folder) for _ in range(2)]
    for run in runs:
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said
        assert "Traceback" not in said
    assert everything(folder) == undisturbed["files"]


@pytest.mark.parametrize("moment", [2, *(pytest.param(one, marks=pytest.mark.heavy) for one in (0, 1, 3, 4, 5))])
def test_killed_conversion_leaves_a_trace(undisturbed, tmp_path, moment):
    """SIGKILL at some moment; the rerun makes what an undisturbed run makes, byte for byte."""
    folder = shutil.copytree(undisturbed["fresh"], tmp_path / "folder")
    run = start(folder)
    seconds = random.Random(moment).uniform(0.15, 0.7) * undisturbed["seconds"]
    if moment % 2:  # while files are being written
        deadline = time.perf_counter() + 30
        while time.perf_counter() < deadline and len(list(folder.glob("imagenet/*/*.parquet"))) < 2 * moment:
            time.sleep(0.001)
    else:
        time.sleep(seconds)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=30)
    for path in folder.glob("imagenet/*/*.parquet"):
        pq.read_table(path)
    done = evaluate(folder, "--collect_results")
    assert done.returncode == 0, done.stderr
    assert everything(folder) == undisturbed["files"]


def test_killed_worker_ends_in_a_traceback(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed["fresh"], tmp_path / "folder")
    run = start(folder)
    for _ in count():
        children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
        if children or run.poll() is not None:
            break
    if children:
        os.kill(int(children[0]), signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    assert "Traceback" not in said
    assert run.returncode in (0, 2)
    assert evaluate(folder, "--collect_results").returncode == 0
    assert everything(folder) == undisturbed["files"]
