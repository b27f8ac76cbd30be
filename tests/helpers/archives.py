"""Archived analyses as tests make them, and what is counted and listed of their rows by plain code."""

import csv
import io
import json
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.paper_archive.pickled_frames import Frame, write_frame
from tests.conftest import run_script
from tests.helpers import simulated_models
from tests.helpers.plain_facts import GROUPS, plain_mla, plain_spurious_pairs, plain_superclasses, read_class_ids
from tests.helpers.synthetic_clip import Made, gates, write_train

MODELS = ("keras--xception", "pytorch--resnet50")
OWN = "pytorch--resnet18"
STEPS = ("--collect_results", "--count_spurious_correlation_pairs", "--list_most_common_errors")
COLUMNS = {  # of the stats tables, by the error type's name in the archives
    "correct (collapsed mapping)": "num_collapsed_mappings",
    "correct wrt multi label (ambiguous/multi-object)": "num_ambiguous",
    "same superclass (fine-grained)": "num_same_superclass",
    "potentially OOV, detected by CLIP": "num_OOV_clip",
    "common co-occurrences (spurious correlations)": "num_common_co_occ",
    "non-prototypical (DoughBagel)": "num_non_prototypical",
    "error not classified": "num_not_classified",
}
NAMES = tuple(COLUMNS)
FLAGS = dict(
    zip(
        NAMES,
        ("overlapping_classes", "multi_label", "fg", "fg-OOV", "spurious_correlation", "non-proto", "model_failure"),
        strict=True,
    )
)
AS_CORRECT = ("correct", *NAMES[:2])
FORGIVEN = {
    "": AS_CORRECT,
    "_minor_error": (*AS_CORRECT, *NAMES[2:4]),
    "_explainable_error": (*AS_CORRECT, *NAMES[2:6]),
}
OF_IMAGENET_M = ("num_all_imagenet-m_samples", "num_group_imagenet-m_samples", "num_imagenet-m_errors")


# --- by plain code ---------------------------------------------------------------------------------------------------


def plain_rows(frame: pd.DataFrame) -> list[tuple]:
    """(file, target, labels, prediction, error type, strings) of the unproblematic images."""
    columns = ("img_rel_path", "target", "multi_label", "top1", "is_problematic", "error_types")
    rows = zip(*(frame[column].tolist() for column in columns), strict=True)
    return [(*row, types[0], types) for *row, problematic, types in rows if not problematic]


def plain_counts(images: list[tuple], classes: set[int], imagenet_m: set[str] | None = None) -> dict:
    """What is counted of a model's `plain_rows` and the classes of a group, as the paper's rules have it."""
    members = [image for image in images if classes & set(image[2])]
    error_types = Counter(name for *_, name, _ in members)
    counts = {
        "num_all_samples": len(images),
        "num_group_samples": len(members),
        "num_group_correct": error_types["correct"],
        "num_all_top1_errors": sum(name != "correct" for *_, name, _ in images),
        "num_group_top1_errors": sum(name != "correct" for *_, name, _ in members),
        **{column: error_types[name] for name, column in COLUMNS.items()},
    }
    for scope, counted in (("all", images), ("group", members)):
        for suffix, names in FORGIVEN.items():
            of = [(target, name in names) for _, target, _, _, name, _ in counted]
            counts[f"mla_{scope}{suffix}"] = plain_mla(of) if of else None
    if imagenet_m is None:
        return counts | dict.fromkeys(OF_IMAGENET_M)
    listed = [image for image in images if image[0].split("/")[1] in imagenet_m]
    of_group = [image for image in listed if classes & set(image[2])]
    wrong = sum(pred not in labels for _, _, labels, pred, *_ in of_group)
    return counts | dict(zip(OF_IMAGENET_M, (len(listed), len(of_group), wrong), strict=True))


def plain_list(models: list[list[tuple]], error_type: str, classes) -> str:
    """The list of most common errors over the `plain_rows` of models."""
    times, about = Counter(), {}
    for images in models:
        for file, target, labels, pred, name, strings in images:
            if name == error_type:
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
            text += f"{strings}\n\n" if FLAGS[error_type] == "fg-OOV" else "\n"
    return text


def plain_pairs(models: list[list[tuple]]) -> int:
    """How many spurious pairs appear as a mistake in the `plain_rows` of models."""
    name = "common co-occurrences (spurious correlations)"
    images = [image for images in models for image in images if image[4] == name]
    seen = {frozenset((label, pred)) for _, _, labels, pred, *_ in images for label in labels}
    return len(seen & plain_spurious_pairs(plain_superclasses()))


# --- results ---------------------------------------------------------------------------------------------------------


def evaluate(folder, *flags) -> subprocess.CompletedProcess:
    where = ("--artefacts_dir", folder, "--results_dir", folder / "results")
    return run_script("evaluation", *where, *(flags or STEPS))


def read_table(path) -> dict[str, dict[str, str]]:
    """{model: row} of a table."""
    with open(path, newline="") as file:
        return {row["model_dir_id"]: row for row in csv.DictReader(file)}


def read_tables(results) -> dict[str, dict[str, dict[str, str]]]:
    """{group: {model: row}}."""
    return {group: read_table(results / "stats-imagenet" / f"non_problematic_stats_{group}.csv") for group in GROUPS}


