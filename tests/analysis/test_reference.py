"""A model's place among 962: the regression next to statsmodels', its calibration, and what has no place."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.nonparametric.smoothers_lowess import lowess
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from imagenet_errors.analysis.local_regression import fit_local_lines
from imagenet_errors.analysis.reference import (
    CELLS,
    NEIGHBOURS,
    compute_calibration,
    load_reference,
    student_quantile,
)
from imagenet_errors.analysis.shares import (
    ERROR_NAMES,
    OF_TOP1_ERRORS,
    adjust_p_values,
    compute_shares,
    count_denominators,
    wilson_intervals,
)
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.error_types import CODES, ERROR_CODES, ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.formats import stats_tables
from imagenet_errors.paths import PUBLISHED_TABLES, stats_table
from imagenet_errors.plots.figure_table import DENOMINATORS
from tests.conftest import ROOT

DATASETS = ("imagenet", "imagenet-a")
COLUMNS = [ERROR_TYPES[code].column for code in ERROR_CODES]


@pytest.fixture(scope="module")
def references():
    return {dataset: load_reference(dataset) for dataset in DATASETS}


@pytest.fixture(scope="module")
def reference(references):
    return references["imagenet"]


@pytest.fixture(scope="module")
def calibrations(references):
    return {dataset: compute_calibration(reference) for dataset, reference in references.items()}


def without(reference, model: str):
    """The reference as if it had never had this model."""
    kept = [row for row, other in enumerate(reference.models) if other != model]
    models = tuple(reference.models[row] for row in kept)
    return replace(reference, models=models, mla=reference.mla[kept], shares=reference.shares[kept])


def plain_place(x: np.ndarray, y: np.ndarray, at: float) -> tuple[float, float, float, float, np.ndarray]:
    """Expected y, spread, error and degrees of freedom at one x, and the residuals, with statsmodels and matrices."""
    nearest = np.argsort(np.abs(x - at), kind="stable")[:NEIGHBOURS]
    x, y = x[nearest], y[nearest]
    weights = (1 - (np.abs(x - at) / np.abs(x - at).max()) ** 3) ** 3
    line = sm.WLS(y, sm.add_constant(x - at), weights=weights).fit()
    terms, diagonal = sm.add_constant(x - at), np.diag(weights)
    hat = terms @ np.linalg.inv(terms.T @ diagonal @ terms) @ terms.T @ diagonal
    unexplained = np.eye(NEIGHBOURS) - hat
    variance = line.resid @ diagonal @ line.resid / np.trace(unexplained.T @ diagonal @ unexplained)
    of_line = np.linalg.inv(terms.T @ diagonal @ terms) @ terms.T @ diagonal
    error = np.sqrt(variance * (1 + (of_line[0] ** 2).sum()))
    degrees = weights.sum() ** 2 / (weights**2).sum() - 2
    return line.params[0], np.sqrt(variance), error, degrees, line.resid


# -- the regression --


def test_expected_shares_are_those_of_lowess(reference):
    at = np.linspace(reference.mla.min(), reference.mla.max(), 40)
    expected = reference.fit(at).expected
    for cell, shares in enumerate(reference.shares.reshape(len(reference.models), -1).T):
        smooth = lowess(shares, reference.mla, frac=(NEIGHBOURS + 0.5) / len(shares), it=0, xvals=at)
        assert expected[:, cell] == pytest.approx(smooth, abs=1e-6), CELLS[cell]


@pytest.mark.parametrize("mla", [64.5, 70, 85, 91.234, 97.7])
def test_place_equals_a_plain_computation(reference, mla):
    for cell in [("all", "fine_grained"), ("other", "spurious_correlation")]:
        shares = reference.shares[:, GROUPS.index(cell[0]), ERROR_NAMES.index(cell[1])]
        expected, spread, error, degrees, residuals = plain_place(reference.mla, shares, mla)
        place = reference.place(*cell, mla, share := expected + 1.7 * error)
        quantile = stats.t.ppf(0.975, degrees)
        assert (place.expected, place.spread) == pytest.approx((expected, spread))
        assert (place.low, place.high) == pytest.approx((expected - quantile * error, expected + quantile * error))
        assert place.deviation == pytest.approx(1.7)
        assert place.p_value == pytest.approx(2 * stats.t.sf(1.7, degrees))
        assert place.smaller == (residuals < share - expected).sum()
        assert place.smaller + place.larger == place.neighbours == NEIGHBOURS
        assert place.percentile == pytest.approx(stats.percentileofscore(residuals, share - expected, "mean"))


@pytest.mark.parametrize("row", [0, 500, 961])
def test_a_left_out_model_is_as_if_it_were_not_there(reference, row):
    model, mla, share = reference.models[row], reference.mla[row], reference.shares[row, 0, 2]
    alone = without(reference, model).place("all", "fine_grained", mla, share)
    assert reference.place("all", "fine_grained", mla, share, leave_out=model) == alone
    assert reference.place("all", "fine_grained", mla, share, leave_out="me--other") != alone


def test_spread_and_interval_are_right_where_the_truth_is_known():
    """Errors of variance 1 about a line: the mean variance found is 1, and 95 % of new points are in the interval."""
    chance = np.random.default_rng(0)
    x, places, new = chance.uniform(0, 1, 400), np.array([0.0, 0.3, 1.0]), chance.normal(size=(3, 4000))
    y = 3 * x[:, None] + chance.normal(size=(400, 4000))
    lines = fit_local_lines(x, y, places, 40)
    assert (lines.spread**2).mean(axis=1) == pytest.approx(np.ones(3), abs=0.02)
    inside = np.abs(3 * places[:, None] + new - lines.expected) <= student_quantile(lines)[:, None] * lines.errors
    assert inside.mean(axis=1) == pytest.approx(np.full(3, 0.95), abs=0.01)


def test_nearest_points_of_one_x_have_their_mean():
    lines = fit_local_lines(np.array([1.0, 1, 1, 1, 9]), np.array([[2.0], [4], [6], [8], [99]]), np.array([1.0]), 4)
    assert (lines.expected[0, 0], lines.spread[0, 0]) == pytest.approx((5, np.std([2, 4, 6, 8], ddof=1)))


# -- calibration --


@pytest.mark.parametrize("dataset", DATASETS)
def test_intervals_cover_95_percent_of_the_reference_in_every_cell(references, calibrations, dataset):
    coverage = calibrations[dataset].coverage
    assert (np.isnan(coverage) == ~references[dataset].has_places).all()
    assert np.nanmin(coverage) >= 93
    assert np.nanmax(coverage) <= 97
    assert calibrations[dataset].num_placed == 960  # all but both ends of the range


def test_calibration_counts_single_places(reference):
    """Of 170 models and the cells of all images, counted again with single places and the whole of Holm's method."""
    rows = np.arange(2, 962, 962 // 170)[:170]
    few = replace(
        reference,
        models=tuple(reference.models[row] for row in rows),
        mla=reference.mla[rows],
        shares=reference.shares[rows],
        median_counts=np.where(np.array(GROUPS)[:, None] == "all", reference.median_counts, 0),
    )
    inside, standing_out = [], 0
    for model, mla, shares in zip(few.models, few.mla, few.shares[:, 0], strict=True):
        cells = zip(ERROR_NAMES, shares, strict=True)
        places = [few.place("all", name, mla, share, leave_out=model) for name, share in cells]
        if places[0] is not None:
            standing_out += (adjust_p_values(np.array([place.p_value for place in places])) <= 0.05).any()
            inside.append([place.low <= share <= place.high for place, share in zip(places, shares, strict=True)])
    calibration = compute_calibration(few)
    assert calibration.num_placed == len(inside) == 168
    assert calibration.num_comparisons == 7
    assert calibration.num_standing_out == standing_out > 0
    assert calibration.coverage[0] == pytest.approx(100 * np.mean(inside, axis=0))
    assert np.isnan(calibration.coverage[1:]).all()


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_documented_calibration_is_this_one(calibrations, dataset):
    text = (ROOT / "docs" / "fidelity.md").read_text().split("\n## How the place")[1].split("\n## ")[0]
    calibration = calibrations[dataset]
    for code in ERROR_CODES:
        (row,) = re.findall(rf"^\| {ERROR_TYPES[code].title} \|(.*)\|$", text, re.MULTILINE)
        cells = [cell.strip() for cell in row.split("|")][4 * DATASETS.index(dataset) :][:4]
        coverage = calibration.coverage[:, ERROR_CODES.index(code)]
        assert cells == ["–" if np.isnan(value) else f"{value:.1f}" for value in coverage]
    title = {"imagenet": "ImageNet", "imagenet-a": "ImageNet-A"}[dataset]
    percent = 100 * calibration.num_standing_out / calibration.num_placed
    counted = f"{calibration.num_standing_out} of {calibration.num_placed} on {title} ({percent:.1f} %)"
    assert counted in " ".join(text.split())


def test_of_the_shared_sets_the_vit_alone_is_not_within_two_standard_errors(reference):
    """Two of the twelve are less accurate than any published model, and have no place."""
    table = stats_tables.read(ROOT, "imagenet")["all"]
    shares = compute_shares(table[COLUMNS].to_numpy(), table.num_group_top1_errors.to_numpy())[:, 2]
    places = {
        model: reference.place("all", "fine_grained", mla, share)
        for model, mla, share in zip(table.model_dir_id, table.mla_all, shares, strict=True)
    }
    assert {model for model, place in places.items() if place is None} == {"pytorch--alexnet", "pytorch--squeezenet1_1"}
    assert {model for model, place in places.items() if place and abs(place.deviation) > 2} == {"imagenetx--ViT"}
    assert places["imagenetx--ViT"].deviation == pytest.approx(3.0, abs=0.05)


def test_shares_vary_little_around_what_is_expected(reference):
    spreads = np.median(reference.fit(reference.mla, np.arange(962)).spread, axis=0)
    found = [spreads[CELLS.index(("all", name))] for name in ERROR_NAMES[:3]]
    assert found == pytest.approx([0.20, 0.53, 1.55], abs=0.01)


# -- what has no place --


def test_what_has_no_place_says_why(reference):
    lowest = reference.models[reference.mla.argmin()]
    for words, cell, mla, leave_out in (
        ("MLA is 61.70 %, the reference's 64.29 to 97.80 %", ("all", "fine_grained"), 61.7, None),
        ("MLA is 64.30 %, the reference's 65.33 to 97.80 %", ("all", "fine_grained"), 64.3, lowest),
        ("MLA is unknown", ("all", "fine_grained"), None, None),
        ("median count is 2, below 5", ("organism", "non_prototypical"), 90, None),
    ):
        assert words in reference.explain_absence(*cell, mla, leave_out)
        assert reference.place(*cell, mla, 30, leave_out) is None
    assert reference.explain_absence("all", "fine_grained", 90) == ""
    assert reference.place("all", "fine_grained", 90, np.nan) is None  # no multi-label errors


def test_cells_of_small_counts_have_no_place(references):
    absent = {
        dataset: {cell for cell, has in zip(CELLS, reference.has_places.ravel(), strict=True) if not has}
        for dataset, reference in references.items()
    }
    assert absent["imagenet"] == {
        *(("other", "class_overlap"), ("other", "non_prototypical"), ("organism", "non_prototypical"))
    }
    assert absent["imagenet-a"] == {
        *((group, name) for group in GROUPS for name in ("missing_multi_label", "non_prototypical")),
        *(("artifact", "class_overlap"), ("other", "class_overlap")),
    }


def test_shares_that_do_not_vary_have_no_place(reference):
    same = replace(reference, shares=np.full_like(reference.shares, 30))
    assert "do not vary" in same.explain_absence("all", "fine_grained", 90)
    assert same.place("all", "fine_grained", 90, 31) is None


# -- references of users --


@pytest.fixture
def own(tmp_path):
    """Copy the published tables with a change: `own(lambda table: table.iloc[:9])` gives the folder."""

    def copy(change=lambda table: table, groups=GROUPS):
        shutil.copytree(PUBLISHED_TABLES / "stats-imagenet", tmp_path / "stats-imagenet", dirs_exist_ok=True)
        tables = stats_tables.read(PUBLISHED_TABLES, "imagenet")
        for group in groups:
            change(tables[group]).to_csv(stats_table(tmp_path, "imagenet", group), index=False)
        return tmp_path

    return copy


def set_cell(column: str, value: float, row: int = 3):
    def change(table):
        return table.assign(**{column: table[column].where(table.index != row, value)})

    return change


def recount(table):
    """One model that was counted on one image fewer."""
    fewer = table.index == 3
    return table.assign(**{name: table[name] - fewer for name in ("num_group_samples", "num_group_correct")})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.iloc[:150], "lists 150 models: a reference takes more than 150"),
        (lambda table: table.drop(columns="mla_all"), "lacks the column 'mla_all'"),
        (lambda table: table.drop(columns="num_ambiguous"), "num_ambiguous of .* is empty"),
        (set_cell("mla_all", np.nan), "mla_all of .* is empty"),
        (recount, "was counted on 18,691 images, .* on 18,692"),
    ],
)
def test_bad_reference_is_told_in_one_line(own, change, words):
    with pytest.raises(InputError, match=words) as raised:
        load_reference("imagenet", own(change))
    assert "\n" not in str(raised.value)


