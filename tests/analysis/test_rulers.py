"""Accuracies by several rulers: equal to plain recomputations, and their intervals hold what they say."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors.analysis import accuracies
from imagenet_errors.analysis.accuracies import (
    Accuracy,
    measure_accuracies,
    measure_multi_label,
    measure_real,
    measure_top5,
)
from imagenet_errors.analysis.analysed_models import analyse_files, analyse_predictions
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.error_types import CODES
from imagenet_errors.formats.predictions import NO_PREDICTION, Predictions
from imagenet_errors.formats.stats_tables import COUNTS_AS_CORRECT
from imagenet_errors.paths import Artefacts

NUM_SIMULATED = 2_000


@pytest.fixture(scope="module")
def timm_folder() -> Path:
    package = importlib.util.find_spec("timm")
    if package is None:
        pytest.skip("timm is not installed")
    return Path(package.submodule_search_locations[0]) / "data"


@pytest.fixture(scope="module")
def real_json(timm_folder) -> list[list[int]]:
    return json.loads((timm_folder / "_info/imagenet_real_labels.json").read_text())


@pytest.fixture(scope="module")
def context(analysed):
    return load_context(Artefacts(analysed / "artefacts"), "imagenet")


@pytest.fixture(scope="module")
def models(context):
    """The twelve by name."""
    return {model.name: model for model in analyse_files([ModelFiles(context, name) for name in context.models])}


@pytest.fixture(scope="module")
def measured(context, models):
    """{model: {name: accuracy}} of the twelve."""
    return {name: measure(context, model) for name, model in models.items()}


def measure(context, model) -> dict[str, Accuracy]:
    return {one.name: one for one in measure_accuracies(context, model)}


def test_real_accuracies_equal_a_plain_recomputation(measured, models, context, real_json):
    assert len(measured) == 12
    for model, found in measured.items():
        right = total = 0
        predictions = models[model].predictions.top1.tolist()
        for file, prediction in zip(context.samples.files.tolist(), predictions, strict=True):
            labels = real_json[int(file[-13:-5]) - 1]
            total += bool(labels)
            right += prediction in labels
        assert found["real"].value == 100 * right / total
        assert found["real"].num_images == total == 46_837


def test_real_accuracy_is_that_of_timm(measured, models, context, timm_folder):
    """By timm's own class, loaded without timm."""
    spec = importlib.util.spec_from_file_location("real_labels", timm_folder / "real_labels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = "pytorch--resnet50"
    best = models[model].predictions.top1[:, None].astype(int)
    tensor = SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: best))
    theirs = module.RealLabelsImagenet(
        context.samples.files.tolist(), timm_folder / "_info/imagenet_real_labels.json", topk=(1,)
    )
    theirs.add_result(SimpleNamespace(topk=lambda *_: (None, tensor)))
    assert measured[model]["real"].value == pytest.approx(theirs.get_accuracy(1), abs=1e-9)


def test_other_accuracies_are_those_of_predictions_and_tables(measured, models, context, analysed):
    import pandas as pd

    table = pd.read_csv(analysed / "results/stats-imagenet/non_problematic_stats_all.csv").set_index("model_dir_id")
    targets = context.samples.targets.tolist()
    for model, of_model in measured.items():
        assert of_model["top1"].value == table.top1_val_acc[model]
        assert of_model["multi_label"].value == table.mla_all[model]
        assert of_model["multi_label"].num_images == table.num_all_samples[model]
        top5 = models[model].predictions.top5
        if top5 is None:
            assert of_model["top5"].value is None
            assert of_model["top5"].unknown
        else:
            right = sum(target in best for target, best in zip(targets, top5.tolist(), strict=True))
            assert of_model["top5"].value == 100 * right / len(targets)
        for one in of_model.values():
            assert (one.value is None) == bool(one.unknown)
            assert one.value is None or one.low < one.value < one.high


def test_imagenet_m_is_known_where_its_images_are(context):
    images = replace(context.images, imagenet_m=np.zeros(len(context.images), bool))
    listed = np.flatnonzero(~images.problematic)[:10]
    images.imagenet_m[listed] = True
    counted = CountedImages.of(images, context.class_groups)
    top1 = images.targets.copy()
    top1[listed[:3]], top1[listed[9]] = 1000, NO_PREDICTION
    found = accuracies.measure_imagenet_m(counted, top1)
    assert (found.value, found.num_images) == (pytest.approx(100 * 6 / 9), 9)
    assert accuracies.measure_imagenet_m(context.counted_images, top1).value is None


