"""Other labels and other sizes of the gate: equal to plain decisions, and what is left out is counted."""

import csv
import io
import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors.analysis.analysed_models import analyse_again, analyse_files, analyse_predictions
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.open_world import OpenWorld
from imagenet_errors.analysis.profile import make_profile
from imagenet_errors.analysis.profile_report import report_profile
from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.analysis.relabelling import relabel
from imagenet_errors.analysis.reports import FORMATS
from imagenet_errors.analysis.sensitivity import vary_choices
from imagenet_errors.analysis.sensitivity_report import report_sensitivity
from imagenet_errors.dataset.label_sets import find_label_set, load_label_sets
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED, ROOT, refused
from tests.helpers import plain_decision
from tests.helpers.plain_facts import plain_spurious_pairs, plain_superclasses, read_non_prototypical
from tests.helpers.plain_open_world import World
from tests.helpers.synthetic_clip import Made, gates, proposer

MODEL = "pytorch--resnet50"
GATE_SIZES = (5, 10, 20)


@pytest.fixture(scope="module")
def context(analysed):
    return load_context(Artefacts(analysed / "artefacts"), "imagenet")


@pytest.fixture(scope="module")
def models(context):
    """The twelve by name."""
    return {model.name: model for model in analyse_files([ModelFiles(context, name) for name in context.models])}


@pytest.fixture(scope="module")
def sensitivities(context, models):
    return {name: vary_choices(context, model) for name, model in models.items()}


@pytest.fixture(scope="module")
def decide_plainly(context):
    """The error type of one prediction of an annotated image, by its row, with other labels or verdicts."""
    superclasses_of = plain_superclasses()
    facts = {"superclasses_of": superclasses_of, "spurious_pairs": plain_spurious_pairs(superclasses_of)}
    non_prototypical, targets = read_non_prototypical(), context.images.targets.tolist()
    names = [file.partition("/")[2] for file in context.images.files.tolist()]

    def decide(row, labels, prediction, out_of_vocabulary=None):
        about = {"non_prototypical": names[row] in non_prototypical, "out_of_vocabulary": out_of_vocabulary}
        return plain_decision.decide(targets[row], labels, prediction, **facts, **about)

    return decide


@pytest.fixture(scope="module")
def real_json() -> list[list[int]]:
    package = find_spec("timm")
    if package is None:
        pytest.skip("timm is not installed")
    path = Path(package.submodule_search_locations[0]) / "data/_info/imagenet_real_labels.json"
    return json.loads(path.read_text())


def names_of(error_types) -> list[str]:
    return [ERROR_TYPES[code].name for code in error_types.tolist()]


@pytest.mark.parametrize("name", ["real", "original"])
def test_types_by_other_labels_equal_plain_ones(context, models, decide_plainly, real_json, name):
    found = relabel(context, models[MODEL], find_label_set(COMMITTED, name))
    images, expected, left_out = context.images, [], {"empty": 0, "without_original": 0}
    for row, (file, target, prediction) in enumerate(
        zip(images.files.tolist(), images.targets.tolist(), found.model.analysis.top1.tolist(), strict=True)
    ):
        labels = [target] if name == "original" else real_json[int(file[-13:-5]) - 1]
        expected.append(decide_plainly(row, labels, prediction).error_type)
        if target not in labels and not images.problematic[row]:
            left_out["without_original" if labels else "empty"] += 1
    assert names_of(found.model.analysis.error_types) == expected
    assert {key: getattr(found.labels, f"num_{key}") for key in left_out} == left_out
    assert left_out == ({"empty": 941, "without_original": 1310} if name == "real" else dict.fromkeys(left_out, 0))
    assert found.labels.num_counted == found.context.counted_images.counted.sum() == 18_692 - sum(left_out.values())


def test_images_left_out_of_a_part_are_those_with_a_prediction(context, models):
    rows = np.arange(0, 50_000, 10, dtype=np.int32)
    part = analyse_predictions(context, "part", Predictions(models[MODEL].predictions.top1[rows], rows=rows))
    found = relabel(context, part, find_label_set(COMMITTED, "real"))
    predicted = np.isin(context.images.rows, rows)
    assert found.labels.num_unproblematic == (predicted & ~context.images.problematic).sum()
    assert found.labels.num_counted == (predicted & ~found.context.images.problematic).sum()
    assert 0 < found.labels.num_empty < found.labels.num_without_original < found.labels.num_unproblematic / 10
    lines = make_profile(context, part, None, find_label_set(COMMITTED, "real")).lines
    assert sum(line.count or 0 for line in lines if line.group == "all") < found.labels.num_counted


