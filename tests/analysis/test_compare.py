"""Two models next to each other, and several: every number next to scipy, scikit-learn, statsmodels, or plain loops."""

from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from statsmodels.stats.contingency_tables import mcnemar

from imagenet_errors.analysis.compare import bootstrap_differences, compare
from imagenet_errors.analysis.counting import CountedImages, stats_row
from imagenet_errors.analysis.decision import decide
from imagenet_errors.analysis.outcomes import NEED_OPEN_WORLD, OUTCOMES, SHARES
from imagenet_errors.analysis.several_models import measure_kappas, summarise_runs
from imagenet_errors.error_types import CODES, ERROR_CODES, ERROR_TYPES, NO_ERROR_TYPE
from imagenet_errors.errors import InputError
from imagenet_errors.formats import error_analyses
from imagenet_errors.formats.predictions import NO_PREDICTION
from tests.helpers.analyses import make_analysis, make_images
from tests.helpers.plain_shares import (
    OF_TOP1_ERRORS,
    RIGHT_BY,
    make_outcomes,
    plain_differences,
    plain_kappa,
    plain_shares,
)

PAIRS = [
    ("pytorch--resnet18", "pytorch--resnet152"),
    ("imagenetx--ViT", "imagenetx--ResNet50"),
    ("pytorch--vgg16", "pytorch--alexnet"),
]
FEW = 200  # resamples, where the intervals do not matter
GROUPS = {"all": np.ones(1000, bool), "even classes": np.arange(1000) % 2 == 0}


@pytest.fixture(scope="module")
def twelve_models(analysed):
    """{model: analysis} of the twelve shared prediction sets, as stored: without the open-world test."""
    paths = sorted((analysed / "artefacts/imagenet").glob("*/errors_analysis.parquet"))
    return {path.parent.name: error_analyses.read(path, path.parent.name) for path in paths}


@pytest.fixture(scope="module")
def tested(context, twelve_models):
    """{model: analysis} of the same with random outcomes of the open-world test, and some without predictions."""
    found = {}
    for number, (model, analysis) in enumerate(twelve_models.items()):
        generator = np.random.default_rng(number)
        n = len(analysis.top1)
        types = decide(context.images, analysis.top1, context.relations, generator.random(n) < 0.3).error_types
        has_none = generator.random(n) < 0.05 * (number % 3)
        top1 = np.where(has_none, NO_PREDICTION, analysis.top1)
        found[model] = make_analysis(model, top1, np.where(has_none, NO_ERROR_TYPE, types))
    return found


@pytest.fixture(scope="module", params=PAIRS, ids=" ".join)
def pair(request, context, tested):
    """A comparison, the two analyses and the error types of the common unproblematic images."""
    analyses = [tested[model] for model in request.param]
    common = ~context.images.problematic & np.all([one.top1 != NO_PREDICTION for one in analyses], axis=0)
    return SimpleNamespace(
        compared=compare(context.counted_images, *analyses, resamples=FEW),
        types=[one.error_types[common] for one in analyses],
        analyses=analyses,
        common=common,
    )


def count_row(counted, analysis, group="all") -> dict:
    return stats_row(counted, analysis, counted.count(analysis.error_types), {}, group)


# --- next to libraries, on real models --------------------------------------------------------------------------------


def test_transitions_are_the_confusion_matrix(pair):
    assert np.array_equal(pair.compared.transitions, confusion_matrix(*pair.types, labels=OUTCOMES))
    assert np.array_equal(pair.compared.rows, np.flatnonzero(pair.common))
    assert pair.compared.transitions.sum() == pair.common.sum()


