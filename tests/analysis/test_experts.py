"""Our types next to the experts', recounted plainly from their lists."""

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from imagenet_errors.analysis import experts
from imagenet_errors.analysis.open_world import OpenWorld
from imagenet_errors.error_types import CODES, ERROR_TYPES
from tests.conftest import FILES, refused
from tests.helpers import plain_decision
from tests.helpers.plain_facts import plain_annotations, plain_spurious_pairs, plain_superclasses, read_non_prototypical
from tests.helpers.plain_open_world import World
from tests.helpers.synthetic_clip import Made, gates, proposer

LISTS = {"vit3b": "vit3b_mistakes.json", "greedy_soups": "greedy_soups_mistakes.json"}
CATEGORIES = {
    "Fine-grained error": "fine_grained",
    "Fine-grained with Multilabel Options": "fine_grained",
    "Fine-grained error with OOV": "out_of_vocabulary",
    "Fine-grained with OOV": "out_of_vocabulary",
    "Spurious Correlation": "spurious_correlation",
    "Non-prototypical": "non_prototypical",
}


@pytest.fixture(scope="module")
def mistakes(twelve) -> list[tuple[str, str, int, str]]:
    """(list, file, prediction, the experts' type) of all."""
    return [
        (name, file, one["top_prediction"], CATEGORIES[one["failure category"]])
        for name, path in LISTS.items()
        for file, one in json.loads((twelve / "annotations" / path).read_text()).items()
    ]


@pytest.fixture(scope="module")
def world(classes) -> World:
    return World(classes.wnids, plain_superclasses())


@pytest.fixture(scope="module")
def plain_type(twelve, context, world):
    """Gives (error type by plain code, whether it is provisional) of a file, a prediction and an open-world outcome."""
    accepted, _ = plain_annotations(twelve)
    non_prototypical, spurious = read_non_prototypical(), plain_spurious_pairs(world.superclasses_of)
    names = [file.split("/")[1] for file in context.images.files]
    target_of = dict(zip(names, context.images.targets.tolist(), strict=True))

    def decide(file, prediction, outcome=None):
        facts = {"superclasses_of": world.superclasses_of, "spurious_pairs": spurious}
        facts |= {"non_prototypical": file in non_prototypical, "out_of_vocabulary": outcome}
        decision = plain_decision.decide(target_of[file], accepted[file], prediction, **facts)
        return decision.error_type, decision.provisional

    decide.target_of = target_of
    return decide


def plain_statistics(pairs: list[tuple[str, str]]) -> tuple[float, float]:
    """Agreement and Cohen's kappa."""
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    agreement = sum(a == b for a, b in pairs) / len(pairs)
    by_chance = sum(first[name] * second[name] for name in first) / len(pairs) ** 2
    return agreement, (agreement - by_chance) / (1 - by_chance)


# --- through the script, with the test skipped -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(twelve, tmp_path_factory):
    """A folder with the lists and the samples but no model, and the results of a comparison."""
    folder = tmp_path_factory.mktemp("experts")
    shutil.copytree(twelve / "annotations", folder / "annotations")
    (folder / "imagenet").mkdir()
    shutil.copy(twelve / "imagenet/samples_info.npz", folder / "imagenet")
    return folder


@pytest.fixture
def compare(call, compared):
    return lambda *flags: call(
        "evaluation", "--compare_with_experts", "--artefacts_dir", compared, "--results_dir", compared / "r", *flags
    )


@pytest.fixture(scope="module")
def expected(mistakes, plain_type) -> list[tuple]:
    """(list, file, prediction, experts' type, our type) of the mistakes that are compared without the test."""
    return [(*mistake, plain_type(*mistake[1:3])[0]) for mistake in mistakes if mistake[3] != "out_of_vocabulary"]


STATISTICS = re.compile(
    r"(?P<which>.+): (?P<agreement>[\d.]+)% of (?P<number>\d+) agree, kappa (?P<kappa>-?[\d.]+)"
    r" \(95 % bootstrap interval (?P<low>-?[\d.]+) to (?P<high>-?[\d.]+)\)"
)


def test_lists_have_the_published_numbers_of_mistakes(shared, mistakes, expected):
    assert (len(mistakes), len(expected)) == (627, 547)


def test_printed_statistics_equal_a_plain_recount(compare, mistakes, expected):
    done = compare()
    assert done.status == 0, done.stderr
    left_out = len(mistakes) - len(expected)
    assert f"left out: {left_out} that experts call out-of-vocabulary, because the open-world test is" in done.stdout
    found = {match["which"]: match.groupdict() for match in STATISTICS.finditer(done.stdout)}
    parts = {"both lists": set(LISTS), **{name: {name} for name in LISTS}}
    assert len(found) == 6
    for name, lists in parts.items():
        for which, without in (("all", ()), ("without the experts' non-prototypical ones", ("non_prototypical",))):
            pairs = [row[3:] for row in expected if row[0] in lists and row[3] not in without]
            printed, (agreement, kappa) = found[f"{which}, {name}"], plain_statistics(pairs)
            assert int(printed["number"]) == len(pairs)
            assert float(printed["agreement"]) == pytest.approx(100 * agreement, abs=0.051)
            assert float(printed["kappa"]) == pytest.approx(kappa, abs=0.00051)
            assert float(printed["low"]) < kappa < float(printed["high"])
    assert compare().stdout == done.stdout