def test_sensitivity_of_the_twelve(context, models, sensitivities):
    """The standard choice is the profile; by original labels alone there are no missing multi-labels."""
    assert len(sensitivities) == 12
    for name, sensitivity in sensitivities.items():
        standard, real, original = sensitivity.variations
        assert [one.choice for one in sensitivity.variations] == list(load_label_sets(COMMITTED))
        profile = make_profile(context, models[name], None)
        for line, of_profile in zip(standard.lines, profile.lines, strict=True):
            assert line == replace(of_profile, no_place=line.no_place)
        assert set(standard.moves) <= {0.0, None}
        for one, by_real, by_original in zip(standard.lines, real.lines, original.lines, strict=True):
            assert (one.group, one.error_type) == (by_real.group, by_real.error_type)
            if one.error_type == "missing_multi_label":
                assert by_original.count == 0
            if one.group == "all" and one.error_type == "class_overlap":
                assert by_original.count == one.count > by_real.count
        overlap, multi_label, fine_grained = real.moves[:3]  # on all images
        assert overlap == 0 > multi_label
        assert abs(fine_grained) < 5


def test_table_in_the_documentation_is_that_of_the_twelve(shared, context, models, sensitivities):
    for name, sensitivity in sensitivities.items():
        accuracies = {one.name: one.value for one in make_profile(context, models[name], None).accuracies}
        real = sensitivity.variations[1]
        shares = [(real.lines[at].share - real.moves[at], real.lines[at].share) for at in (1, 2)]
        cells = [f"{accuracies[ruler]:.2f}" for ruler in ("top1", "real", "multi_label")]
        cells += [f"{share:.1f}" for of_type in shares for share in of_type]
        assert f"| {name} | {' | '.join(cells)} |\n" in (ROOT / "docs/fidelity.md").read_text()


def test_moves_are_between_the_same_images(context, models, sensitivities):
    """The share by multi-labels on the images that ReaL labels leave is counted by hand."""
    real = sensitivities[MODEL].variations[1]
    counted = relabel(context, models[MODEL], find_label_set(COMMITTED, "real")).context.counted_images
    before = names_of(models[MODEL].analysis.error_types[counted.groups["organism"]])
    errors = [name for name in before if name not in ("correct", "class_overlap", "missing_multi_label")]
    at = next(n for n, line in enumerate(real.lines) if (line.group, line.error_type) == ("organism", "fine_grained"))
    share = 100 * errors.count("fine_grained") / len(errors)
    assert real.moves[at] == pytest.approx(real.lines[at].share - share)


@pytest.fixture(scope="module")
def tested(context, models):
    """A context with synthetic CLIP files, those files, and a model with predictions for a part of the images."""
    top1 = models[MODEL].predictions.top1
    made = Made.of(context.samples.files, gates(top1[None]))
    images, nearest, texts = made.parts()
    with_test = replace(context, open_world=OpenWorld.of(proposer(), context.images, images, nearest, texts))
    rows = np.arange(0, 50_000, 40, dtype=np.int32)
    return with_test, made, analyse_predictions(with_test, MODEL, Predictions(top1[rows], rows=rows))


def test_types_with_another_gate_equal_plain_ones(classes, tested, decide_plainly):
    context, made, model = tested
    world, images, embedding_of = World(classes.wnids, plain_superclasses()), context.images, made.embedding_of
    predicted, targets = np.flatnonzero(model.analysis.top1 >= 0).tolist(), images.targets.tolist()
    found = {size: names_of(analyse_again(context, model, size).analysis.error_types) for size in GATE_SIZES}
    for row in predicted:
        prediction, at = int(model.analysis.top1[row]), images.rows[row]
        labels = [label for label in images.labels[row].tolist() if label >= 0]
        plain = decide_plainly(row, labels, prediction)
        looks_like = plain.provisional and world.decide(
            made.images[at], [prediction], prediction, targets[row], embedding_of
        )
        for size in GATE_SIZES:
            if plain.provisional:
                is_open = any(world.share(prediction, near) for near in made.near[at, :size].tolist())
                is_caught = is_open and looks_like.is_out_of_vocabulary
                assert found[size][row] == decide_plainly(row, labels, prediction, is_caught).error_type
            else:
                assert found[size][row] == plain.error_type
    counts = [names.count("out_of_vocabulary") for names in found.values()]
    assert 0 < counts[0] < counts[1] < counts[2]


