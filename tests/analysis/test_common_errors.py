"""The lists of most common errors and the pairs that appear as mistakes."""

import ast
import re
from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors.analysis.common_errors import list_errors, rank_errors
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.error_types import CODES, CODES_BY_FLAG
from imagenet_errors.formats.error_analyses import ErrorAnalysis, Proposal
from tests.helpers.analyses import make_analysis, make_images, read_joined
from tests.helpers.plain_facts import plain_spurious_pairs, plain_superclasses

FLAGS = {  # --error_type by the type's name in errors_analysis.parquet
    "class_overlap": "overlapping_classes",
    "missing_multi_label": "multi_label",
    "fine_grained": "fg",
    "spurious_correlation": "spurious_correlation",
    "non_prototypical": "non-proto",
    "model_failure": "model_failure",
}


@pytest.fixture(scope="module")
def stored(analysed) -> list[list[tuple]]:
    """(file, target, labels, prediction, type) of the unproblematic images, per model in the order of the folders."""
    columns = ["img_rel_path", "target", "multi_label", "top1", "error_type", "is_problematic"]
    paths = sorted((analysed / "artefacts/imagenet").glob("*/errors_analysis.parquet"))
    tables = [read_joined(path, columns).to_pydict() for path in paths]
    return [[row[:-1] for row in zip(*table.values(), strict=True) if not row[-1]] for table in tables]


# --- recounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error_type", FLAGS)
def test_list_equals_a_plain_recount(analysed, stored, classes, error_type):
    times, about = Counter(), {}
    for model in stored:
        for file, target, labels, pred, name in model:
            if name == error_type:
                times[file, pred] += 1
                about[file] = (target, labels)
    text, printed = "", set()
    for number, ((file, pred), how_often) in enumerate(times.most_common(1000), start=1):  # ties stay in order
        if file not in printed:
            printed.add(file)
            target, labels = about[file]
            told = {i: f"{i}, {classes.wnids[i]}: {classes.descriptions[i]}\n" for i in (target, pred, *labels)}
            text += f"{number}) cnt mistakes = {how_often}, file = {file}\ntarget = {told[target]}multi_labels:\n"
            text += "".join(told[label] for label in labels) + f"pred = {told[pred]}\n"
    written = analysed / f"results/common_error_samples/most_common_{FLAGS[error_type]}.txt"
    assert written.read_bytes().decode() == text
    assert written.as_posix() in read_stdout(analysed).splitlines()


def test_out_of_vocabulary_list_is_not_written_where_the_test_was_skipped(analysed):
    assert not (analysed / "results/common_error_samples/most_common_fg-OOV.txt").exists()


def test_printed_number_of_pairs_equals_a_plain_recount(analysed, stored):
    seen = {
        frozenset((label, pred))
        for model in stored
        for _, _, labels, pred, name in model
        if name == "spurious_correlation"
        for label in labels
    }
    printed = re.findall(r"^Spurious correlations pairs that appear as a mistake: (\d+)$", read_stdout(analysed), re.M)
    assert printed == [str(len(seen & plain_spurious_pairs(plain_superclasses())))]


def read_stdout(analysed) -> str:
    return (analysed / "stdout.txt").read_text()


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=3, max_size=3), min_size=1, max_size=6))
def test_ties_keep_the_order_of_first_appearance(models):
    images = make_images(["n/a", "n/b", "n/c"], [0, 0, 0], [[0], [0], [0]], [False] * 3, [False] * 3)
    counted = CountedImages(images, np.array([True, True, True]), {})
    code = CODES["model_failure"]
    analyses = [
        make_analysis(
            "m", np.array([p for p, _ in model], np.int16), np.array([code * e for _, e in model], np.int8), True
        )
        for model in models
    ]
    expected = Counter((row, pred) for model in models for row, (pred, error) in enumerate(model) if error)
    found = list(zip(*(column.tolist() for column in rank_errors(counted, analyses, code)[:3]), strict=True))
    assert found == [(*triple, times) for triple, times in expected.most_common()]


def test_problematic_images_are_not_listed(classes):
    images = make_images(["n/a", "n/b"], [0, 0], [[0], [0]], [False, False], [True, False])
    analysis = make_analysis("m", np.array([5, 5], np.int16), np.full(2, CODES["model_failure"], np.int8), True)
    counted = CountedImages(images, ~images.problematic, {})
    text = list_errors(counted, [analysis], CODES["model_failure"], classes)
    assert re.findall("file = (.*)", text) == ["n/b"]


