"""The numbers behind the figures: every point counted again in plain Python; tables and flags that are refused."""

from collections import Counter
from dataclasses import replace

import pytest

from imagenet_errors.paths import PUBLISHED_TABLES
from imagenet_errors.plots import points
from imagenet_errors.plots.figure_table import Figure, load_figures, plot_against_imagenet_a
from imagenet_errors.plots.model_frames import load_frames
from tests.conftest import COMMITTED, ROOT, refused
from tests.helpers.plain_figures import (
    CORPORA,
    GROUPS,
    made_tables,
    plain_points,
    read,
    read_tables,
    write_tables,
)

ROWS = read(ROOT / "artefacts/figures.csv")
PUBLISHED = {row["dataset"]: row for row in ROWS}
FAILURES = "x_axis=mla_all_y_axis=num_not_classified_relative_to_group_mle_marker=training_data_color="
FAILURES += "training_data_size_groups=organism_artifact"
OVERLAP = (
    "x_axis=top1_val_acc_y_axis=num_collapsed_mappings_abs_marker=training_data_color=training_data_size_groups=all"
)
SHARES = "*num_collapsed_mappings_relative_to_group_top1_err*groups=organism_artifact"
ARCH_GROUPS = {
    **{"ResNet": 196, "EfficientNet": 141, "CNN": 96, "RegNet": 61, "ConvNeXt": 55, "Hybrid": 46, "MetaFormer": 42},
    **{"MLP": 14, "ViT": 180, "XCiT": 42, "MaxViT": 35, "Swin": 29, "EVA": 16, "BEIT": 9},
}


@pytest.fixture(scope="module")
def published():
    """{dataset: (frames as the figures read them, the same tables as plain rows)}"""
    folder = PUBLISHED_TABLES
    return {dataset: (load_frames(folder, dataset), read_tables(folder, dataset)) for dataset in PUBLISHED}


def points_of(figure: Figure, frames) -> list[tuple]:
    """(group, model, x, y) of a figure's points."""
    found = points.compute_points(figure, frames)
    return list(found[["group", "model_dir_id", "x", "y"]].itertuples(index=False, name=None))


@pytest.fixture
def draw(call, tmp_path):
    """Draw from the tables in `tmp_path`, as PNG, in this process."""

    def run(*flags, figure=OVERLAP, dataset="imagenet"):
        which = ("--figure", figure) if figure else ()
        folders = ("--stats_dir", tmp_path, "--results_dir", tmp_path / "out")
        return call("utils_plot", "--dataset", dataset, *folders, "--jobs", 1, "--format", "png", *which, *flags)

    return run


def same(found, expected) -> bool:
    """The same groups and models in the same order, and numbers equal to 1e-9."""
    assert [point[:2] for point in found] == [point[:2] for point in expected]
    assert [n for point in found for n in point[2:]] == pytest.approx([n for p in expected for n in p[2:]], abs=1e-9)
    return True


def shown(folder, dataset="imagenet") -> list[str]:
    """The pictures drawn, without the legend that they share."""
    return sorted(path.name for path in (folder / "out/figures" / dataset).glob("x_axis*.png"))


# --- points ----------------------------------------------------------------------------------------------------------


def test_figure_table_is_the_specified_one(shared):
    specified = shared.parent / "design/figures.csv"
    if not specified.exists():
        pytest.skip(f"{specified} is absent")
    assert read(specified) == ROWS
    assert Counter(row["dataset"] for row in ROWS) == {"imagenet": 50, "imagenet-a": 44}


def test_points_of_all_figures_equal_a_plain_recount(published):
    loaded = load_figures(COMMITTED)
    assert len(loaded) == 94
    for figure, row in zip(loaded, ROWS, strict=True):
        frames, tables = published[row["dataset"]]
        assert same(points_of(figure, frames), plain_points(row, tables)), row["file_stem"]


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_saved_points_are_those_plotted(draw, tmp_path, dataset):
    write_tables(tmp_path, made_tables(30, dataset), dataset)
    of_dataset = [row for row in ROWS if row["dataset"] == dataset]
    row = next(r for r in of_dataset if r["y_unit"] == "percent" and r["groups"] == "organism artifact")
    assert draw("--save_data", figure=row["file_stem"], dataset=dataset).status == 0
    path = tmp_path / "out/figures" / dataset / f"{row['file_stem']}.csv"
    assert path.read_text().splitlines()[0] == "group,model_dir_id,x,y"
    saved = [(r["group"], r["model_dir_id"], float(r["x"]), float(r["y"])) for r in read(path)]
    assert same(saved, plain_points(row, read_tables(tmp_path, dataset)))


