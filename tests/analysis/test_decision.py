"""The decision over whole arrays, against the published decisions and against a plain one image at a time."""

import csv
import random
import tarfile
from collections import defaultdict
from functools import cache
from itertools import combinations, starmap

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.analysis.decision import Decisions, Relations, decide, overlap
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.superclasses import Superclasses
from imagenet_errors.error_types import CODES, CODES_BY_FLAG, ERROR_TYPES, NO_NOTE, NOTES
from tests.helpers import plain_decision
from tests.helpers.analyses import make_images, read_joined
from tests.helpers.plain_facts import plain_annotations, plain_spurious_pairs, plain_superclasses, read_non_prototypical

BEFORE_OPEN_WORLD = ("overlapping_classes", "multi_label", "fg")
AFTER_OPEN_WORLD = ("spurious_correlation", "non-proto", "model_failure")


# --- the published decisions -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(shared, context):
    """The published rows, the images they are about and the types that `decide` gives, by open-world test."""
    with open(shared / "published/decisions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4_731
    listed = read_non_prototypical()
    images = make_images(
        [row["file"] for row in rows],
        [int(row["target"]) for row in rows],
        [list(map(int, row["multi_labels"].split())) for row in rows],
        [row["file"].split("/")[1] in listed for row in rows],
        [False] * len(rows),
    )
    top1 = np.array([int(row["prediction"]) for row in rows], np.int16)
    expected = np.array([CODES_BY_FLAG[row["error_type"]] for row in rows])
    outcomes = {"skipped": None, "given": expected == CODES_BY_FLAG["fg-OOV"]}
    error_types = {name: decide(images, top1, context.relations, given).error_types for name, given in outcomes.items()}
    return rows, expected, error_types


def assert_types(published, chosen: np.ndarray, open_world: str) -> None:
    rows, expected, error_types = published
    wrong = np.flatnonzero(chosen & (error_types[open_world] != expected))
    lines = [f"{rows[row]} is typed {ERROR_TYPES[error_types[open_world][row]].flag or 'correct'}" for row in wrong]
    assert not lines, "\n".join(lines)


def test_exactly_the_published_overlap_multi_label_and_fine_grained_errors_get_these_types(published):
    early = [CODES_BY_FLAG[flag] for flag in BEFORE_OPEN_WORLD]
    _, expected, error_types = published
    assert_types(published, np.isin(expected, early) | np.isin(error_types["skipped"], early), "skipped")


def test_published_types_after_the_open_world_test_are_reproduced_where_it_is_skipped(published):
    assert_types(published, np.isin(published[1], [CODES_BY_FLAG[flag] for flag in AFTER_OPEN_WORLD]), "skipped")


def test_every_published_decision_is_reproduced_with_the_open_world_outcomes(published):
    assert_types(published, np.ones(len(published[0]), bool), "given")


# --- twelve models on the annotated images ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def facts():
    """What the plain taxonomy needs, read by plain code."""
    superclasses_of = plain_superclasses()
    return {"superclasses_of": superclasses_of, "spurious_pairs": plain_spurious_pairs(superclasses_of)}


@pytest.fixture(scope="module")
def plain_images(twelve):
    """(file, target, accepted labels, whether non-prototypical) of the annotated images, and their sample rows."""
    (accepted, _), non_prototypical = plain_annotations(twelve), read_non_prototypical()
    with np.load(twelve / "imagenet/samples_info.npz") as archive:
        pairs = zip(archive["sample_files"].tolist(), archive["targets"].tolist(), strict=True)
    samples = [(file, target, file.split("/")[1]) for file, target in pairs]
    rows = [row for row, (_, _, name) in enumerate(samples) if name in accepted]
    images = [
        (file, target, accepted[name], name in non_prototypical)
        for file, target, name in map(samples.__getitem__, rows)
    ]
    return images, rows


@pytest.fixture(scope="module")
def plain_decisions(twelve, context, plain_images, facts):
    """{model: its decisions on the 20,000 annotated images}."""
    images, rows = plain_images

    @cache
    def decide_plainly(row, pred):
        _, target, labels, non_prototypical = images[row]
        return plain_decision.decide(target, labels, pred, non_prototypical=non_prototypical, **facts)

    return {
        model: list(starmap(decide_plainly, enumerate(read_top1(twelve, model)[rows].tolist())))
        for model in context.models
    }


def read_top1(folder, model: str) -> np.ndarray:
    with np.load(folder / "imagenet" / model / "preds.npz") as archive:
        return archive["top1"]


def assert_equal(images: AnnotatedImages, decisions: Decisions, plain: list) -> None:
    """The decisions on n images are the plain ones, superclasses aside."""
    assert decisions.error_types.tolist() == [CODES[one.error_type] for one in plain]
    codes = {note.name: code for code, note in enumerate(NOTES)} | {None: NO_NOTE}
    assert decisions.notes.tolist() == [codes[one.note] for one in plain]
    assert decisions.provisional.tolist() == [one.provisional for one in plain]
    explained = np.flatnonzero(decisions.matching.any(axis=1))
    matching = {row: images.labels[row][decisions.matching[row]].tolist() for row in explained.tolist()}
    assert matching == {row: one.matching for row, one in enumerate(plain) if one.matching}


def test_decisions_of_twelve_models_equal_the_plain_ones(context, plain_decisions):
    assert (len(plain_decisions), {len(decisions) for decisions in plain_decisions.values()}) == (12, {20_000})
    for model, plain in plain_decisions.items():
        decisions = decide(context.images, ModelFiles(context, model).top1, context.relations)
        assert_equal(context.images, decisions, plain)


def test_decisions_with_open_world_outcomes_equal_the_plain_ones(context, plain_images, facts):
    images, _ = plain_images
    top1 = ModelFiles(context, "pytorch--resnet18").top1
    outcomes = np.random.default_rng(0).random(len(images)) < 0.5
    plain = [
        plain_decision.decide(target, labels, pred, non_prototypical=unlike, out_of_vocabulary=outcome, **facts)
        for (_, target, labels, unlike), pred, outcome in zip(images, top1.tolist(), outcomes.tolist(), strict=True)
    ]
    assert_equal(context.images, decide(context.images, top1, context.relations, outcomes), plain)


def test_many_models_at_once_are_decided_as_each_alone(context):
    top1 = np.array([ModelFiles(context, model).top1 for model in context.models])
    assert top1.shape == (12, 20_000)
    at_once = decide(context.images, top1, context.relations)
    for row, predicted in enumerate(top1):
        alone = decide(context.images, predicted, context.relations)
        for name, values in vars(alone).items():
            assert np.array_equal(getattr(at_once, name)[row], values), (context.models[row], name)


def test_stored_decisions_equal_the_plain_ones(analysed, plain_images, plain_decisions):
    images, _ = plain_images
    for number, (model, plain) in enumerate(plain_decisions.items()):
        table = read_joined(analysed / "artefacts/imagenet" / model / "errors_analysis.parquet")
        columns = ["note", "error_type", "provisional", *(["matching", "superclasses"] if number % 4 == 0 else [])]
        stored = table.select(columns).to_pydict()
        if "superclasses" in stored:
            stored["superclasses"] = map(set, stored["superclasses"])
        expected = [tuple(getattr(one, name) for name in columns) for one in plain]
        assert list(zip(*stored.values(), strict=True)) == expected
        assert table["img_rel_path"].to_pylist() == [file for file, _, _, _ in images]
    assert table["multi_label"].to_pylist() == [labels for _, _, labels, _ in images]


def test_overlapping_classes_equal_the_plain_table():
    pairs = [(target, also) for target, many in plain_decision.OVERLAPPING.items() for also in sorted(many)]
    assert np.argwhere(overlap()).tolist() == sorted(map(list, pairs))


# --- the archived analyses of two models -----------------------------------------------------------------------------

ARCHIVED_TYPES = {error_type.archived: error_type.name for error_type in ERROR_TYPES}
ARCHIVED_NOTES = {note.archived: note.name for note in NOTES}


@pytest.fixture(scope="module", params=["pytorch--resnet50", "keras--xception"])
def archived(request, shared, context):
    """A model's decisions and its archived frame, whose rows are the same images in the same order."""
    with tarfile.open(shared / "archives/models-imagenet.tar.gz") as archive:
        frame = pd.read_pickle(archive.extractfile(f"imagenet/{request.param}/errors_analysis.pkl"))
    assert frame.img_rel_path.tolist() == context.images.files.tolist()
    top1 = ModelFiles(context, request.param).top1
    assert frame.top1.tolist() == top1.tolist()
    return decide(context.images, top1, context.relations), frame, top1


def split_strings(strings: list[str]) -> tuple[str | None, str, list[str]]:
    """Note, error type and details of an archived list of strings."""
    note = ARCHIVED_NOTES.get(strings[0])
    error_type, *details = strings[note is not None :]
    return note, ARCHIVED_TYPES[error_type], details


def test_error_types_and_notes_equal_those_of_the_archive(context, archived):
    decisions, frame, _ = archived
    undecided = {"spurious_correlation", "non_prototypical", "model_failure"}
    for row, strings in enumerate(frame.error_types):
        note, error_type, _ = split_strings(strings)
        our_note = None if decisions.notes[row] == NO_NOTE else NOTES[decisions.notes[row]].name
        ours, provisional = ERROR_TYPES[decisions.error_types[row]].name, decisions.provisional[row]
        if error_type == "out_of_vocabulary":  # the archive's outcomes of the open-world test are not ours
            assert (our_note, ours in undecided, provisional) == (note, True, True), frame.img_rel_path.iloc[row]
        else:
            assert (our_note, ours) == (note, error_type), frame.img_rel_path.iloc[row]


def test_details_equal_those_of_the_archive(context, archived):
    decisions, frame, top1 = archived
    compared = defaultdict(set)
    for row, strings in enumerate(frame.error_types):
        _, error_type, details = split_strings(strings)
        if error_type == "out_of_vocabulary":
            continue
        labels = ",".join(map(str, context.images.labels[row][decisions.matching[row]]))
        superclasses = [set(details[0].strip("[]").split(","))] if details and details[0].startswith("[") else []
        assert superclasses == [set(context.superclasses.names_of(top1[row]))] * len(superclasses)
        assert details[len(superclasses) :] == ([labels] if labels else [])
        compared[error_type].add((len(superclasses), bool(labels)))
    assert compared["fine_grained"] == {(1, True)}
    assert compared["like_target"] == {(1, False)}
    assert compared["spurious_correlation"] == {(0, True)}


# --- random cases ------------------------------------------------------------------------------------------

POOL = (0, 1, 248, 249, 356, 357, 358, 359, 836, 837, 999)  # overlaps in one and both directions; 999 is where -1 leads


def draw_relations(rng) -> tuple[dict[int, set[str]], set[frozenset[int]]]:
    """Random superclasses of the classes in POOL, and spurious pairs of them."""
    few = rng.random() / 2
    superclasses_of = {c: {n for n in "abcdef" if rng.random() < few} or {rng.choice("abcdef")} for c in POOL}
    return superclasses_of, {frozenset(pair) for pair in combinations(POOL, 2) if rng.random() < few}


def relations_of(superclasses_of: dict[int, set[str]], pairs: set[frozenset[int]]) -> Relations:
    members = np.zeros((1000, 6), bool)
    for class_id, names in superclasses_of.items():
        members[class_id, ["abcdef".index(name) for name in names]] = True
    spurious = np.zeros((1000, 1000), bool)
    for a, b in pairs:
        spurious[a, b] = spurious[b, a] = True
    return Relations(Superclasses(tuple("abcdef"), members).share, spurious)


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_random_combinations_are_decided_as_by_plain_code(seed, skipped):
    """Two models at once on 200 images."""
    rng = random.Random(seed)
    superclasses_of, pairs = draw_relations(rng)
    targets = [rng.choice(POOL) for _ in range(200)]
    labels = [rng.choices(POOL, k=rng.randrange(5)) for _ in targets]  # a label may occur twice
    non_prototypical, problematic = ([rng.random() < 0.5 for _ in targets] for _ in range(2))
    images = make_images([f"n/{row}" for row in range(len(targets))], targets, labels, non_prototypical, problematic)
    top1 = np.array([rng.choices(POOL, k=len(targets)) for _ in range(2)], np.int16)
    outcomes = None if skipped else np.array([[rng.random() < 0.5 for _ in targets] for _ in top1])
    decisions = decide(images, top1, relations_of(superclasses_of, pairs), outcomes)
    facts = {"superclasses_of": superclasses_of, "spurious_pairs": pairs}
    for model, predicted in enumerate(top1.tolist()):
        known = [None] * len(targets) if skipped else outcomes[model].tolist()
        plain = [
            plain_decision.decide(*image, non_prototypical=unlike, out_of_vocabulary=outcome, **facts)
            for *image, unlike, outcome in zip(targets, labels, predicted, non_prototypical, known, strict=True)
        ]
        assert_equal(images, Decisions(**{name: values[model] for name, values in vars(decisions).items()}), plain)