def test_printed_table_equals_a_plain_recount(compare, expected):
    lines = compare().stdout.splitlines()
    titles = {error_type.title: error_type.name for error_type in ERROR_TYPES}
    columns = [titles[title] for title in lines[1].strip().split("  ")]
    counts = Counter(row[3:] for row in expected)
    rows = {}
    for line in lines[2:5]:
        title, *cells = re.split(r" {2,}", line.strip())
        rows[titles[title]] = list(map(int, cells))
    assert rows == {human: [counts[human, ours] for ours in columns] for human in {row[3] for row in expected}}
    assert sum(map(sum, rows.values())) == len(expected)


def test_printed_table_fits_a_narrow_terminal(compare, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = compare().stdout.splitlines()
    assert lines[1].split() == ["fine", "spur.", "proto", "fail"]
    assert lines[2].startswith("fine-grained  ")
    assert max(map(len, lines[:7])) <= 80
    assert "fail = model failure" in lines[6]


def test_written_tables_equal_a_plain_recount(compare, compared, expected, plain_type, classes):
    compare()
    with open(compared / "r/stats-imagenet/expert_confusion.csv", newline="") as file:
        confusion = [tuple(row.values()) for row in csv.DictReader(file)]
    counts = Counter((row[0], row[3], row[4]) for row in expected)
    assert {row[:3]: int(row[3]) for row in confusion} == counts
    assert len(confusion) == len(counts)
    with open(compared / "r/stats-imagenet/expert_differences.csv", newline="") as file:
        differences = list(csv.DictReader(file))
    plainly = [
        {
            "list": name,
            "file": f"{classes.wnids[plain_type.target_of[file]]}/{file}",
            "target": classes.describe(plain_type.target_of[file]),
            "prediction": classes.describe(prediction),
            "experts": human,
            "ours": ours,
        }
        for name, file, prediction, human, ours in expected
        if human != ours
    ]
    assert differences == plainly


# --- with the test ---------------------------------------------------------------------------------------------------


def test_no_mistake_is_left_out_with_the_open_world_test(context, mistakes, plain_type, world):
    """Among them are predictions that share a superclass with the target, for which nothing is proposed."""
    row_of = {file.split("/")[1]: row for row, file in enumerate(context.images.files)}
    top1 = np.tile(context.samples.targets, (2, 1))
    for _, file, prediction, _ in mistakes:
        top1[0, context.images.rows[row_of[file]]] = prediction
    made = Made.of(context.samples.files, gates(top1[:1]))
    tested = OpenWorld.of(proposer(), context.images, *made.parts())
    comparison = experts.compare(replace(context, open_world=tested))
    embedding_of, plainly = made.embedding_of, []
    for name, file, prediction, human in mistakes:
        ours, provisional = plain_type(file, prediction)
        if provisional:
            at, target = context.images.rows[row_of[file]], plain_type.target_of[file]
            verdict = world.decide(made.images[at], made.near[at].tolist(), prediction, target, embedding_of)
            ours, _ = plain_type(file, prediction, verdict.is_out_of_vocabulary)
        plainly.append((name, row_of[file], prediction, human, ours))
    assert comparison.left_out == []
    found = (comparison.lists, comparison.rows, comparison.predictions, comparison.human, comparison.ours)
    found = zip(*(column.tolist() for column in found), strict=True)
    assert [(*row[:3], ERROR_TYPES[row[3]].name, ERROR_TYPES[row[4]].name) for row in found] == plainly
    assert {"out_of_vocabulary", "fine_grained"} < {row[4] for row in plainly}


# --- statistics ------------------------------------------------------------------------------------------------------


def table(seed: int, total: int) -> np.ndarray:
    """[4, 4] counts of a fair agreement."""
    weights = np.random.default_rng(seed).random((4, 4)) + 2 * np.eye(4)
    return np.random.default_rng(seed).multinomial(total, (weights / weights.sum()).ravel()).reshape(4, 4)


def labelled(counts) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for (a, b), number in np.ndenumerate(counts) for _ in range(number)]


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_cohens(seed):
    counts = table(seed, 300)
    agreement, kappa = plain_statistics(labelled(counts))
    assert experts.agreement(counts) == pytest.approx(agreement, abs=1e-12)
    assert experts.kappa(counts) == pytest.approx(kappa, abs=1e-12)
    low, high = experts.kappa_interval(counts)
    assert low < kappa < high
    assert experts.kappa_interval(counts) == (low, high)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_equals_that_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    counts = table(seed, 300)
    first, second = zip(*labelled(counts), strict=True)
    assert experts.kappa(counts) == pytest.approx(metrics.cohen_kappa_score(first, second), abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_kappa_of_a_single_error_type_is_undefined():
    """All mistakes of one type: kappa is not defined, nor its interval."""
    assert np.isnan([experts.kappa(np.diag([3, 0])), *experts.kappa_interval(np.diag([3, 0]))]).all()


def test_statistics_of_many_tables_equal_those_of_each():
    counts = np.array([[table(seed, 300) for seed in range(2)], [table(seed, 500) for seed in range(2)]])
    for statistic in (experts.agreement, experts.kappa):
        assert np.allclose(statistic(counts), [[statistic(one) for one in row] for row in counts], atol=1e-12)


def test_interval_is_near_the_asymptotic_one():
    """Fleiss, Cohen & Everitt 1969."""
    counts = table(3, 20_000)
    p, kappa = counts / counts.sum(), experts.kappa(counts)
    rows, columns, agree = p.sum(axis=1), p.sum(axis=0), np.trace(p)
    chance = rows @ columns
    both = rows[None, :] + columns[:, None]  # of [i, j]: row share of j and column share of i
    on = sum(p[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in range(4))
    off = (1 - kappa) ** 2 * (p * both**2 * (1 - np.eye(4))).sum()
    error = np.sqrt((on + off - (kappa - chance * (1 - kappa)) ** 2) / 20_000) / (1 - chance)
    assert 0 < agree < 1
    expected = (kappa - 1.959964 * error, kappa + 1.959964 * error)
    assert experts.kappa_interval(counts) == pytest.approx(expected, abs=0.05 * error)


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lists(small):
    """Two lists of one mistake each, on the two small images; one superclass is defined, which is quick."""
    (small / "superclasses.json").write_text('{"dogs": [["dog"]]}')

    def write(first=None, second=None):
        for path, file, one in zip(LISTS.values(), FILES, (first, second), strict=True):
            one = {"top_prediction": 5, "failure category": "Spurious Correlation"} | (one or {})
            (small / "annotations" / path).write_text(json.dumps({file.split("/")[1]: one}))

    write()
    return write


@pytest.fixture
def compare_small(analyse):
    return lambda *flags: analyse("--compare_with_experts", *flags)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_spelling_of_a_category_is_known(lists, compare_small, small, category):
    lists({"failure category": category})
    done = compare_small()
    assert done.status == 0, done.stderr
    with open(small / "results/stats-imagenet/expert_confusion.csv", newline="") as file:
        humans = [row["experts"] for row in csv.DictReader(file) if row["list"] == "vit3b"]
    assert humans == ([] if "OOV" in category else [CATEGORIES[category]])
    assert experts.CATEGORIES[category] == CATEGORIES[category]
    assert CATEGORIES[category] in CODES


def test_mistakes_on_missing_images_are_named(lists, compare_small, small):
    path = small / "annotations" / LISTS["vit3b"]
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | dict.fromkeys(["ILSVRC2012_val_00049999.JPEG"], *known.values())))
    message = (
        "left out: 1 of annotations/vit3b_mistakes.json whose images are not here, e.g. ILSVRC2012_val_00049999.JPEG"
    )
    assert message in compare_small().stdout
    for name in LISTS.values():
        (small / "annotations" / name).write_text("{}")
    assert refused(compare_small(), "none of the experts' images", small / "imagenet/samples_info.npz")