@pytest.mark.parametrize("group", ["all", "organism"])
def test_margins_are_both_rows_of_the_stats_tables(context, twelve_models, group):
    """Of complete models; with the open-world test, which leaves no cell empty."""
    pair = [
        make_analysis(model, twelve_models[model].top1, decide(context.images, twelve_models[model].top1,
                      context.relations, np.arange(len(context.images)) % 2 == 0).error_types)
        for model in PAIRS[0]
    ]  # fmt: skip
    compared = compare(context.counted_images, *pair, group=group, resamples=FEW)
    for analysis, axis, share in zip(pair, (1, 0), ("first", "second"), strict=True):
        row = count_row(context.counted_images, analysis, group)
        margins = compared.transitions.sum(axis=axis)
        assert margins.tolist() == [row[ERROR_TYPES[code].column] for code in OUTCOMES]
        errors = row["num_group_top1_errors"]
        multi_label_errors = errors - row["num_collapsed_mappings"] - row["num_ambiguous"]
        expected = {
            "top1_accuracy": 100 * row["num_group_correct"] / row["num_group_samples"],
            "multi_label_accuracy": row["mla_group"],
        } | {
            ERROR_TYPES[code].name: 100
            * row[ERROR_TYPES[code].column]
            / (errors if ERROR_TYPES[code].name in OF_TOP1_ERRORS else multi_label_errors)
            for code in ERROR_CODES
        }
        assert {one.share.name: getattr(one, share) for one in compared.differences} == pytest.approx(expected)
    first, second = ([getattr(one, of) for one in compared.differences] for of in ("first", "second"))
    assert [one.difference for one in compared.differences] == pytest.approx(np.subtract(second, first))


@pytest.mark.parametrize("wrong_by", RIGHT_BY)
def test_error_consistency_is_that_of_libraries(pair, wrong_by):
    wrong = [~np.isin(types, RIGHT_BY[wrong_by]) for types in pair.types]
    found = pair.compared.consistency[wrong_by]
    table = confusion_matrix(*wrong)
    numbers = [[found.both_right, found.only_second_wrong], [found.only_first_wrong, found.both_wrong]]
    assert numbers == table.tolist()
    assert found.kappa == pytest.approx(cohen_kappa_score(*wrong), rel=1e-12)
    assert found.agreement == pytest.approx((wrong[0] == wrong[1]).mean())
    assert found.p_value == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)
    assert found.p_value == stats.binomtest(table[0, 1], table[0, 1] + table[1, 0]).pvalue


def test_errors_are_fixed_broken_or_changed(pair):
    first, second = pair.types
    expected = [
        (first > 0) & (second == 0),
        (first == 0) & (second > 0),
        (first > 0) & (second > 0) & (first != second),
    ]
    found = pair.compared
    assert [found.fixed, found.broken, found.changed_in_type] == [chosen.sum() for chosen in expected]
    assert min(found.fixed, found.broken, found.changed_in_type) > 100


def test_kappas_of_types_are_those_of_scikit_learn(pair):
    for code, found in zip(ERROR_CODES, pair.compared.types, strict=True):
        has = [types == code for types in pair.types]
        assert (found.error_type, found.first, found.second) == (code, has[0].sum(), has[1].sum())
        assert found.both == (has[0] & has[1]).sum()
        assert found.kappa == pytest.approx(cohen_kappa_score(*has), rel=1e-9)


@pytest.mark.parametrize("wrong_by", RIGHT_BY)
def test_kappa_matrix_is_that_of_each_pair(context, tested, wrong_by):
    found = measure_kappas(context.counted_images, list(tested.values()), wrong_by)
    assert found.models == tuple(tested)
    assert np.array_equal(found.kappas, found.kappas.T)
    assert np.diag(found.kappas) == pytest.approx(1)
    for (i, first), (j, second) in combinations(enumerate(tested.values()), 2):
        common = ~context.images.problematic & (first.top1 != NO_PREDICTION) & (second.top1 != NO_PREDICTION)
        wrong = [~np.isin(one.error_types[common], RIGHT_BY[wrong_by]) for one in (first, second)]
        assert found.num_images[i, j] == common.sum()
        assert found.kappas[i, j] == pytest.approx(cohen_kappa_score(*wrong), rel=1e-12)


# --- the bootstrap ----------------------------------------------------------------------------------------------------