def test_neighbours_are_varied_where_there_is_a_test(tested, sensitivities):
    context, _, model = tested
    sensitivity = vary_choices(context, model)
    by_neighbours = [one for one in sensitivity.variations if one.varied == "neighbours"]
    assert [one.choice for one in by_neighbours] == list(map(str, GATE_SIZES))
    assert [one.is_standard for one in by_neighbours] == [False, True, False]
    assert by_neighbours[1].lines == sensitivity.variations[0].lines
    for one in sensitivity.variations:
        assert not any(line.is_bound for line in one.lines)
        for line, moved in zip(one.lines, one.moves, strict=True):
            assert moved is None or line.share is not None
    assert not [one for one in sensitivities[MODEL].variations if one.varied == "neighbours"]
    text = FORMATS["text"](report_sensitivity(sensitivity))
    assert "by neighbours" in text
    assert "not varied" not in text
    other = replace(context, dataset="imagenet-a")
    assert {one.varied for one in vary_choices(other, model).variations} == {"neighbours"}


def test_formats_print_the_same_numbers(tested, sensitivities):
    for sensitivity in (sensitivities[MODEL], vary_choices(*tested[::2])):
        report = report_sensitivity(sensitivity)
        texts = {name: write(report) for name, write in FORMATS.items()}
        content = json.loads(texts["json"])
        rows = list(csv.DictReader(io.StringIO(texts["csv"])))
        assert len(rows) == len(content["shares"]) == len(sensitivity.variations) * 28
        for row, entry in zip(rows, content["shares"], strict=True):
            assert row == {"model": MODEL} | {key: "" if v is None else str(v) for key, v in entry.items()}
        assert max(map(len, texts["text"].splitlines())) <= 80
        cells = {
            name: [re.findall(r"[\d.]+", line) for line in text.splitlines() if re.match(r"(\| )?fine-grained", line)]
            for name, text in texts.items()
            if name not in ("json", "csv")
        }
        assert cells["text"] == cells["markdown"] == cells["latex"]
        shares = [
            entry["share"]
            for entry in content["shares"]
            if (entry["error_type"], entry["group"]) == ("fine_grained", "all")
        ]
        assert [f"{share:.1f}" for share in shares[:1]] == cells["text"][0][:1]


def test_profile_by_other_labels_has_no_place(context, models):
    profile = make_profile(context, models[MODEL], load_reference("imagenet"), find_label_set(COMMITTED, "real"))
    assert profile.reference is None
    assert {line.place for line in profile.lines} == {None}
    assert profile.accuracies == make_profile(context, models[MODEL], None).accuracies
    content = report_profile(profile).content
    labels = content["labels"]
    assert (labels["name"], labels["source"]) == ("real", "Beyer et al. 2020")
    assert (labels["num_unproblematic"], labels["num_empty"], labels["num_without_original"]) == (18_692, 941, 1_310)
    assert labels["fingerprint"] != context.inputs.images
    assert [one["name"] for one in content["accuracies"]] == ["top1", "top5", "real", "multi_label", "imagenet_m"]
    text = FORMATS["text"](report_profile(profile))
    assert "those of published models by the multi-labels" in " ".join(text.split())
    assert "16,441 images; left out of 18,692: 941 that have no label, 1,310 whose labels" in " ".join(text.split())


@pytest.mark.parametrize("name", FORMATS)
def test_standard_labels_change_nothing(context, models, name):
    reference = load_reference("imagenet")
    found, expected = (
        FORMATS[name](report_profile(make_profile(context, models[MODEL], reference, label_set)))
        for label_set in (find_label_set(COMMITTED, "multi_label"), None)
    )
    assert found == expected


def test_flags_of_report(quick, small):
    flags = ("--model", "me/mine", "--artefacts_dir", small)
    done = quick("report", *flags, "--labels", "original", "--format", "json")
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["labels"]["name"] == "original"
    files = sorted(path for path in small.rglob("*") if path.is_file())
    done = quick("report", *flags, "--sensitivity")
    assert done.status == 0, done.stderr
    assert "real (Beyer et al. 2020):" in done.stdout
    assert sorted(path for path in small.rglob("*") if path.is_file()) == files
    assert refused(quick("report", *flags, "--labels", "reel"), "unknown label set 'reel', did you mean 'real'?")
    assert refused(quick("report", *flags, "--labels", "real", "--sensitivity"), "not allowed with")
    for flag in ("--labels", "real"), ("--sensitivity",):
        for other in ("--compare", "b"), ("--picture", "b.png"):
            assert refused(quick("report", *flags, *flag, *other), "go with one model")