def test_missing_reference_is_told(tmp_path):
    with pytest.raises(InputError, match=r"stats_all\.csv is missing: a reference is a folder"):
        load_reference("imagenet", tmp_path)


def test_reference_without_open_world_test_places_the_types_before_it(own):
    after = dict.fromkeys(COLUMNS[3:], np.nan)
    reference = load_reference("imagenet", own(lambda table: table.assign(**after)))
    assert reference.has_places[0].tolist() == [True] * 3 + [False] * 4
    assert "does not know this share" in reference.explain_absence("all", "model_failure", 90)
    calibration = compute_calibration(reference)
    assert calibration.num_comparisons == 11
    assert np.isnan(calibration.coverage[:, 3:]).all()


# -- shares --


def test_shares_are_those_of_the_figures(reference):
    tables = stats_tables.read(PUBLISHED_TABLES, "imagenet")
    for group, name in CELLS:
        table = tables[group]
        computation = "relative_to_group_top1_err" if name in OF_TOP1_ERRORS else "relative_to_group_mle"
        y = 100 * table[ERROR_TYPES[CODES[name]].column] / DENOMINATORS[computation](table, tables["all"])
        shares = reference.shares[:, GROUPS.index(group), ERROR_NAMES.index(name)]
        assert shares == pytest.approx(y.to_numpy())