def test_intervals_are_those_of_resampled_images():
    """Next to the paired bootstrap of scipy, within the Monte Carlo error; some resamples lack a class."""
    targets, outcomes = make_outcomes(400, seed=1, num_classes=150)
    ours = bootstrap_differences(targets, outcomes, 4_000, seed=0)
    plain = stats.bootstrap(
        (targets, *outcomes),
        plain_differences,
        paired=True,
        vectorized=False,
        n_resamples=1_000,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    spread = plain.bootstrap_distribution.std(axis=-1)
    assert ours.std(axis=0) == pytest.approx(spread, rel=0.1)
    bounds = np.percentile(ours, [2.5, 97.5], axis=0)
    assert (abs(bounds - np.array(plain.confidence_interval)) / spread).max() < 0.4


def test_intervals_cover_the_true_difference():
    """Of 95 %: 200 samples from one population."""
    targets, outcomes = make_outcomes(100_000, seed=3, num_classes=5)
    true = plain_differences(targets, *outcomes)
    generator, covered = np.random.default_rng(4), []
    for seed in range(200):
        drawn = generator.integers(0, len(targets), 800)
        low, high = np.percentile(bootstrap_differences(targets[drawn], outcomes[:, drawn], 300, seed), [2.5, 97.5], 0)
        covered.append((low <= true) & (true <= high))
    coverage = np.mean(covered, axis=0)
    assert ((coverage > 0.9) & (coverage < 0.99)).all(), coverage


def test_intervals_are_reproducible(context, tested):
    def run(seed):
        compared = compare(context.counted_images, *map(tested.get, PAIRS[0]), resamples=FEW, seed=seed)
        assert (compared.resamples, compared.seed) == (FEW, seed)
        return [(one.low, one.high) for one in compared.differences]

    assert run(5) == run(5) != run(6)


def test_interval_of_a_model_and_itself_is_zero(context, tested):
    model = tested[PAIRS[0][0]]
    compared = compare(context.counted_images, model, model, resamples=FEW)
    assert {(one.difference, one.low, one.high) for one in compared.differences} == {(0, 0, 0)}
    assert {one.p_value for one in compared.consistency.values()} == {1}
    assert {one.kappa for one in (*compared.consistency.values(), *compared.types)} == {1}
    assert (compared.fixed, compared.broken, compared.changed_in_type) == (0, 0, 0)
    assert compared.list_classes() == compared.list_images() == []


# --- classes and images -----------------------------------------------------------------------------------------------


def test_classes_are_ranked_by_fixed_less_broken(context, pair):
    targets, (first, second) = context.images.targets[pair.common], pair.types
    plain = []
    for class_id in range(1000):
        of_class = targets == class_id
        fixed = int((of_class & (first > 0) & (second == 0)).sum())
        broken = int((of_class & (first == 0) & (second > 0)).sum())
        plain.append((-abs(fixed - broken), -(fixed + broken), class_id, int(of_class.sum()), fixed, broken))
    found = pair.compared.list_classes(50)
    assert [tuple(vars(one).values()) for one in found] == [row[2:] for row in sorted(plain)[:50]]
    every = pair.compared.list_classes(1000)
    assert sum(one.fixed for one in every) == pair.compared.fixed
    assert sum(one.broken for one in every) == pair.compared.broken


def test_images_are_ranked_by_how_far_their_outcomes_are_apart(context, pair):
    found = pair.compared.list_images(20_000)
    ranks = {one.class_id: rank for rank, one in enumerate(pair.compared.list_classes(1000))}
    images, analyses = context.images, pair.analyses
    for one in found:
        assert one.file == images.files[one.row]
        assert one.target == images.targets[one.row]
        assert one.predictions == tuple(analysis.top1[one.row] for analysis in analyses)
        assert one.outcomes == tuple(analysis.error_types[one.row] for analysis in analyses)
        assert not one.is_provisional
    assert {one.row for one in found} == set(
        np.flatnonzero(pair.common & (analyses[0].error_types != analyses[1].error_types)).tolist()
    )
    apart = [abs(OUTCOMES.index(one.outcomes[0]) - OUTCOMES.index(one.outcomes[1])) for one in found]
    keys = [(-gap, ranks.get(one.target, 1000), one.row) for gap, one in zip(apart, found, strict=True)]
    listed = [key for key in keys if key[1] < 1000]
    assert listed == sorted(listed)
    assert apart == sorted(apart, reverse=True)
    assert pair.compared.list_images(7) == found[:7]


# --- next to plain loops ----------------------------------------------------------------------------------------------


def draw_models(data, m: int):
    """Counted images, and the error types of m models on them."""
    n = data.draw(st.integers(1, 15))
    targets = data.draw(st.lists(st.sampled_from([0, 1, 2, 998, 999]), min_size=n, max_size=n))
    problematic = data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda drawn: not all(drawn)))
    images = make_images(
        [f"n/{row}" for row in range(n)], targets, [[one] for one in targets], [False] * n, problematic
    )
    outcome = st.sampled_from([NO_ERROR_TYPE, *OUTCOMES, OUTCOMES[0], OUTCOMES[-1]])
    types = data.draw(st.lists(st.lists(outcome, min_size=n, max_size=n), min_size=m, max_size=m))
    top1 = [[NO_PREDICTION if code == NO_ERROR_TYPE else code for code in of_model] for of_model in types]
    counted = CountedImages.of(images, GROUPS)
    return counted, [make_analysis(f"m{i}", *model) for i, model in enumerate(zip(top1, types, strict=True))]


