"""The stats tables: what always adds up, what stays empty, and every number counted again in plain Python."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.analysis import counting
from imagenet_errors.analysis.collecting import collect_tables
from imagenet_errors.analysis.context import DatasetContext, load_context
from imagenet_errors.analysis.decision import decide
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.dataset import annotations
from imagenet_errors.dataset.image_names import VALIDATION_PREFIX
from imagenet_errors.dataset.multi_labels import annotations_from_json
from imagenet_errors.formats import stats_tables
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.models.architectures import read_architectures
from imagenet_errors.paths import PUBLISHED_TABLES, REPOSITORY, Artefacts, stats_table
from tests.helpers.analyses import make_analysis, make_images, read_joined
from tests.helpers.plain_facts import GROUPS, plain_group_classes, plain_mla

MODEL = "pytorch--resnet18"
SHOWN = {  # by the type's name in errors_analysis.parquet
    "class_overlap": "num_collapsed_mappings",
    "missing_multi_label": "num_ambiguous",
    "fine_grained": "num_same_superclass",
}
OPEN_WORLD_CELLS = ["num_OOV_clip", "num_common_co_occ", "num_non_prototypical", "num_not_classified"]
ERROR_CELLS = [*SHOWN.values(), *OPEN_WORLD_CELLS]
FORGIVING_ACCURACIES = [
    f"mla_{scope}_{severity}_error" for scope in ("all", "group") for severity in ("minor", "explainable")
]
IMAGENET_M_CELLS = ["num_all_imagenet-m_samples", "num_group_imagenet-m_samples", "num_imagenet-m_errors"]


def read(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def header(path) -> list[str]:
    with open(path, newline="") as file:
        return next(csv.reader(file))


@pytest.fixture(scope="module")
def written(analysed) -> dict[str, list[dict[str, str]]]:
    """The tables of the analysed folder, by group."""
    return {group: read(analysed / f"results/stats-imagenet/non_problematic_stats_{group}.csv") for group in GROUPS}


@pytest.fixture(scope="module")
def group_classes() -> dict[str, set[int]]:
    return plain_group_classes()


# --- written tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("dataset", ["imagenet", "imagenet-a"])
def test_columns_keep_their_published_order(dataset, group):
    published = header(stats_table(PUBLISHED_TABLES, dataset, group))
    assert stats_tables.columns(dataset) == published


@pytest.mark.parametrize("group", GROUPS)
def test_written_header_is_the_published_one(analysed, group):
    name = f"stats-imagenet/non_problematic_stats_{group}.csv"
    assert header(analysed / "results" / name) == header(PUBLISHED_TABLES / name)


@pytest.mark.parametrize("group", GROUPS)
def test_correct_images_and_errors_add_up(written, group):
    for row in written[group]:
        correct, errors = int(row["num_group_correct"]), int(row["num_group_top1_errors"])
        assert int(row["num_group_samples"]) == correct + errors
        assert sum(int(row[column]) for column in SHOWN.values()) <= errors


def test_columns_over_all_images_are_equal_in_the_four_tables(written):
    for column in ("model_dir_id", "num_all_samples", "num_all_top1_errors", "mla_all"):
        assert len({tuple(row[column] for row in rows) for rows in written.values()}) == 1, column
    for row in written["all"]:
        assert row["num_all_samples"] == row["num_group_samples"] == "18692"
        assert row["num_all_top1_errors"] == row["num_group_top1_errors"]


def test_models_keep_the_order_of_their_folders(analysed, written):
    folders = sorted(path.name for path in (analysed / "artefacts/imagenet").iterdir() if path.is_dir())
    assert [row["model_dir_id"] for row in written["all"]] == folders


@pytest.mark.parametrize("group", GROUPS)
def test_cells_that_need_the_open_world_test_are_empty(written, group):
    for row in written[group]:
        assert {row[column] for column in OPEN_WORLD_CELLS + FORGIVING_ACCURACIES} == {""}


@pytest.mark.parametrize("group", GROUPS)
def test_no_other_cell_is_empty(written, group):
    empty = {column for row in written[group] for column, cell in row.items() if cell == ""}
    unknown = {"num_params"}  # of imagenetx--ViT
    assert empty == {*OPEN_WORLD_CELLS, *FORGIVING_ACCURACIES, *IMAGENET_M_CELLS, *unknown}


def test_imagenet_accuracies_are_those_of_the_same_table(written):
    for row in written["organism"]:
        assert float(row["imagenet_mla_val_acc"]) == pytest.approx(float(row["mla_all"]), abs=1e-9)
        assert row["imagenet_top1_val_acc"] == row["top1_val_acc"]


@pytest.mark.parametrize("group", GROUPS)
def test_counts_and_accuracies_equal_a_plain_recount(analysed, written, group_classes, group):
    frame = read_joined(analysed / f"artefacts/imagenet/{MODEL}/errors_analysis.parquet").to_pandas()
    images = [
        (int(target), set(labels.tolist()), name)
        for target, labels, name, problematic in zip(
            frame.target, frame.multi_label, frame.error_type, frame.is_problematic, strict=True
        )
        if not problematic
    ]
    members = [image for image in images if image[1] & group_classes[group]]
    error_types = Counter(name for _, _, name in members)
    as_correct = {"correct", "class_overlap", "missing_multi_label"}
    row = next(row for row in written[group] if row["model_dir_id"] == MODEL)
    counts = {
        "num_all_samples": len(images),
        "num_group_samples": len(members),
        "num_group_correct": error_types["correct"],
        "num_all_top1_errors": sum(name != "correct" for _, _, name in images),
        "num_group_top1_errors": len(members) - error_types["correct"],
        **{column: error_types[name] for name, column in SHOWN.items()},
    }
    assert {column: int(row[column]) for column in counts} == counts
    for column, counted in (("mla_all", images), ("mla_group", members)):
        plain = plain_mla([(target, name in as_correct) for target, _, name in counted])
        assert float(row[column]) == pytest.approx(plain, abs=1e-9)


# --- with the open world ---------------------------------------------------------------------------------------------


def count_row(counted: counting.CountedImages, analysis: ErrorAnalysis, group: str) -> dict:
    """The counted cells of a row."""
    return counting.stats_row(counted, analysis, counted.count(analysis.error_types), {}, group)


def with_open_world(context, model: str) -> ErrorAnalysis:
    """An analysis with random outcomes of the open-world test."""
    top1 = ModelFiles(context, model).top1
    outcomes = np.random.default_rng(1).random(len(top1)) < 0.5
    return make_analysis(model, top1, decide(context.images, top1, context.relations, outcomes).error_types, False)


@pytest.fixture(scope="module")
def complete(context) -> dict[str, dict]:
    """{group: the row of a model whose open-world test was done}."""
    analysis = with_open_world(context, MODEL)
    arch_groups = {arch: known.group for arch, known in read_architectures(context.artefacts).items()}
    tables = collect_tables([ModelFiles(context, MODEL)], [analysis], "json", arch_groups)
    return {group: rows[0] for group, rows in tables.rows.items()}


@pytest.mark.parametrize("group", GROUPS)
def test_seven_error_types_add_up_to_the_errors(complete, group):
    row = complete[group]
    assert sum(row[column] for column in ERROR_CELLS) == row["num_group_top1_errors"]
    assert min(row[column] for column in ERROR_CELLS if column != "num_non_prototypical") > 0


@pytest.mark.parametrize("group", GROUPS)
def test_only_cells_of_imagenet_m_are_empty_after_the_open_world_test(complete, group):
    assert {column for column in stats_tables.columns("imagenet") if complete[group][column] is None} == {
        *IMAGENET_M_CELLS
    }


@pytest.mark.parametrize("group", GROUPS)
def test_minor_and_explainable_accuracies_forgive_the_right_types(context, complete, group_classes, group):
    analysis = with_open_world(context, MODEL)
    images = [
        (target, code)
        for target, labels, code, problematic in zip(
            *(column.tolist() for column in (context.images.targets, context.images.labels, analysis.error_types)),
            context.images.problematic,
            strict=True,
        )
        if not problematic and set(labels) & group_classes[group]
    ]
    names = ["correct", "class_overlap", "missing_multi_label", "fine_grained", "out_of_vocabulary"]
    minor = {counting.CODES[name] for name in names}
    explainable = minor | {counting.CODES[name] for name in ("spurious_correlation", "non_prototypical")}
    for name, forgiven in (("minor", minor), ("explainable", explainable)):
        plain = plain_mla([(target, code in forgiven) for target, code in images])
        assert complete[group][f"mla_group_{name}_error"] == pytest.approx(plain, abs=1e-9)


# --- ImageNet-M ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_imagenet_m_errors_are_unaccepted_predictions_on_unproblematic_images(twelve, context, group_classes, group):
    analysis = with_open_world(context, MODEL)
    images = context.images
    names = [file.split("/")[1] for file in images.files]
    overlaps = np.flatnonzero(analysis.error_types == counting.CODES["class_overlap"]).tolist()
    listed = {*range(0, len(images), 150), *overlaps}
    content = json.loads((twelve / "annotations/human_accuracy_v3.0.0.json").read_text())
    content["imagenet_m"] = [*(names[row] for row in sorted(listed)), "ILSVRC2012_val_99999999.JPEG"]
    read_again = annotations_from_json(content, "test", context.classes, VALIDATION_PREFIX)
    sample_names = np.array([file.split("/")[1] for file in context.samples.files])
    counted = counting.CountedImages.of(
        annotations.align(read_again, context.samples, sample_names, frozenset()), context.class_groups
    )
    row = count_row(counted, analysis, group)

    labels = [set(accepted) for accepted in images.labels.tolist()]
    sound = [row for row in listed if not images.problematic[row]]
    members = [row for row in sound if labels[row] & group_classes[group]]
    errors = [row for row in members if analysis.top1[row] not in labels[row]]
    assert len(sound) < len(listed)
    assert [row[column] for column in IMAGENET_M_CELLS] == [len(sound), len(members), len(errors)]


def test_class_overlap_outside_the_labels_is_an_error_on_imagenet_m(context):
    images = replace(
        make_images(["n/a", "n/b"], [836, 836], [[836], [836, 837]], [False] * 2, [False] * 2),
        imagenet_m=np.array([True, True]),
    )
    top1 = np.array([837, 837], np.int16)
    error_types = decide(images, top1, context.relations).error_types
    assert error_types.tolist() == [counting.CODES["class_overlap"]] * 2
    counted = counting.CountedImages.of(images, context.class_groups)
    row = count_row(counted, make_analysis("m", top1, error_types, True), "all")
    assert [row[column] for column in IMAGENET_M_CELLS] == [2, 2, 1]


# --- ImageNet-A ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imagenet_a(context, twelve, tmp_path_factory) -> DatasetContext:
    """ImageNet validation images of ImageNet-A's classes in place of its own, with one model."""
    root = tmp_path_factory.mktemp("imagenet_a")
    for name in ("imagenet", "annotations"):
        (root / name).symlink_to(twelve / name)
    classes = (REPOSITORY / "artefacts/imagenet_a_synsets.txt").read_text().split()
    rows = np.flatnonzero(np.isin([file.split("/")[0] for file in context.samples.files], classes))
    (root / "imagenet-a" / MODEL).mkdir(parents=True)
    samples = {"sample_files": context.samples.files[rows], "targets": context.samples.targets[rows]}
    np.savez(root / "imagenet-a/samples_info.npz", **samples)
    with np.load(twelve / f"imagenet/{MODEL}/preds.npz") as archive:
        np.savez(root / f"imagenet-a/{MODEL}/preds.npz", top1=archive["top1"][rows])
    return load_context(Artefacts(root), "imagenet-a")