def test_points_against_imagenet_a_accuracy_keep_their_y(published):
    frames, tables = published["imagenet-a"]
    row = next(row for row in ROWS if row["dataset"] == "imagenet-a" and row["linear_fit"] == "yes")
    figure = plot_against_imagenet_a(Figure.from_row(row))
    assert same(points_of(figure, frames), plain_points(row, tables, "imagenet_a_top1_val_acc"))
    own = [float(model["top1_val_acc"]) for model in tables["all"]]
    assert frames["other"].imagenet_a_top1_val_acc.tolist() == pytest.approx(own, abs=1e-3)


def test_limits_contain_all_points(published):
    widened = 0
    for figure in load_figures(COMMITTED):
        of_figure = points.compute_points(figure, published[figure.dataset][0])
        wider = False
        for name in "xy":
            values, (low, high) = of_figure[name], getattr(figure, f"{name}_limits")
            drawn = points.widen_limits((low, high), values.to_numpy())
            assert drawn[0] <= min(values) <= max(values) <= drawn[1]
            assert (drawn[0] < low, drawn[1] > high) == (min(values) < low, max(values) > high)
            wider |= drawn != (low, high)
        widened += wider
    assert widened == 12


def test_widened_limits_keep_a_margin():
    import numpy as np

    assert points.widen_limits((0, 10), np.array([-1.0, 12.0]), 0.1) == (-2, 13)
    assert points.widen_limits((0, 10), np.array([0.0, 10.0]), 0.1) == (0, 10)
    assert points.widen_limits((0, 10), np.array([]), 0.1) == (0, 10)


# --- derived columns -------------------------------------------------------------------------------------------------


def test_derived_columns_have_the_specified_counts(published):
    for frames, _ in published.values():
        for group in GROUPS:
            frame = frames[group]
            corpora = {corpus: (known[0], known[1], known[3]) for corpus, known in CORPORA.items()}
            named = zip(frame.training_data, frame.training_data_size, frame.training_data_group, strict=True)
            assert {name: (*rest, n) for (name, *rest), n in Counter(named).items()} == corpora
            assert Counter(frame.arch_group) == ARCH_GROUPS
            assert Counter(frame.pretrain_method) == {
                **{"Standard": 761, "Distillation": 79, "Self-Supervised Learning": 45},
                **{"CLIP Training": 34, "Semi-Supervised Learning": 32, "Adversarial Training": 11},
            }


@pytest.mark.parametrize("cell", ["unknown", "", "None", "['Distillation', 'Adversarial Training']"])
def test_unreadable_pretrain_method_is_unknown(tmp_path, cell):
    tables = made_tables(3)
    for rows in tables.values():
        rows[1]["extra_annotations"] = cell
    write_tables(tmp_path, tables)
    methods = load_frames(tmp_path, "imagenet")["all"].pretrain_method.tolist()
    assert methods == ["Standard", "unknown", "Standard"]


def test_derived_columns_of_the_tables_are_kept(tmp_path):
    tables = made_tables(4)
    for rows in tables.values():
        for row in rows:
            row |= {"training_data_size": 5e6, "training_data_group": "small (< 5M)", "pretrain_method": "Standard"}
    write_tables(tmp_path, tables)
    frame = load_frames(tmp_path, "imagenet")["all"]
    assert frame.training_data_size.tolist() == [5e6] * 4
    assert set(frame.training_data_group) == {"small (< 5M)"}
    assert set(frame.pretrain_method) == {"Standard"}


# --- what cannot be drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [False, True], ids=["empty", "absent"])
def test_skipped_step_leaves_out_only_the_figures_that_need_it(draw, tmp_path, absent):
    skipped = ("num_OOV_clip", "num_common_co_occ", "num_non_prototypical", "num_not_classified")
    tables = made_tables(4)
    for rows in tables.values():
        for row in rows:
            row.update(dict.fromkeys(skipped, ""))
            if absent:
                del row["num_OOV_clip"]
    write_tables(tmp_path, tables)
    done = draw("--family", "class_overlap", "fine_grained_OOV", figure="*groups=all")
    assert done.status == 1, done.stderr
    left_out = [line for line in done.stderr.splitlines() if "left out" in line]
    assert len(left_out) == 1
    assert all(word in left_out[0] for word in ("2 of the figures", "num_OOV_clip", "compute_clip"))
    drawn = [row["file_stem"] for row in ROWS if row["family"] == "class_overlap" and row["dataset"] == "imagenet"]
    assert shown(tmp_path) == sorted(f"{stem}.png" for stem in drawn if stem.endswith("groups=all"))


def test_missing_imagenet_accuracies_name_the_step_that_writes_them(draw, tmp_path):
    tables = made_tables(3, "imagenet-a")
    for rows in tables.values():
        for row in rows:
            row |= {"imagenet_mla_val_acc": "", "imagenet_top1_val_acc": ""}
    write_tables(tmp_path, tables, "imagenet-a")
    done = draw("--family", "class_overlap", figure=None, dataset="imagenet-a")
    assert done.status == 1
    assert "ImageNet predictions" in done.stderr
    assert shown(tmp_path, "imagenet-a") == []