def test_share_of_no_errors_is_unknown():
    counts, top1_errors = np.array([[2, 3, 0, 0, 0, 0, 0], [0] * 7]), np.array([5, 0])
    assert count_denominators(counts, top1_errors).tolist() == [[5, 5, 0, 0, 0, 0, 0], [0] * 7]
    assert compute_shares(counts, top1_errors)[0, :2].tolist() == [40, 60]
    assert np.isnan(compute_shares(counts, top1_errors)[0, 2:]).all()
    assert np.isnan(compute_shares(counts, top1_errors)[1]).all()


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_interval_equals_that_of_statsmodels(numbers):
    expected = proportion_confint(*numbers, method="wilson")
    assert wilson_intervals(*numbers) == pytest.approx(100 * np.array(expected), abs=1e-9)


def test_wilson_interval_of_nothing_is_unknown():
    low, high = wilson_intervals(np.array([0, 0]), np.array([0, 10]))
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == pytest.approx((0, 27.753), abs=0.001)


@pytest.mark.parametrize("p_values", [[0.01], [0.03, 0.001, 0.9, 0.02, 0.02, 0.6], [1, 0, 0.5]])
def test_adjusted_p_values_are_those_of_statsmodels(p_values):
    assert adjust_p_values(np.array(p_values)) == pytest.approx(multipletests(p_values, method="holm")[1])