@pytest.mark.parametrize("group", GROUPS)
def test_imagenet_a_has_neither_missing_labels_nor_non_prototypical_images(imagenet_a, group):
    unlike = annotations.non_prototypical_files(imagenet_a.artefacts)
    assert unlike & {file.split("/")[1] for file in imagenet_a.samples.files}
    row = count_row(imagenet_a.counted_images, with_open_world(imagenet_a, MODEL), group)
    assert (row["num_ambiguous"], row["num_non_prototypical"]) == (0, 0)
    assert row["num_group_samples"] == row["num_group_correct"] + sum(row[column] for column in ERROR_CELLS)


def test_imagenet_a_tables_repeat_the_accuracy_on_imagenet(imagenet_a, written):
    tables = collect_tables([ModelFiles(imagenet_a, MODEL)], [with_open_world(imagenet_a, MODEL)], "json", {})
    described = tables.rows["all"][0]
    on_imagenet = next(row for row in written["all"] if row["model_dir_id"] == MODEL)
    assert described["imagenet_mla_val_acc"] == pytest.approx(float(on_imagenet["mla_all"]), abs=1e-9)
    assert described["imagenet_top1_val_acc"] == float(on_imagenet["top1_val_acc"])
    hits = ModelFiles(imagenet_a, MODEL).top1 == imagenet_a.samples.targets
    assert described["top1_val_acc"] == pytest.approx(100 * hits.mean(), abs=1e-9)


