"""Sentences say what a figure shows of the tables that it was drawn from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.notebooks.captions import describe_method, describe_trend, name_x, name_y
from imagenet_errors.paths import PUBLISHED_TABLES
from imagenet_errors.plots.figure_table import load_figures
from imagenet_errors.plots.model_frames import load_frames
from imagenet_errors.plots.points import compute_points
from tests.conftest import COMMITTED


@pytest.fixture(scope="module")
def figure():
    return next(one for one in load_figures(COMMITTED) if one.y == "num_same_superclass" and one.y_unit == "percent")


def points(x, y, group="all") -> pd.DataFrame:
    return pd.DataFrame({"group": group, "x": x, "y": y})


def test_every_figure_has_a_name():
    names = {(name_y(figure), name_x(figure)) for figure in load_figures(COMMITTED)}
    assert ("the share of fine-grained errors among the group's multi-label errors", "MLA") in names
    assert ("the number of model failures", "MLA on ImageNet") in names
    assert ("the top-1 accuracy on ImageNet-A", "top-1 accuracy on ImageNet") in names


def test_ends_are_medians_of_a_tenth(figure):
    """Plainly: of 30 models the three least and the three most accurate, whatever the order of the rows."""
    x = np.random.default_rng(0).permutation(30).astype(float)
    sentence = describe_trend(figure, points(x, np.where(x == 0, 1000, 50 - x)), ["all"])
    assert sentence == "it falls for all images from 49.0 % to 22.0 % (ρ −1.00)"
    assert "3 least" in describe_method(30)


def test_published_trend_is_told_with_its_numbers(figure):
    frames = load_frames(PUBLISHED_TABLES, "imagenet")
    of_figure = compute_points(figure, frames).sort_values("x", kind="stable")
    low, high = of_figure.y[:96].median(), of_figure.y[-96:].median()
    sentence = describe_trend(figure, of_figure, ["all"])
    assert sentence.startswith(f"it rises for all images from {low:.1f} % to {high:.1f} % (ρ +0.9")


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        ([70], [12.34], "it is 12.3 % for all images"),
        ([70, 71, 72], [5, 5, 5], "it is 5.0 % for all images"),
        ([], [], "it is unknown for all images"),
        ([1, 2, 3, 4], [1, 3, 0, 2], "it shows no trend for all images (from 1.0 % to 2.0 %, ρ +0.00)"),
    ],
)
def test_tables_without_a_trend_claim_none(figure, x, y, sentence):
    assert describe_trend(figure, points(x, y), ["all"]) == sentence


def test_every_group_asked_for_is_described(figure):
    of_groups = pd.concat([points([1, 2], [3, 4], "organism"), points([1, 2], [4, 3], "artifact")])
    sentence = describe_trend(figure, of_groups, ["organism", "artifact"])
    assert sentence.startswith("it rises for organisms from 3.0 % to 4.0 %")
    assert "; it falls for artifacts from 4.0 % to 3.0 %" in sentence


def test_counts_and_fractions_have_their_own_form(figure):
    of_two = points([1, 2], [1234.0, 0.25])
    assert "from 1,234 to 0 " in describe_trend(replace(figure, y_unit="count"), of_two, ["all"])
    assert "to 0.250 " in describe_trend(replace(figure, y_unit="fraction"), of_two, ["all"])