def test_single_model_is_drawn(draw, tmp_path):
    write_tables(tmp_path, made_tables(1))
    done = draw("--save_data", figure=FAILURES)
    assert done.status == 0, done.stderr
    assert len(shown(tmp_path)) == 1
    assert len(read(tmp_path / f"out/figures/imagenet/{FAILURES}.csv")) == 2
    (line,) = [line for line in done.stderr.splitlines() if "without a line" in line]
    assert line.startswith("imagenet: segments without a line: 4 (fewer than 3 models, or all of one accuracy): ")
    assert line.count(FAILURES) == 3
    assert line.endswith(" and 1 more")


def test_tables_without_models_are_refused(draw, tmp_path):
    write_tables(tmp_path, made_tables(2))
    for path in (tmp_path / "stats-imagenet").iterdir():
        path.write_text(path.read_text().splitlines()[0] + "\n")
    assert refused(draw(), "lists no model", "non_problematic_stats_all.csv")
    assert not (tmp_path / "out").exists()


def test_model_without_errors_is_left_out_and_counted(draw, tmp_path):
    tables = made_tables(5)
    row = tables["artifact"][2]
    for name in row:
        if name.startswith("num_") and name not in ("num_params", "num_group_samples", "num_group_correct"):
            row[name] = 0
    row["num_group_correct"] = row["num_group_samples"]
    write_tables(tmp_path, tables)
    done = draw("--save_data", figure=SHARES)
    assert done.status == 0
    assert "figures without some points: 1 (empty cells or zero denominators)" in done.stderr
    assert "(1 of 10)" in done.stderr
    (path,) = (tmp_path / "out/figures/imagenet").glob("*organism_artifact.csv")
    assert Counter(row["group"] for row in read(path)) == {"organism": 5, "artifact": 4}


def test_missing_table_is_refused_by_name(draw, tmp_path):
    write_tables(tmp_path, made_tables(3))
    (tmp_path / "stats-imagenet/non_problematic_stats_other.csv").unlink()
    assert refused(draw(), "non_problematic_stats_other.csv is missing", "or give another folder of tables")


def test_zero_denominator_gives_no_point(tmp_path):
    tables = made_tables(3)
    for rows in tables.values():
        row = rows[1]
        row |= dict.fromkeys(("num_same_superclass", "num_common_co_occ", "num_non_prototypical", "num_OOV_clip"), 0)
        row |= {"num_not_classified": 0, "num_ambiguous": row["num_group_top1_errors"] - row["num_collapsed_mappings"]}
    write_tables(tmp_path, tables)
    figure = next(figure for figure in load_figures(COMMITTED) if figure.y_computation == "relative_to_group_mle")
    for computation in ("relative_to_group_mle", "relative_to_all_mle"):
        changed = replace(figure, y="num_collapsed_mappings", y_computation=computation, groups=("organism",))
        found = points.compute_points(changed, load_frames(tmp_path, "imagenet"))
        assert found.model_dir_id.tolist() == ["made--model0", "made--model2"]


@pytest.mark.parametrize("group", ["artifact", "other"])
def test_tables_of_other_models_or_order_are_refused(draw, tmp_path, group):
    tables = made_tables(3)
    tables[group] = [tables[group][at] for at in (1, 0, 2)]
    write_tables(tmp_path, tables)
    assert refused(draw(), f"non_problematic_stats_{group}.csv", "another order")
    tables[group] = tables[group][:2]
    write_tables(tmp_path, tables)
    assert refused(draw(), f"non_problematic_stats_{group}.csv", "other models")


@pytest.mark.parametrize("column", ["num_group_correct", "num_group_top1_errors", "num_ambiguous", "num_OOV_clip"])
def test_tables_that_do_not_add_up_are_refused(draw, tmp_path, column):
    tables = made_tables(3)
    tables["organism"][1][column] += 1
    write_tables(tmp_path, tables)
    assert refused(draw(), "non_problematic_stats_organism.csv", "made--model1", "do not add up")


@pytest.mark.parametrize("column", ["num_ambiguous", "num_non_prototypical"])
def test_error_types_that_imagenet_a_does_not_have_are_refused(draw, tmp_path, column):
    tables = made_tables(3, "imagenet-a")
    tables["organism"][1][column] += 1
    tables["organism"][1]["num_same_superclass"] -= 1
    write_tables(tmp_path, tables, "imagenet-a")
    figure = next(row["file_stem"] for row in ROWS if row["dataset"] == "imagenet-a")
    assert refused(draw(figure=figure, dataset="imagenet-a"), "non_problematic_stats_organism.csv", "made--model1")


