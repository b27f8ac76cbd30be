"""Profiles where some outcomes of the open-world test are unknown: bounds of counts and shares, and their places."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.archived_open_world import Coverage
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.profile import BOTH_SIDES, Profile, make_profile
from imagenet_errors.analysis.profile_report import report_profile
from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.analysis.reports import FORMATS
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, ERROR_CODES, ERROR_TYPES
from imagenet_errors.formats.error_analyses import read
from imagenet_errors.paths import Artefacts

FOUND = CODES["out_of_vocabulary"]


@pytest.fixture(scope="module")
def context(analysed):
    return load_context(Artefacts(analysed / "artefacts"), "imagenet")


@pytest.fixture(scope="module")
def reference():
    return load_reference("imagenet")


def make_model(context, share_unknown: float) -> AnalysedModel:
    """ResNet-50's errors; of those that reach the test some are found, others unknown, by chance."""
    name, random = "pytorch--resnet50", np.random.default_rng(0)
    analysis = read(context.artefacts.analysis("imagenet", name), name)
    reaches = np.isin(analysis.error_types, AFTER_OPEN_WORLD)
    drawn = random.random(len(reaches))
    unknown = reaches & (drawn < share_unknown)
    types = np.where(reaches & (drawn > 0.9), np.int8(FOUND), analysis.error_types)
    told = replace(
        analysis,
        error_types=types,
        provisional=unknown,
        fingerprints=analysis.fingerprints | {"open_world": "recorded-"},
    )
    counted = reaches & context.counted_images.counted
    numbers = (0, int((counted & ~unknown).sum()), int((counted & unknown).sum()))
    return AnalysedModel(told, context.extent, False, 75.0, None, Coverage(*numbers))


@pytest.fixture(scope="module", params=[0.02, 0.3], ids=["few unknown", "many unknown"])
def model(request, context) -> AnalysedModel:
    return make_model(context, request.param)


@pytest.fixture(scope="module")
def profile(context, model, reference) -> Profile:
    return make_profile(context, model, reference)


def test_bounds_hold_for_all_outcomes_and_are_reached(context, model, profile):
    """Of 200 draws of the unknown outcomes, all yes and all no among them; each line is what it is for both ends."""
    random, counted = np.random.default_rng(1), context.counted_images
    unknown = np.flatnonzero(model.analysis.provisional)
    found = []
    for share in (0, 1, *random.random(198)):
        types = model.analysis.error_types.copy()
        types[unknown[random.random(len(unknown)) < share]] = FOUND
        by_group = counted.count(types).by_group
        found.append([by_group[group][list(ERROR_CODES)] for group in GROUPS])
    low, high = np.min(found, axis=0).ravel().tolist(), np.max(found, axis=0).ravel().tolist()
    assert [line.low_count for line in profile.lines] == low
    assert [line.high_count for line in profile.lines] == high
    for line in profile.lines:
        assert line.is_between == (line.low_count < line.high_count)
        assert (line.count is None) == (line.share is None) == line.is_between
        if line.shares:
            assert line.low <= line.shares[0] <= line.shares[1] <= line.high
    assert any(line.is_between for line in profile.lines)


def test_share_is_placed_where_both_bounds_are_on_one_side(profile, reference):
    mla, placed = profile.multi_label_accuracy, []
    for line in (line for line in profile.lines if line.is_between):
        ends = [reference.place(line.group, line.error_type, mla, share, profile.model) for share in line.shares]
        if None in ends:
            assert line.no_place not in ("", BOTH_SIDES)
            continue
        differences = [share - ends[0].expected for share in line.shares]
        is_one_side = differences[0] * differences[1] > 0
        assert (line.place is not None) == is_one_side
        assert line.no_place == ("" if is_one_side else BOTH_SIDES)
        if line.place is not None:
            nearest = min(ends, key=lambda end: abs(end.deviation))
            assert line.place == nearest
            assert f"at least {min(map(abs, differences)):.1f} points" in line.describe()
            placed.append(line)
    assert placed


def test_complete_outcomes_are_a_complete_profile(context, model, reference):
    """As with the test itself: with none unknown, nothing is a bound."""
    known = replace(model.analysis, provisional=np.zeros_like(model.analysis.provisional))
    profile = make_profile(context, replace(model, analysis=known, coverage=Coverage(1, 2, 0)), reference)
    tested = replace(known, fingerprints=known.fingerprints | {"open_world": "tested"})
    expected = make_profile(context, replace(model, analysis=tested, coverage=None), reference)
    assert profile.lines == expected.lines
    assert not any(line.is_between or line.is_bound for line in profile.lines)
    texts = [FORMATS["text"](report_profile(one)) for one in (profile, expected)]
    added = next(line for line in texts[0].splitlines() if line not in texts[1].splitlines())
    assert added.startswith("- Open-world test, from archived analyses: of 3 errors")


def test_all_formats_give_the_same_bounds(profile):
    report = report_profile(profile)
    texts = {name: write(report) for name, write in FORMATS.items()}
    content = json.loads(texts["json"])
    assert content["open_world"] == profile.coverage._asdict()
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    for row, entry in zip(rows, content["error_types"], strict=True):
        assert {key: row[key] for key in entry} == {key: "" if v is None else str(v) for key, v in entry.items()}
    titles = {ERROR_TYPES[code].title.replace("fine-grained out", "out") for code in ERROR_CODES}
    latex = texts["latex"].replace(r"$\ge$", "≥").replace(r"$\le$", "≤").replace(r"\*", "*").replace(r"\_", "_")
    cells = {}
    for name, text, separator in (("markdown", texts["markdown"], "|"), ("latex", latex, "&")):
        lines = [[cell.strip(" \\") for cell in line.split(separator)] for line in text.splitlines()]
        cells[name] = [[cell for cell in line if cell] for line in lines if titles & set(line)]
    assert cells["markdown"] == cells["latex"]
    for line, row in zip(profile.lines, cells["markdown"], strict=True):
        if line.is_between:
            assert row[1] == f"{line.low_count:,}–{line.high_count:,}"
            assert row[2] == "{:.1f}–{:.1f}".format(*line.shares)
            assert re.search(rf"{row[1]} +{row[2]}", texts["text"])
    assert "are unknown: types after the test are bounds" in " ".join(texts["text"].split())
