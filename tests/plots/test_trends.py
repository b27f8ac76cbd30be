"""The trends: slopes, partial R squared and F tests computed again with numpy, and what has no trend."""

import subprocess

import numpy as np
import pytest
from scipy import stats as distributions

from imagenet_errors.paths import PUBLISHED_TABLES
from imagenet_errors.plots import trends
from imagenet_errors.plots.model_frames import load_frames
from tests.conftest import ROOT, refused
from tests.helpers.plain_figures import (
    CORPORA,
    GROUPS,
    SEVEN,
    made_tables,
    multi_label_errors,
    read,
    read_tables,
    write_tables,
)

COLUMNS = (
    "error_type,group,share_of,accuracy,n,slope,slope_low,slope_high,r,r_squared,r_squared_bent,"
    "corpus_partial_r_squared,corpus_coefficient,corpus_low,corpus_high,corpus_f,corpus_p,"
    "arch_partial_r_squared,arch_f,arch_p"
)


@pytest.fixture
def ask(call, tmp_path):
    """Ask for the trends of the tables in `tmp_path`."""

    def run(*flags):
        return call("utils_plot", "--trends", "--stats_dir", tmp_path, "--results_dir", tmp_path / "out", *flags)

    return run


def squares(y: np.ndarray, *columns: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, int]:
    """Residual sum of squares, coefficients and their standard errors, and degrees of freedom left."""
    design = np.column_stack([np.ones(len(y)), *columns])
    coefficients, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    assert rank == design.shape[1]
    left = len(y) - rank
    rest = float(((y - design @ coefficients) ** 2).sum())
    return rest, coefficients, np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rest / left), left


def added(y: np.ndarray, x: np.ndarray, *more: np.ndarray) -> dict[str, float]:
    """What columns add to a parabola: partial R squared, F and p; the last column's coefficient and its interval."""
    x = (x - x.mean()) / x.std()
    without, *_ = squares(y, x, x**2)
    rest, coefficients, errors, left = squares(y, x, x**2, *more)
    f = (without - rest) / len(more) / (rest / left)
    reach = distributions.t.ppf(0.975, left) * errors[-1]
    return {
        "partial_r_squared": 1 - rest / without,
        "f": f,
        "p": distributions.f.sf(f, len(more), left),
        "coefficient": coefficients[-1],
        "low": coefficients[-1] - reach,
        "high": coefficients[-1] + reach,
    }


@pytest.fixture(scope="module")
def published():
    """{dataset: rows of the trends of the paper's tables}"""
    return {
        dataset: trends.compute_trends(dataset, load_frames(PUBLISHED_TABLES, dataset))
        for dataset in ("imagenet", "imagenet-a")
    }


@pytest.mark.parametrize(
    ("dataset", "error_type", "group", "accuracy"),
    [
        ("imagenet", "num_collapsed_mappings", "all", "top1_val_acc"),
        ("imagenet", "num_ambiguous", "other", "top1_val_acc"),
        ("imagenet", "num_not_classified", "artifact", "mla_all"),
        ("imagenet-a", "num_collapsed_mappings", "organism", "imagenet_top1_val_acc"),
        ("imagenet-a", "num_OOV_clip", "all", "imagenet_mla_val_acc"),
    ],
)
def test_trends_equal_plain_least_squares(published, dataset, error_type, group, accuracy):
    (row,) = (row for row in published[dataset] if (row["error_type"], row["group"]) == (error_type, group))
    models = read_tables(PUBLISHED_TABLES, dataset)[group]
    top1 = error_type in ("num_collapsed_mappings", "num_ambiguous")
    wrong = [int(model["num_group_top1_errors"]) if top1 else multi_label_errors(model) for model in models]
    y = 100 * np.array([int(model[error_type]) for model in models]) / np.array(wrong)
    x = np.array([float(model[accuracy]) for model in models])
    size = np.log10([CORPORA[model["training_data"]][0] for model in models])
    archs = np.array([model["arch_group"] for model in models])
    indicators = [(archs == name).astype(float) for name in np.unique(archs)[1:]]

    rest, coefficients, errors, left = squares(y, x)
    reach = distributions.t.ppf(0.975, left) * errors[1]
    variance = float(((y - y.mean()) ** 2).sum())
    bent, *_ = squares(y, (x - x.mean()) / x.std(), ((x - x.mean()) / x.std()) ** 2)
    corpus, arch = added(y, x, size), added(y, x, *indicators)
    expected = {
        "n": 962,
        "slope": coefficients[1],
        "slope_low": coefficients[1] - reach,
        "slope_high": coefficients[1] + reach,
        "r": np.corrcoef(x, y)[0, 1],
        "r_squared": 1 - rest / variance,
        "r_squared_bent": 1 - bent / variance,
        **{f"corpus_{name}": number for name, number in corpus.items()},
        **{f"arch_{name}": arch[name] for name in ("partial_r_squared", "f", "p")},
    }
    found = {name: row[name] for name in expected}
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)
    assert row["accuracy"] == accuracy
    assert row["share_of"] == ("relative_to_group_top1_err" if top1 else "relative_to_group_mle")
    assert set(row) == set(COLUMNS.split(","))