def test_nothing_left_to_compare_is_reported(lists, compare_small):
    lists(*[{"failure category": "Fine-grained with OOV"}] * 2)
    done = compare_small()
    assert done.status == 2 or "left out: 2 that experts call out-of-vocabulary" in done.stdout


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"a": 1}', '{"a": {}}', '{"a": {"top_prediction": "x", "failure category": "Non-prototypical"}}'],
)
def test_damaged_list_is_refused(lists, compare_small, small, content):
    path = small / "annotations" / LISTS["greedy_soups"]
    path.write_text(content)
    assert refused(compare_small(), path)


@pytest.mark.parametrize(
    "wrong", [{"failure category": "Other"}, {"top_prediction": 1000}, {"top_prediction": -1}, {"failure category": []}]
)
def test_unknown_category_or_class_is_refused(lists, compare_small, small, wrong):
    lists(None, wrong)
    assert refused(compare_small(), small / "annotations" / LISTS["greedy_soups"], FILES[1].split("/")[1])


@pytest.mark.parametrize("name", LISTS.values())
def test_missing_list_is_named_with_its_source(lists, compare_small, small, name):
    (small / "annotations" / name).unlink()
    assert refused(
        compare_small(),
        small / "annotations" / name,
        "get it with download_artefacts.py --what mistakes, or from https://",
    )


@pytest.mark.parametrize("dataset", ["imagenet-a", "sample"])
def test_datasets_other_than_imagenet_are_refused(compare_small, dataset):
    assert refused(compare_small("--dataset", dataset), "--compare_with_experts goes with --dataset imagenet")
