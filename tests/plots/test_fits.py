"""The lines: next to scipy's and statsmodels', the band next to its formulas in plain Python."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from imagenet_errors.paths import PUBLISHED_TABLES
from imagenet_errors.plots import fits
from imagenet_errors.plots.figure_table import Figure, load_figures
from imagenet_errors.plots.fits import fit_figure
from imagenet_errors.plots.model_frames import load_frames
from imagenet_errors.plots.points import compute_points
from tests.conftest import COMMITTED, ROOT
from tests.helpers.plain_figures import CORPORA, made_tables, plain_points, read, read_tables, write_tables

ROWS = read(ROOT / "artefacts/figures.csv")
MAIN = [row for row in ROWS if row["linear_fit"] == "yes"]
BENT = next(row for row in MAIN if row["groups"] == "organism artifact other")  # artifact alone bends, at 90
COLUMNS = (
    "group,value,x_from,x_to,n,slope,slope_half_width,intercept_at_mean,intercept_half_width,x_mean,r,r_squared,"
    "band_low_80,band_high_80,band_low_90,band_high_90,band_low_95,band_high_95,band_low_98,band_high_98"
)


def cloud(seed: int, count: int = 60, noise: float = 2) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    x = chance.uniform(60, 98, count)
    return x, 3 - 0.4 * x + chance.normal(0, noise, count)


def plain_fit(x: list[float], y: list[float], inside: list[bool]) -> dict[str, float]:
    """Slope, intercept, correlation and half widths, from the formulas of figures.md."""
    m = sum(x) / len(x)
    u = [value - m for value in x]
    segment = [(a, b) for a, b, within in zip(u, y, inside, strict=True) if within]
    n = len(segment)
    mean_u, mean_y = (sum(pair[at] for pair in segment) / n for at in (0, 1))
    suu = sum((a - mean_u) ** 2 for a, _ in segment)
    suy = sum((a - mean_u) * (b - mean_y) for a, b in segment)
    syy = sum((b - mean_y) ** 2 for _, b in segment)
    slope = suy / suu
    intercept = mean_y - slope * mean_u
    mse = sum((slope * a + intercept - b) ** 2 for a, b in zip(u, y, strict=True)) / len(x)
    t = stats.t.ppf(0.95, n - 2)
    return {
        **{"n": n, "mean": m, "slope": slope, "intercept": intercept, "r": suy / math.sqrt(suu * syy)},
        "slope_half_width": t * math.sqrt(mse / sum(value**2 for value in u)),
        "intercept_half_width": t * math.sqrt(mse / n),
    }


def plain_band(plain: dict[str, float], x: float) -> tuple[float, float]:
    z, a, da = x - plain["mean"], plain["slope"], plain["slope_half_width"]
    b, db = plain["intercept"], plain["intercept_half_width"]
    return min(z * (a - da), z * (a + da)) + b - db, max(z * (a - da), z * (a + da)) + b + db


def equals_plain(line: fits.LineFit, plain: dict[str, float]) -> bool:
    assert {name: getattr(line, name) for name in plain} == pytest.approx(plain, rel=1e-8, abs=1e-9)
    for x in (55, plain["mean"], 80, 90, 95, 98, 100):
        band = line.confidence_band(np.array([x]))
        assert (*band[0], *band[1]) == pytest.approx(plain_band(plain, x), rel=1e-8, abs=1e-9)
    return True


@pytest.mark.parametrize("inflection", [None, 80.0])
def test_lines_equal_those_of_scipy_on_the_same_segment(inflection):
    x, y = cloud(1)
    segments = [x > 0] if inflection is None else [x <= inflection, x > inflection]
    for line, inside in zip(fits.fit_segments(x, y, inflection), segments, strict=True):
        there = stats.linregress(x[inside], y[inside])
        assert (line.slope, line.r, line.n) == pytest.approx((there.slope, there.rvalue, inside.sum()), abs=1e-9)
        assert line.intercept == pytest.approx(there.intercept + there.slope * x.mean(), abs=1e-9)
        assert (line.start, line.end) == (x[inside].min(), x[inside].max())
        assert line.predict(np.array([70.0]))[0] == pytest.approx(there.intercept + there.slope * 70, abs=1e-9)


def test_model_at_the_inflection_belongs_to_the_earlier_line():
    x, y = np.array([70.0, 75, 80, 80, 80, 85, 90, 95]), np.arange(8.0) ** 2
    low, high = fits.fit_segments(x, y, 80)
    assert (low.n, low.end, high.n, high.start) == (5, 80, 3, 85)


@given(st.integers(0, 10**6), st.integers(6, 40), st.sampled_from([None, 75.0, 85.0]), st.floats(0.1, 20))
def test_published_band_follows_its_formulas(seed, count, inflection, noise):
    x, y = cloud(seed, count, noise)
    segments = [x > 0] if inflection is None else [x <= inflection, x > inflection]
    for line, inside in zip(fits.fit_segments(x, y, inflection), segments, strict=True):
        if inside.sum() < 3:
            assert line is None
        else:
            assert equals_plain(line, plain_fit(x.tolist(), y.tolist(), inside.tolist()))


@given(st.integers(0, 10**6), st.integers(8, 40), st.sampled_from([None, 80.0]))
def test_regression_band_equals_that_of_statsmodels(seed, count, inflection):
    x, y = cloud(seed, count)
    segments = [x > 0] if inflection is None else [x <= inflection, x > inflection]
    at = np.array([60.0, 79, 98])
    for line, inside in zip(fits.fit_segments(x, y, inflection), segments, strict=True):
        if line is None:
            continue
        model = sm.OLS(y[inside], sm.add_constant(x[inside])).fit()
        expected = model.get_prediction(sm.add_constant(at)).summary_frame(alpha=0.10)  # one-sided 0.95
        low, high = line.confidence_band(at, "regression")
        assert low == pytest.approx(expected["mean_ci_lower"].to_numpy(), rel=1e-6, abs=1e-7)
        assert high == pytest.approx(expected["mean_ci_upper"].to_numpy(), rel=1e-6, abs=1e-7)


def test_line_needs_three_models_of_several_accuracies():
    assert fits.fit_segments(np.array([70.0, 80]), np.array([1.0, 2])) == [None]
    assert fits.fit_segments(np.array([70.0] * 5), np.arange(5.0)) == [None]
    assert fits.fit_segments(np.array([]), np.array([])) == [None]
    low, high = fits.fit_segments(np.array([70.0, 71, 90, 91, 92]), np.arange(5.0), 80)
    assert low is None
    assert (high.n, round(high.slope, 9)) == (3, 1)
    (three,) = fits.fit_segments(np.array([70.0, 71, 73]), np.array([1.0, 5, 2]))
    assert three.n == 3


# --- figures ---------------------------------------------------------------------------------------------------------


def test_main_figures_bend_where_published(shared):
    specified = shared.parent / "design/figures.csv"
    if not specified.exists():
        pytest.skip(f"{specified} is absent")
    bends = {}
    for row in read(specified):
        if row["linear_fit"] == "yes":
            parts = dict(part.split(":") for part in row["fit_inflection"].split(";"))
            numbers = {group: None if at == "none" else float(at) for group, at in parts.items()}
            bends[row["dataset"], row["file_stem"]] = numbers
    assert len(bends) == 16
    loaded = {(figure.dataset, figure.file_stem): figure.inflections for figure in load_figures(COMMITTED)}
    assert {key: found for key, found in loaded.items() if found} == bends


def test_lines_of_a_published_figure_are_those_of_its_points():
    figure = Figure.from_row(BENT)
    lines, unfitted = fit_figure(figure, compute_points(figure, load_frames(PUBLISHED_TABLES, "imagenet")))
    assert not unfitted
    assert [group for group, *_ in lines] == ["organism", "artifact", "artifact", "other"]
    of_group = {}
    for group, _, x, y in plain_points(BENT, read_tables(PUBLISHED_TABLES, "imagenet")):
        of_group.setdefault(group, []).append((x, y))
    for (group, _, line), beyond in zip(lines, (None, False, True, None), strict=True):
        x, y = map(list, zip(*of_group[group], strict=True))
        assert equals_plain(line, plain_fit(x, y, [beyond is None or (value > 90) == beyond for value in x]))
    assert [line.n for *_, line in lines] == [962, 409, 553, 962]


@pytest.fixture
def made(call, tmp_path):
    """Draw the figure `BENT` of made-up tables; gives the outcome and the rows of its fits."""
    write_tables(tmp_path, made_tables(96))

    def run(*flags):
        folders = ("--stats_dir", tmp_path, "--results_dir", tmp_path / "out")
        which = ("--dataset", "imagenet", "--figure", BENT["file_stem"], "--format", "png", "--jobs", 1)
        done = call("utils_plot", *folders, *which, *flags)
        path = tmp_path / f"out/figures/imagenet/{BENT['file_stem']}_fit.csv"
        assert path.read_text().splitlines()[0] == COLUMNS
        return done, read(path)

    return run


def points_of(tmp_path, group: str, corpora=tuple(CORPORA)) -> tuple[list, list]:
    tables = read_tables(tmp_path, "imagenet")
    models = {row["model_dir_id"] for row in tables["all"] if row["training_data"] in corpora}
    found = [(x, y) for of, model, x, y in plain_points(BENT, tables) if of == group and model in models]
    return tuple(map(list, zip(*found, strict=True)))


def row_equals(row: dict[str, str], plain: dict[str, float], band) -> bool:
    names = {"x_mean": "mean", "intercept_at_mean": "intercept"}
    for name in ("n", "slope", "slope_half_width", "intercept_at_mean", "intercept_half_width", "x_mean", "r"):
        assert float(row[name]) == pytest.approx(plain[names.get(name, name)], abs=1e-8)
    assert float(row["r_squared"]) == pytest.approx(plain["r"] ** 2, abs=1e-8)
    for x in (80, 90, 95, 98):
        assert [float(row[f"band_{end}_{x}"]) for end in ("low", "high")] == pytest.approx(band(x), abs=1e-8)
    return True


def test_saved_fits_are_those_drawn(made, tmp_path):
    done, rows = made()
    assert done.status == 0, done.stderr
    assert [(row["group"], row["value"]) for row in rows] == [(g, "") for g in ("organism", *["artifact"] * 2, "other")]
    for row, beyond in zip(rows, (None, False, True, None), strict=True):
        x, y = points_of(tmp_path, row["group"])
        inside = [beyond is None or (value > 90) == beyond for value in x]
        plain = plain_fit(x, y, inside)
        assert row_equals(row, plain, lambda at, plain=plain: plain_band(plain, at))
        ends = [value for value, within in zip(x, inside, strict=True) if within]
        assert [float(row["x_from"]), float(row["x_to"])] == pytest.approx([min(ends), max(ends)])


def test_saved_bands_are_of_the_form_asked_for(made, tmp_path):
    _, rows = made("--fit_band", "regression")
    x, y = points_of(tmp_path, "other")
    model = sm.OLS(y, sm.add_constant(x)).fit()

    def band(at):
        frame = model.get_prediction(np.array([[1, at]])).summary_frame(alpha=0.10)
        return [frame["mean_ci_lower"].iloc[0], frame["mean_ci_upper"].iloc[0]]

    assert row_equals(rows[-1], plain_fit(x, y, [True] * len(x)), band)


def test_fit_by_fits_each_value_separately(made, tmp_path):
    done, rows = made("--fit_by", "training_data_group")
    assert done.status == 0, done.stderr
    assert {row["value"] for row in rows} == {group for _, group, *_ in CORPORA.values()}
    medium = [row for row in rows if row["value"] == "medium (< 50M)"]
    assert [row["group"] for row in medium] == ["organism", "artifact", "artifact", "other"]
    corpora = [corpus for corpus, known in CORPORA.items() if known[1] == "medium (< 50M)"]
    for row, beyond in zip(medium, (None, False, True, None), strict=True):
        x, y = points_of(tmp_path, row["group"], corpora)
        assert len(x) == 24
        plain = plain_fit(x, y, [beyond is None or (value > 90) == beyond for value in x])
        assert row_equals(row, plain, lambda at, plain=plain: plain_band(plain, at))


def test_segments_without_a_line_are_named(made):
    done, rows = made("--fit_by", "arch_group", "--filter", "arch_group!=MLP", "mla_all<90.6")
    assert done.status == 0, done.stderr
    assert {row["group"] for row in rows} == {"organism", "artifact", "other"}
    (named,) = [line for line in done.stderr.splitlines() if "without a line" in line]
    assert "segments without a line: 3 (fewer than 3 models" in named  # of artifacts beyond 90, of three groups
    for value in ("ResNet", "ViT", "Hybrid"):
        assert f"{BENT['file_stem']} (artifact {value})" in named