def test_report_and_file_have_every_row_and_column(ask, tmp_path):
    write_tables(tmp_path, made_tables(48))
    done = ask("--dataset", "imagenet")
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    path = tmp_path / "out/figures/imagenet/trends.csv"
    assert path.read_text().splitlines()[0] == COLUMNS
    rows = read(path)
    assert [(row["error_type"], row["group"]) for row in rows] == [
        (column, group) for column in SEVEN for group in GROUPS
    ]
    assert all(cell for row in rows for cell in row.values())
    assert lines[0] == "imagenet:"
    assert [tuple(line.split()[:3]) for line in lines[3:]] == [(r["error_type"], r["group"], "48") for r in rows]
    for line, row in zip(lines[3:], rows, strict=True):
        numbers = line.replace("[", " ").replace("]", " ").replace(",", " ").split()[3:]
        names = ["slope", "slope_low", "slope_high", "r", "r_squared", "r_squared_bent"]
        names += ["corpus_partial_r_squared", "corpus_p", "arch_partial_r_squared", "arch_p"]
        assert [float(number) for number in numbers] == pytest.approx(
            [float(row[n]) for n in names], rel=0.06, abs=6e-3
        )
    assert not list((tmp_path / "out").rglob("*.p*"))


def test_each_dataset_has_its_own_file(ask, tmp_path):
    write_tables(tmp_path, made_tables(36))
    write_tables(tmp_path, made_tables(36, "imagenet-a"), "imagenet-a")
    done = ask()
    assert done.status == 0, done.stderr
    of_a = {row["error_type"] for row in read(tmp_path / "out/figures/imagenet-a/trends.csv")}
    assert of_a == set(SEVEN) - {"num_ambiguous", "num_non_prototypical"}  # zero throughout
    assert {row["error_type"] for row in read(tmp_path / "out/figures/imagenet/trends.csv")} == set(SEVEN)


def test_empty_column_has_no_trend(ask, tmp_path):
    tables = made_tables(36)
    for rows in tables.values():
        for row in rows:
            row |= dict.fromkeys(SEVEN[3:], "")
    write_tables(tmp_path, tables)
    assert ask("--dataset", "imagenet").status == 0
    assert {row["error_type"] for row in read(tmp_path / "out/figures/imagenet/trends.csv")} == set(SEVEN[:3])
    for rows in tables.values():
        for row in rows:
            row |= dict.fromkeys(SEVEN, "")
    write_tables(tmp_path, tables)
    assert refused(ask("--dataset", "imagenet"), "imagenet", "evaluation.py --collect_results")


@pytest.mark.parametrize(
    ("column", "value", "empty", "full"),
    [
        ("training_data", "JFT (300M)", "corpus", "arch"),
        ("arch_group", "ViT", "arch", "corpus"),
    ],
)
def test_single_corpus_or_architecture_leaves_its_columns_empty(ask, tmp_path, column, value, empty, full):
    tables = made_tables(36)
    for rows in tables.values():
        for row in rows:
            row[column] = value
    write_tables(tmp_path, tables)
    done = ask("--dataset", "imagenet")
    assert done.status == 0, done.stderr
    rows = read(tmp_path / "out/figures/imagenet/trends.csv")
    assert len(rows) == len(done.stdout.splitlines()) - 3 == 28
    for row in rows:
        assert {cell for name, cell in row.items() if name.startswith(f"{empty}_")} == {""}
        assert all(cell for name, cell in row.items() if not name.startswith(f"{empty}_"))
        assert float(row[f"{full}_partial_r_squared"]) >= 0


def test_fewer_than_thirty_models_have_no_trend(ask, tmp_path):
    write_tables(tmp_path, made_tables(29))
    done = ask("--dataset", "imagenet")
    assert done.status == 0, done.stderr
    rows = read(tmp_path / "out/figures/imagenet/trends.csv")
    assert len(rows) == 28
    assert {(row["n"], row["slope"], row["arch_p"]) for row in rows} == {("29", "", "")}
    assert done.stdout.count("fewer than 30 models") == 28


def test_models_of_unknown_corpora_are_left_out(ask, tmp_path):
    tables = made_tables(36)
    for rows in tables.values():
        for row in rows[:4]:
            row["training_data"] = "mine"
    write_tables(tmp_path, tables)
    assert ask("--dataset", "imagenet").status == 0
    assert {row["n"] for row in read(tmp_path / "out/figures/imagenet/trends.csv")} == {"32"}


@pytest.mark.parametrize("dataset", ["imagenet", "imagenet-a"])
def test_published_tables_are_used_and_named_where_no_others_are_given(call, ask, tmp_path, dataset):
    done = call("utils_plot", "--trends", "--dataset", dataset, "--results_dir", tmp_path)
    assert done.status == 0, done.stderr
    assert "the paper's published tables (962 models); --stats_dir results uses your own" in done.stderr
    made, committed = (read(folder / "figures" / dataset / "trends.csv") for folder in (tmp_path, ROOT))
    assert [row["error_type"] for row in made] == [row["error_type"] for row in committed]
    assert [float(row["slope"]) for row in made] == pytest.approx([float(row["slope"]) for row in committed])
    write_tables(tmp_path, made_tables(30, dataset), dataset)
    assert "962 models" not in ask("--dataset", dataset).stderr


def test_make_figures_uses_them_too():
    commands = subprocess.run(["make", "-n", "figures"], capture_output=True, text=True, cwd=ROOT).stdout
    assert "utils_plot.py  --results_dir" in commands
