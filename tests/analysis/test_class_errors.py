"""The errors that are expected of each class, on the twelve models and on models made of random numbers."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors.analysis.analysed_models import analyse_files
from imagenet_errors.analysis.browse import read_all_others
from imagenet_errors.analysis.class_errors import count_class_errors, expect_errors
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.paths import Artefacts

NAME = "imagenetx--ViT"


@pytest.fixture(scope="module")
def analysed_context(analysed: Path):
    return load_context(Artefacts(analysed / "artefacts"), "imagenet")


@pytest.fixture(scope="module")
def model(analysed_context):
    return analyse_files([ModelFiles(analysed_context, NAME)])[0]


@pytest.fixture(scope="module")
def others(analysed_context, model):
    return read_all_others(analysed_context, [model])


def change_top1(model, top1):
    return replace(model, analysis=replace(model.analysis, top1=top1.astype(np.int16)))


def test_expected_errors_are_those_of_a_plain_computation(analysed_context, model, others):
    found = count_class_errors(analysed_context, model, others)
    images, counted = analysed_context.images, analysed_context.counted_images.counted
    rates, total = {}, 0
    for target in range(1000):
        rows = [row for row in np.flatnonzero(images.targets == target) if counted[row]]
        wrong = sum(int(top1[row] != target) for top1 in others for row in rows)
        rates[target] = (len(rows), (wrong + 0.5) / (len(others) * len(rows) + 1))
        total += sum(int(model.analysis.top1[row] != target) for row in rows)

    def list_expected(factor):
        odds = {target: factor * rate / (1 - rate) for target, (_, rate) in rates.items()}
        return [number * odds[target] / (1 + odds[target]) for target, (number, _) in rates.items()]

    low, high = 1e-3, 1e3
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if sum(list_expected(middle)) < total else (low, middle)
    assert found.num_models == len(others) == 11
    assert found.num_images.tolist() == [number for number, _ in rates.values()]
    assert found.expected.sum() == pytest.approx(total)
    np.testing.assert_allclose(found.expected, list_expected(low), rtol=1e-6)


def test_class_that_is_always_wrong_stands_out(analysed_context, model, others):
    targets = analysed_context.images.targets
    other = others[0]
    easy = np.where(targets == 292, 291, other)  # tigers, which the other models know
    found = count_class_errors(analysed_context, change_top1(model, easy), [*others, other])
    assert found.stands_out == (292,)


def test_random_models_of_the_same_rates_do_not_stand_out():
    from scipy.stats import binom

    generator = np.random.default_rng(0)
    num_images, rates = np.full(1000, 19), generator.beta(1, 4, 1000)
    of_others = generator.binomial(11 * num_images, rates)
    p_values = []
    for _ in range(20):
        errors = generator.binomial(num_images, rates / (rates + 2 * (1 - rates)))  # half the odds
        expected = expect_errors(num_images, of_others, 11, errors.sum())
        p_values.append(binom.sf(errors - 1, num_images, expected / num_images))
    assert np.mean(np.array(p_values) <= 0.01) < 0.012


def test_nothing_is_expected_of_few_or_partial_models_or_without_errors(analysed_context, model, others):
    def expect(one, of):
        return count_class_errors(analysed_context, one, of)

    partial = np.full_like(others[0], NO_PREDICTION)
    assert expect(model, others[:5]).expected is not None
    left = expect(model, [*others[:4], partial, partial])
    assert (left.num_models, left.expected, left.stands_out) == (4, None, ())
    assert expect(change_top1(model, analysed_context.images.targets), others).expected is None