# --- next to the published rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "tolerance"),
    [("num_collapsed_mappings", 0.5), ("num_ambiguous", 1.5), ("num_same_superclass", 2.5)],
)
def test_error_portions_follow_the_published_trend(shared, written, column, tolerance):
    """Shares of the errors in percentage points; measured: at most 0.35, 1.22 and 2.09 points off."""
    published = read(stats_table(PUBLISHED_TABLES, "imagenet", "all"))
    off = {
        row["model_dir_id"]: share(row, column) - trend(published, row, column)
        for row in written["all"]
        if row["model_dir_id"] != "pytorch--alexnet"  # less accurate than any published model
    }
    assert len(off) == 11
    assert {model: round(points, 2) for model, points in off.items() if abs(points) > tolerance} == {}


def share(row: dict[str, str], column: str) -> float:
    return 100 * int(row[column]) / int(row["num_group_top1_errors"])


def trend(published: list[dict[str, str]], row: dict[str, str], column: str) -> float:
    """The mean share of the rows within 0.5 points of the accuracy, or of the 8 nearest where fewer are that near."""

    def distance(other):
        return abs(int(other["num_group_correct"]) - int(row["num_group_correct"])) / 18_692

    nearest = sorted(published, key=distance)
    within = [other for other in nearest if distance(other) <= 0.005]
    near = within if len(within) >= 8 else nearest[:8]
    return sum(share(other, column) for other in near) / len(near)


def test_committed_tables_equal_those_of_this_code(shared, analysed):
    for path in (REPOSITORY / "stats-imagenet").glob("*.csv"):
        made = pd.read_csv(analysed / "results" / "stats-imagenet" / path.name)
        pd.testing.assert_frame_equal(pd.read_csv(path), made, rtol=0, atol=1e-9)


def test_committed_lists_equal_those_of_this_code(shared, analysed):
    committed = {path.name: path.read_text() for path in (REPOSITORY / "common_error_samples").glob("*.txt")}
    made = {path.name: path.read_text() for path in (analysed / "results" / "common_error_samples").glob("*.txt")}
    assert committed == made