def test_list_shows_the_proposals_of_the_first_model_with_the_error(classes):
    """Of the row of the image in that model."""
    images = make_images(["n/a", "n/b"], [0, 0], [[0], [0]], [False] * 2, [False] * 2)
    code, failure = CODES["out_of_vocabulary"], CODES["model_failure"]
    error_types = {"a": [failure, failure], "b": [failure, code], "c": [code, code]}

    def proposals(model, rows):
        best = [[Proposal(7, f"{model}'s {row}", 0.12346)._asdict()] for row in rows]
        return rows, pa.table({"num_prompts": rows + 7, "top5": best})

    analyses = [
        replace(make_analysis(model, [5, 5], codes), listed=proposals(model, np.flatnonzero(np.array(codes) == code)))
        for model, codes in error_types.items()
    ]
    text = list_errors(CountedImages(images, ~images.problematic, {}), analyses, code, classes)
    details = [ast.literal_eval(line)[1] for line in text.splitlines() if line.startswith("[")]
    assert details == [
        """Top-5 alternative proposals: [(7, "b's 1", '12.35%')] | out of 8""",
        """Top-5 alternative proposals: [(7, "c's 0", '12.35%')] | out of 7""",
    ]


# --- the published layout --------------------------------------------------------------------------------------------

ENTRY = re.compile(
    r"(?P<number>\d+)\) cnt mistakes = (?P<times>\d+), file = (?P<file>\S+)\n"
    r"target = (?P<target>\d+), .*\nmulti_labels:\n(?P<labels>(?:\d+, n\d+: .*\n)+)pred = (?P<pred>\d+), .*\n\n"
)


@pytest.mark.parametrize("flag", FLAGS.values())
def test_layout_equals_that_of_the_published_list(shared, classes, flag):
    """Synthetic models give the published triples their counts and ranks."""
    text = (shared / f"published/common_error_samples/most_common_{flag}.txt").read_bytes().decode()
    entries = [match.groupdict() for match in ENTRY.finditer(text)]
    assert sum(len(match[0]) for match in ENTRY.finditer(text)) == len(text)
    images = make_images(
        [entry["file"] for entry in entries],
        [int(entry["target"]) for entry in entries],
        [[int(line.split(",")[0]) for line in entry["labels"].splitlines()] for entry in entries],
        [False] * len(entries),
        [False] * len(entries),
    )
    counted = CountedImages(images, np.full(len(images), True), {})
    assert (
        list_errors(
            counted,
            models_that_make(triples_of(entries), len(images), CODES_BY_FLAG[flag]),
            CODES_BY_FLAG[flag],
            classes,
        )
        == text
    )


def triples_of(entries: list[dict[str, str]]) -> list[tuple[int, int, int]]:
    """(image, prediction, times) by rank; ranks that are not printed go to images that are printed further up."""
    triples, unused = [], count(0)
    for row, entry in enumerate(entries):
        times, pred = int(entry["times"]), int(entry["pred"])
        while len(triples) + 1 < int(entry["number"]):
            number = next(unused)
            image = number % row
            others = set(range(1000)) - {shown for of, shown, _ in triples if of == image}
            triples.append((image, min(others), times))
        triples.append((row, pred, times))
    return triples


def models_that_make(triples: list[tuple[int, int, int]], num_images: int, code: int) -> list[ErrorAnalysis]:
    """As many models as it takes: first one per triple, so that ties are in order, then the rest one upon another."""
    heights = np.full(num_images, len(triples))
    for image, _, times in triples:
        heights[image] += times - 1
    top1 = np.zeros((heights.max(), num_images), np.int16)
    error_types = np.full(top1.shape, CODES["correct"], np.int8)
    heights[:] = len(triples)
    for rank, (image, pred, times) in enumerate(triples):
        more = slice(heights[image], heights[image] + times - 1)
        top1[rank, image] = top1[more, image] = pred
        error_types[rank, image] = error_types[more, image] = code
        heights[image] = more.stop
    return [make_analysis("m", *arrays, True) for arrays in zip(top1, error_types, strict=True)]