def test_part_of_the_images_is_measured_on_its_own(context, models):
    model = models["pytorch--resnet50"]
    rows = np.arange(0, 50_000, 9, dtype=np.int32)
    top5 = None if model.predictions.top5 is None else model.predictions.top5[rows]
    part = analyse_predictions(context, "part", Predictions(model.predictions.top1[rows], top5, rows=rows))
    found, targets = measure(context, part), context.samples.targets[rows]
    assert found["top1"].num_images == len(rows)
    assert found["top1"].value == 100 * (part.predictions.top1 == targets).mean()
    assert found["real"].num_images == (context.real_labels[rows] != NO_LABEL).any(axis=1).sum()
    assert found["multi_label"].num_images == np.isin(context.images.rows[~context.images.problematic], rows).sum()
    assert found["multi_label"].low < found["multi_label"].value < found["multi_label"].high


def test_archived_models_and_other_datasets_have_fewer(context, models):
    model = replace(models["pytorch--resnet50"], predictions=None, top1_accuracy=76.1)
    archived = measure(context, model)
    assert list(archived) == list(accuracies.TITLES)
    assert (archived["top1"].value, archived["top1"].low, archived["top1"].num_images) == (76.1, None, None)
    assert archived["real"].value is None
    assert "archive" in archived["real"].unknown
    assert archived["multi_label"] == measure(context, models["pytorch--resnet50"])["multi_label"]
    other = replace(context, dataset="imagenet-a")
    for known in (model, models["pytorch--resnet50"]):
        assert list(measure(other, known)) == ["top1", "top5", "multi_label"]
    assert measure(context, replace(model, top1_accuracy=None))["top1"].unknown


def test_no_image_gives_no_accuracy():
    nothing = measure_real(np.array([3]), np.array([[NO_LABEL, NO_LABEL]]))
    assert (nothing.value, nothing.num_images) == (None, 0)
    assert nothing.unknown
    assert measure_top5(None, np.array([3])).unknown


def simulate_multi_label(sizes: np.ndarray, chances: np.ndarray) -> float:
    """How many of the intervals of simulated models hold the true mean of `chances`, percent of NUM_SIMULATED."""
    right = np.random.default_rng(0).binomial(sizes, chances, (NUM_SIMULATED, len(sizes)))
    values, effective = 100 * (right / sizes).mean(axis=1), len(sizes) ** 2 / (1 / sizes).sum()
    ends = [accuracies._with_interval("multi_label", value, effective, 1) for value in values.tolist()]
    true = 100 * chances.mean()
    return 100 * np.mean([one.low <= true <= one.high for one in ends])


@pytest.mark.parametrize("model", ["pytorch--alexnet", "keras--nasnetlarge"])
def test_interval_of_mla_holds_the_true_value(context, models, model):
    """Of classes with the sizes of ImageNet's and the accuracies of a real model; of equal classes as well."""
    error_types, counted = models[model].analysis.error_types, context.counted_images
    classes = context.images.targets[counted.counted]
    right = np.bincount(classes, np.isin(error_types, COUNTS_AS_CORRECT)[counted.counted], 1000)
    sizes = np.bincount(classes, minlength=1000)
    assert 94.5 <= simulate_multi_label(sizes, (right + 0.5) / (sizes + 1)) <= 97.5
    assert 94 <= simulate_multi_label(sizes, np.full(1000, 0.85)) <= 96


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=30))
def test_interval_of_mla_is_wilsons_where_classes_are_equal(images):
    """Effective number of images: as Kish's formula has it, image by image."""
    classes = np.array([one for one, _ in images])
    types = np.array([CODES["correct" if right else "model_failure"] for _, right in images], np.int8)
    counted = CountedImages(
        SimpleNamespace(targets=classes), np.ones(len(images), bool), {"all": np.ones(len(images), bool)}
    )
    found = measure_multi_label(counted, types)
    weights = [1 / (len(set(classes)) * (classes == one).sum()) for one in classes]
    effective = sum(weights) ** 2 / sum(weight**2 for weight in weights)
    assert found.num_images == len(images)
    assert (found.low, found.high) == pytest.approx(plain_wilson(found.value / 100, effective))


def plain_wilson(share: float, number: float) -> tuple[float, float]:
    z = 1.959963984540054
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * (share * (1 - share) / number + z**2 / (4 * number**2)) ** 0.5
    return 100 * (middle - half), 100 * (middle + half)