def test_model_listed_twice_is_refused(draw, tmp_path):
    tables = made_tables(3)
    for rows in tables.values():
        rows.append(rows[1])
    write_tables(tmp_path, tables)
    assert refused(draw(), "made--model1 twice")


@pytest.mark.parametrize("cell", ["many", "inf", "1,5"])
def test_cell_that_is_not_a_number_is_refused(draw, tmp_path, cell):
    tables = made_tables(3)
    tables["all"][1]["top1_val_acc"] = cell
    write_tables(tmp_path, tables)
    assert refused(draw(), "non_problematic_stats_all.csv", "number")


@pytest.mark.parametrize(
    "column", ["model_dir_id", "training_data", "num_group_samples", "num_group_correct", "num_group_top1_errors"]
)
def test_lack_of_a_required_column_is_refused(draw, tmp_path, column):
    tables = made_tables(3)
    for row in tables["other"]:
        del row[column]
    write_tables(tmp_path, tables)
    assert refused(draw(), "non_problematic_stats_other.csv", column)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2,3\n4\n"], ids=["empty", "binary", "ragged"])
def test_damaged_table_is_refused(draw, tmp_path, content):
    write_tables(tmp_path, made_tables(3))
    (tmp_path / "stats-imagenet/non_problematic_stats_artifact.csv").write_bytes(content)
    assert refused(draw(), "non_problematic_stats_artifact.csv")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [(",abs,", ",apes,", "apes"), (",50,95,", ",fifty,95,", "fifty"), ("y_label,", "label,", "y_label")],
)
def test_damaged_figure_table_is_refused(draw, tmp_path, old, new, word):
    write_tables(tmp_path, made_tables(3))
    (tmp_path / "artefacts").mkdir()
    text = (ROOT / "artefacts/figures.csv").read_text()
    assert old in text
    (tmp_path / "artefacts/figures.csv").write_text(text.replace(old, new, 1))
    assert refused(draw("--artefacts_dir", tmp_path / "artefacts"), "figures.csv", word)


# --- which figures, which models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "keeps"),
    [
        (["num_params<5e7"], lambda row: float(row["num_params"]) < 5e7),
        (["num_params >= 5e7"], lambda row: float(row["num_params"]) >= 5e7),
        (["arch_group==ViT"], lambda row: row["arch_group"] == "ViT"),
        (["training_data!='WIT (400M)'"], lambda row: row["training_data"] != "WIT (400M)"),
        (["pretrain_method==CLIP Training"], lambda row: "CLIP Training" in row["extra_annotations"]),
        (["training_data_size<=1.2e6"], lambda row: row["training_data"] == "ImageNet-1k (1.2M)"),
        (["arch_group==ViT", "top1_val_acc>70"], lambda r: r["arch_group"] == "ViT" and float(r["top1_val_acc"]) > 70),
    ],
)
def test_filter_keeps_the_models_that_meet_it(tmp_path, conditions, keeps):
    tables = made_tables(48)
    write_tables(tmp_path, tables)
    expected = [row["model_dir_id"] for row in tables["all"] if keeps(row)]
    assert 0 < len(expected) < 48
    frames = load_frames(tmp_path, "imagenet", conditions)
    for group in GROUPS:
        assert frames[group].model_dir_id.tolist() == expected
        errors = {row["model_dir_id"]: row["num_group_top1_errors"] for row in tables[group]}
        assert frames[group].num_group_top1_errors.tolist() == [errors[model] for model in expected]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("num_param<5e7", ["unknown column 'num_param'", "did you mean 'num_params'"]),
        ("num_params<many", ["'many' is not a number"]),
        ("num_params", ["is not a condition"]),
        ("arch_group<ViT", ["arch_group is a text"]),
        ("num_params<1", ["lists no model that meets num_params<1"]),
    ],
)
def test_malformed_filter_is_refused(draw, tmp_path, condition, words):
    write_tables(tmp_path, made_tables(3))
    assert refused(draw("--filter", condition), *words)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--family", "class_overlaps"], ["--family", "did you mean 'class_overlap'"]),
        (["--figure", OVERLAP[:-1]], ["--figure", f"did you mean '{OVERLAP}'"]),
        (["--figure", "nothing*"], ["--figure", "unknown figure 'nothing*'"]),
        (["--family", "non_proto", "--figure", OVERLAP], ["--figure"]),
        (["--format", "png,gif"], ["--format", "'gif' is not one of png, pdf, svg"]),
    ],
)
def test_mistyped_choice_is_refused(draw, tmp_path, flags, words):
    write_tables(tmp_path, made_tables(3))
    assert refused(draw(*flags, figure=None), *words)
    assert not (tmp_path / "out").exists()