def assert_row(row: dict[str, str], counts: dict) -> None:
    """Cells of a table's row are these counts; None is an empty cell."""
    for column, value in counts.items():
        if value is None:
            assert row[column] == "", column
        elif isinstance(value, float):
            assert float(row[column]) == pytest.approx(value, abs=1e-9), column
        else:
            assert row[column] == str(value), column


def assert_tables(results, frames, group_classes, models=MODELS) -> None:
    """The tables have rows of `models`, and those of `frames` are recounted from their rows."""
    found = read_tables(results)
    images = {model: plain_rows(frame) for model, frame in frames.items()}
    for group, classes in group_classes.items():
        assert set(found[group]) == set(models)
        for model in images:
            assert_row(found[group][model], plain_counts(images[model], classes))


def stored(folder, model=MODELS[0]) -> Path:
    """A model's analysis in our form."""
    return folder / "imagenet" / model / "errors_analysis.parquet"


# --- files -----------------------------------------------------------------------------------------------------------


def simulate_archive(folder: Path) -> Path:
    """Write an archive of two simulated models by our own scripts; neighbours and open-world outcomes are made up."""
    artefacts, path = folder / "artefacts", folder / "models-imagenet.tar.gz"
    simulated_models.simulate(artefacts, MODELS)
    with np.load(artefacts / "imagenet" / "samples_info.npz") as samples:
        files = samples["sample_files"]
    Made.of(files, gates(np.array([simulated_models.predict(model) for model in MODELS]))).write(artefacts)
    write_train(artefacts)
    assert evaluate(artefacts, "--perform_error_analysis", "--collect_results").returncode == 0
    for model, row in read_tables(artefacts / "results")["all"].items():
        metadata = artefacts / "imagenet" / model / "metadata.json"
        found = {"multi_label_val_acc": float(row["mla_all"])}
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | found))
    done = run_script("download_artefacts", "--export_archive", path, "--artefacts_dir", artefacts)
    assert done.returncode == 0, done.stderr
    return path


def from_pandas(frame: pd.DataFrame) -> bytes:
    """A frame as the archives pickle it."""
    columns = {name: cells.tolist() if cells.dtype == object else cells.to_numpy() for name, cells in frame.items()}
    return write_frame(Frame(columns, frame.index.to_numpy(), frame.attrs))


def put(folder, model: str, frame: pd.DataFrame | bytes, dataset="imagenet", **metadata) -> None:
    """Write a model's pickle and metadata, as in an unpacked archive."""
    target = folder / dataset / model
    target.mkdir(parents=True, exist_ok=True)
    (target / "errors_analysis.pkl").write_bytes(frame if isinstance(frame, bytes) else from_pandas(frame))
    (target / "metadata.json").write_text(json.dumps({"arch": "resnet", "model_id": model} | metadata))


def put_samples(folder, frame: pd.DataFrame) -> None:
    """Write samples_info.npz and annotations of the images of a frame."""
    files = frame.img_rel_path.to_numpy(str)
    np.savez(folder / "imagenet" / "samples_info.npz", sample_files=files, targets=frame.target)
    (folder / "annotations").mkdir()
    (folder / "annotations" / "human_accuracy_v3.0.0.json").write_text(json.dumps(annotations_of(frame)))


def annotations_of(frame: pd.DataFrame) -> dict:
    """The annotations in the form of the official file."""
    wnids = sorted(read_class_ids())
    rows = frame[["file_name", "multi_label", "wrong_multi_label"]].itertuples(index=False)
    listed = {
        name: {"correct": [wnids[i] for i in labels], "wrong": [wnids[i] for i in wrong]}
        for name, labels, wrong in rows
    }
    problematic = dict.fromkeys(frame[frame.is_problematic].file_name, True)
    return {"initial_annots": listed, "problematic_images": problematic, "imagenet_m": []}


def put_predictions(folder, model: str, top1) -> None:
    """Write a model's preds.npz."""
    (folder / "imagenet" / model).mkdir(parents=True, exist_ok=True)
    np.savez(folder / "imagenet" / model / "preds.npz", top1=np.asarray(top1))


def heavy(*values) -> list:
    """Values of a parameter that `make check-all` alone tests."""
    return [pytest.param(value, marks=pytest.mark.heavy) for value in values]


def pack(path, contents: dict[str, bytes]) -> None:
    """Write a .tar.gz archive of {member: content}."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


# --- tar archives, member by member ----------------------------------------------------------------------------------

MEMBERS = {
    "imagenet/me--a b 'c' \"d\" ü 中/metadata.json": b"{}",
    "imagenet/me--b/errors_analysis.pkl": bytes(range(256)) * 9,
    "imagenet/empty": b"",
    "one": b"x" * 512,
}


def entry(name, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def tar(*members, form=tarfile.PAX_FORMAT, end=True) -> bytes:
    """An archive before its compression, made member by member, whatever they are."""
    parts = [
        member.tobuf(form, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)
        for member, content in members
    ]
    return b"".join(parts) + bytes(1024 if end else 0)


def entries(contents=None) -> list:
    return [entry(name, content) for name, content in (MEMBERS if contents is None else contents).items()]


def below(folder) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