def plain_common(counted, analyses, group) -> list[int]:
    return [
        row
        for row in range(len(counted.images))
        if not counted.images.problematic[row]
        and (group == "all" or counted.images.targets[row] % 2 == 0)
        and all(analysis.error_types[row] != NO_ERROR_TYPE for analysis in analyses)
    ]


@given(st.data())
def test_comparison_is_that_of_plain_loops(data):
    counted, analyses = draw_models(data, 2)
    group = data.draw(st.sampled_from([*GROUPS]))
    common = plain_common(counted, analyses, group)
    if not common:
        with pytest.raises(InputError, match="m0, m1: no unproblematic image"):
            compare(counted, *analyses, group=group)
        return
    found = compare(counted, *analyses, group=group, resamples=20)
    first, second = ([int(analysis.error_types[row]) for row in common] for analysis in analyses)
    both = list(zip(first, second, strict=True))
    assert found.rows.tolist() == common
    for i, j in product(range(8), range(8)):
        assert found.transitions[i, j] == both.count((OUTCOMES[i], OUTCOMES[j]))
    assert found.fixed == sum(a > 0 == b for a, b in both)
    assert found.broken == sum(b > 0 == a for a, b in both)
    assert found.changed_in_type == sum(a > 0 < b != a for a, b in both)
    for wrong_by, right in RIGHT_BY.items():
        expected = plain_kappa(*([code not in right for code in of_model] for of_model in (first, second)))
        assert found.consistency[wrong_by].kappa == (expected if expected is None else pytest.approx(expected))
    for code, of_type in zip(ERROR_CODES, found.types, strict=True):
        expected = plain_kappa(*([one == code for one in of_model] for of_model in (first, second)))
        assert of_type.kappa == (expected if expected is None else pytest.approx(expected))
    targets = counted.images.targets[common]
    shares = [plain_shares(targets, [OUTCOMES.index(code) for code in of_model]) for of_model in (first, second)]
    for one, of_first, of_second in zip(found.differences, *shares, strict=True):
        known = [None if np.isnan(number) else pytest.approx(number) for number in (of_first, of_second)]
        assert [one.first, one.second] == known
        assert (one.difference is None) == (one.low is None) == (one.high is None) == (None in known)
        assert one.difference is None or one.difference == pytest.approx(of_second - of_first)
        assert one.difference is None or one.low <= one.high


@given(st.data())
def test_runs_and_kappa_matrix_are_those_of_plain_loops(data):
    counted, analyses = draw_models(data, data.draw(st.integers(1, 4)))
    group = data.draw(st.sampled_from([*GROUPS]))
    if not all(plain_common(counted, [analysis], group) for analysis in analyses):
        with pytest.raises(InputError, match="no unproblematic image"):
            measure_kappas(counted, analyses, group=group)
        return
    matrix = measure_kappas(counted, analyses, group=group)
    for (i, first), (j, second) in product(enumerate(analyses), enumerate(analyses)):
        common = plain_common(counted, [first, second], group)
        expected = plain_kappa(*([bool(one.error_types[row]) for row in common] for one in (first, second)))
        assert matrix.num_images[i, j] == len(common)
        assert np.isnan(matrix.kappas[i, j]) if expected is None else matrix.kappas[i, j] == pytest.approx(expected)
    common = plain_common(counted, analyses, group)
    if common:
        runs = summarise_runs(counted, analyses, group)
        assert (runs.num_images, runs.models) == (len(common), tuple(one.model for one in analyses))
        types = [[OUTCOMES.index(code) for code in one.error_types[common]] for one in analyses]
        plain = np.array([plain_shares(counted.images.targets[common], of_model) for of_model in types])
        assert runs.values == pytest.approx(plain, nan_ok=True)
        assert runs.mean == pytest.approx(plain.mean(axis=0), nan_ok=True)
        spread = plain.std(axis=0, ddof=1) if len(plain) > 1 else [np.nan] * len(SHARES)
        assert runs.spread == pytest.approx(spread, nan_ok=True)


# --- what is provisional, and what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("skipped", [(True, True), (True, False), (False, True), (False, False)])
def test_what_rests_on_a_skipped_open_world_test_is_provisional(context, tested, twelve_models, skipped):
    models = [
        (twelve_models if is_skipped else tested)[model] for is_skipped, model in zip(skipped, PAIRS[0], strict=True)
    ]
    compared = compare(context.counted_images, *models, resamples=FEW)
    after = {"out_of_vocabulary", "spurious_correlation", "non_prototypical", "model_failure"}
    expected = after if any(skipped) else set()
    assert {ERROR_TYPES[OUTCOMES[i]].name for i in np.flatnonzero(NEED_OPEN_WORLD)} == after
    bounds, unknown = expected - {"out_of_vocabulary"}, expected & {"out_of_vocabulary"}
    assert {one.share.name for one in compared.differences if one.is_bound} == bounds
    assert {one.share.name for one in compared.differences if one.difference is None} == expected
    assert {one.share.name for one in compared.differences if one.first is None} == unknown
    assert {ERROR_TYPES[one.error_type].name for one in compared.types if one.is_bound} == bounds
    assert {ERROR_TYPES[one.error_type].name for one in compared.types if one.kappa is None} == expected
    assert {ERROR_TYPES[one.error_type].name for one in compared.types if one.both is None} == unknown
    assert (compared.changed_in_type is None) == any(skipped)
    assert sum(row.count(None) for row in compared.known_transitions) == (2 * len(OUTCOMES) - 1) * any(skipped)
    assert compared.is_provisional == summarise_runs(context.counted_images, models).is_provisional == any(skipped)
    changes = compared.list_images(20_000)
    assert {one.is_provisional for one in changes} == {True, False} if any(skipped) else {False}
    for one in changes:
        assert one.is_provisional == bool({ERROR_TYPES[code].name for code in one.outcomes} & expected)


def test_analyses_of_other_images_are_refused(context, tested):
    first, second = map(tested.get, PAIRS[0])
    short = make_analysis("me--short", second.top1[:-1], second.error_types[:-1])
    with pytest.raises(InputError, match="me--short is analysed on 19,999 images, and not on the 20,000"):
        compare(context.counted_images, first, short)


def test_type_of_problematic_images_is_refused_on_others(context, tested):
    first, second = map(tested.get, PAIRS[0])
    types = second.error_types.copy()
    types[np.flatnonzero(~context.images.problematic)[3]] = CODES["like_target"]
    with pytest.raises(InputError, match=r"me--odd: n\S+ is typed 'like the target', which only problematic images"):
        compare(context.counted_images, first, make_analysis("me--odd", second.top1, types))
