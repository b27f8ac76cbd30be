"""The decision over whole arrays, against the published decisions and against a plain one image at a time."""

import csv
import json
import tarfile
from collections import Counter
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_errors.analysis.decision import Relations, decide, overlap
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.dataset.superclasses import Superclasses
from imagenet_errors.error_types import CODES_BY_FLAG, ERROR_TYPES, NO_NOTE, NOTES
from imagenet_errors.paths import REPOSITORY
from tests.helpers import plain_decision as plain_taxonomy
from tests.helpers.analyses import read_joined
from tests.helpers.shared_predictions import predictions

BEFORE_OPEN_WORLD = ("overlapping_classes", "multi_label", "fg")
AFTER_OPEN_WORLD = ("spurious_correlation", "non-proto", "model_failure")


# --- the same facts by plain code ------------------------------------------------------------------------------------


def plain_lemmas(folder) -> dict[str, set[str]]:
    """{WordNet id: lemma names of the class and of all above it}."""
    lemmas, above = {}, {}
    with open(folder / "wordnet_closure.tsv", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            lemmas[row["offset"]] = set(row["lemmas"].split())
            above[row["offset"]] = (row["hypernyms"] + " " + row["instance_hypernyms"]).split()

    def of(offset):
        return lemmas[offset].union(*(of(up) for up in above[offset]))

    return {
        wnid: of(str(int(wnid[1:]))) for wnid in json.loads((folder / "imagenet_wnet_id_to_target.json").read_text())
    }


def plain_superclasses(folder) -> dict[int, set[str]]:
    """{class id: names of its superclasses, or its WordNet id where it is in none}."""
    definitions = json.loads((folder / "superclasses.json").read_text())
    ids = json.loads((folder / "imagenet_wnet_id_to_target.json").read_text())
    return {
        ids[wnid]: {name for name, lists in definitions.items() if any(set(wanted) <= lemmas for wanted in lists)}
        or {wnid}
        for wnid, lemmas in plain_lemmas(folder).items()
    }


def plain_annotations(path) -> tuple[dict[str, list[int]], set[str]]:
    """{file: accepted class ids}, and the problematic files."""
    content = json.loads(path.read_text())
    ids = json.loads((REPOSITORY / "artefacts/imagenet_wnet_id_to_target.json").read_text())
    accepted = {
        file: [ids[wnid] for wnid in lists.get("correct", []) + lists.get("unclear", [])]
        for file, lists in content["initial_annots"].items()
    }
    return accepted, set(content["problematic_images"])


def images_of(files, targets, labels, non_prototypical, problematic) -> AnnotatedImages:
    """Annotated images from lists; no image is refused."""
    width = max(1, *map(len, labels))
    return AnnotatedImages(
        np.arange(len(files)),
        np.array(files),
        np.array(targets, np.int16),
        np.array([[*accepted, *[NO_LABEL] * (width - len(accepted))] for accepted in labels], np.int16),
        np.full((len(files), 1), NO_LABEL, np.int16),
        np.array(problematic),
        np.array(non_prototypical),
        None,
    )


def as_plain(images: AnnotatedImages, decisions, index) -> tuple:
    """One decision as the plain taxonomy words it, superclasses aside."""
    note = decisions.notes[index]
    return (
        None if note == NO_NOTE else NOTES[note].name,
        ERROR_TYPES[decisions.error_types[index]].name,
        images.labels[index[-1]][decisions.matching[index]].tolist(),
        bool(decisions.provisional[index]),
    )


def but_superclasses(decision: plain_taxonomy.Decision) -> tuple:
    return decision.note, decision.error_type, decision.matching, decision.provisional


# --- the published decisions -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(shared, context):
    """The published rows, the images they are about and the types that `decide` gives, by open-world test."""
    with open(shared / "published/decisions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4_731
    listed = set((REPOSITORY / "artefacts/non_prototypical_files.txt").read_text().split())
    images = images_of(
        [row["file"] for row in rows],
        [int(row["target"]) for row in rows],
        [list(map(int, row["multi_labels"].split())) for row in rows],
        [row["file"].split("/")[1] in listed for row in rows],
        [False] * len(rows),
    )
    top1 = np.array([int(row["prediction"]) for row in rows], np.int16)
    expected = np.array([CODES_BY_FLAG[row["error_type"]] for row in rows])
    answers = {"skipped": None, "given": expected == CODES_BY_FLAG["fg-OOV"]}
    kinds = {name: decide(images, top1, context.relations, answer).error_types for name, answer in answers.items()}
    return rows, expected, kinds


def assert_types(published, chosen: np.ndarray, open_world: str) -> None:
    rows, expected, kinds = published
    wrong = np.flatnonzero(chosen & (kinds[open_world] != expected))
    lines = [f"{rows[row]} is typed {ERROR_TYPES[kinds[open_world][row]].flag or 'correct'}" for row in wrong]
    assert not lines, "\n".join(lines)


def test_exactly_the_published_overlap_multi_label_and_fine_grained_errors_get_these_types(published):
    early = [CODES_BY_FLAG[flag] for flag in BEFORE_OPEN_WORLD]
    _, expected, kinds = published
    assert_types(published, np.isin(expected, early) | np.isin(kinds["skipped"], early), "skipped")


def test_published_types_after_the_open_world_test_are_reproduced_where_it_is_skipped(published):
    assert_types(published, np.isin(published[1], [CODES_BY_FLAG[flag] for flag in AFTER_OPEN_WORLD]), "skipped")


def test_every_published_decision_is_reproduced_with_the_open_world_outcomes(published):
    assert_types(published, np.ones(len(published[0]), bool), "given")


# --- twelve models on the annotated images ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def facts(shared):
    """What the plain taxonomy needs, read by plain code."""
    with open(shared / "published/spurious_pairs.csv", newline="") as file:
        pairs = {frozenset((int(row["class_a"]), int(row["class_b"]))) for row in csv.DictReader(file)}
    return {"superclasses_of": plain_superclasses(REPOSITORY / "artefacts"), "spurious_pairs": pairs}


@pytest.fixture(scope="module")
def plain_images(shared):
    """(file, target, accepted labels, whether non-prototypical) of the annotated images, and their sample rows."""
    accepted, _ = plain_annotations(shared / "annotations/human_accuracy_v3.0.0.json")
    unlike = set((REPOSITORY / "artefacts/non_prototypical_files.txt").read_text().split())
    with open(shared / "predictions/samples.csv", newline="") as file:
        samples = [(row["file"], int(row["target"]), row["file"].split("/")[1]) for row in csv.DictReader(file)]
    rows = [row for row, (_, _, name) in enumerate(samples) if name in accepted]
    images = [(samples[row][0], samples[row][1], accepted[samples[row][2]], samples[row][2] in unlike) for row in rows]
    return images, rows, np.array([file for file, _, _ in samples])


def decide_plainly(images, top1, facts, out_of_vocabulary=None):
    answers = [None] * len(images) if out_of_vocabulary is None else out_of_vocabulary.tolist()
    return [
        plain_taxonomy.decide(target, labels, pred, non_prototypical=unlike, out_of_vocabulary=answer, **facts)
        for (_, target, labels, unlike), pred, answer in zip(images, top1.tolist(), answers, strict=True)
    ]


@pytest.fixture(scope="module")
def plain_decisions(context, plain_images, facts):
    """{model: its decisions on the 20,000 annotated images}."""
    images, rows, files = plain_images
    return {model: decide_plainly(images, predictions(model, files)["top1"][rows], facts) for model in context.models}


def test_decisions_of_twelve_models_equal_the_plain_ones(context, plain_decisions):
    assert (len(plain_decisions), {len(decisions) for decisions in plain_decisions.values()}) == (12, {20_000})
    for model, plain in plain_decisions.items():
        decisions = decide(context.images, ModelFiles(context, model).top1, context.relations)
        wrong = [
            (model, context.images.files[row], ours, expected)
            for row, expected in enumerate(map(but_superclasses, plain))
            if (ours := as_plain(context.images, decisions, (row,))) != expected
        ]
        assert wrong == []


def test_decisions_with_open_world_outcomes_equal_the_plain_ones(context, plain_images, facts):
    images, _, _ = plain_images
    top1 = ModelFiles(context, "pytorch--resnet18").top1
    says = np.random.default_rng(0).random(len(images)) < 0.5
    decisions = decide(context.images, top1, context.relations, says)
    plain = decide_plainly(images, top1, facts, says)
    ours = [as_plain(context.images, decisions, (row,)) for row in range(len(images))]
    assert ours == list(map(but_superclasses, plain))


def test_many_models_at_once_are_decided_as_each_alone(context):
    top1 = np.array([ModelFiles(context, model).top1 for model in context.models])
    assert top1.shape == (12, 20_000)
    at_once = decide(context.images, top1, context.relations)
    for row, predicted in enumerate(top1):
        alone = decide(context.images, predicted, context.relations)
        for name, values in vars(alone).items():
            assert np.array_equal(getattr(at_once, name)[row], values), (context.models[row], name)


def test_stored_decisions_equal_the_plain_ones(analysed, plain_images, plain_decisions):

    images, _, _ = plain_images
    for model, plain in plain_decisions.items():
        table = read_joined(analysed / "artefacts/imagenet" / model / "errors_analysis.parquet")
        stored = table.select(["note", "error_type", "matching", "superclasses", "provisional"]).to_pydict()
        stored["superclasses"] = map(set, stored["superclasses"])
        expected = [(d.note, d.error_type, d.matching, d.superclasses, d.provisional) for d in plain]
        assert list(zip(*stored.values(), strict=True)) == expected
        assert table["img_rel_path"].to_pylist() == [file for file, _, _, _ in images]
        assert table["multi_label"].to_pylist() == [labels for _, _, labels, _ in images]


def test_overlapping_classes_equal_the_plain_table():
    pairs = [(target, also) for target, many in plain_taxonomy.OVERLAPPING.items() for also in sorted(many)]
    assert np.argwhere(overlap()).tolist() == sorted(map(list, pairs))


# --- the archived analyses of two models -----------------------------------------------------------------------------

ARCHIVED_TYPES = {kind.archived: kind.name for kind in ERROR_TYPES}
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


def of_archive(strings: list[str]) -> tuple[str | None, str, list[str]]:
    """Note, type and details of an archived list."""
    note = ARCHIVED_NOTES.get(strings[0])
    error_type, *details = strings[note is not None :]
    return note, ARCHIVED_TYPES[error_type], details


def test_error_types_and_notes_equal_those_of_the_archive(context, archived):
    decisions, frame, _ = archived
    undecided = {"spurious_correlation", "non_prototypical", "model_failure"}
    for row, strings in enumerate(frame.error_types):
        note, error_type, _ = of_archive(strings)
        our_note, ours, _, provisional = as_plain(context.images, decisions, (row,))
        if error_type == "out_of_vocabulary":  # the archive's open-world outcomes are made up
            assert (our_note, ours in undecided, provisional) == (note, True, True), frame.img_rel_path.iloc[row]
        else:
            assert (our_note, ours) == (note, error_type), frame.img_rel_path.iloc[row]


def test_details_equal_those_of_the_archive(context, archived):
    decisions, frame, top1 = archived
    compared = Counter()
    for row, strings in enumerate(frame.error_types):
        _, error_type, details = of_archive(strings)
        if error_type == "out_of_vocabulary":
            continue
        labels = ",".join(map(str, context.images.labels[row][decisions.matching[row]]))
        superclasses = [set(details[0].strip("[]").split(","))] if details and details[0].startswith("[") else []
        assert superclasses == [set(context.superclasses.names_of(top1[row]))] * len(superclasses)
        assert details[len(superclasses) :] == ([labels] if labels else [])
        compared[error_type, len(superclasses), bool(labels)] += 1
    assert {kind[1:] for kind in compared if kind[0] == "fine_grained"} == {(1, True)}
    assert {kind[1:] for kind in compared if kind[0] == "like_target"} == {(1, False)}
    assert {kind[1:] for kind in compared if kind[0] == "spurious_correlation"} == {(0, True)}


# --- whatever else may come ------------------------------------------------------------------------------------------

POOL = (0, 1, 248, 249, 356, 357, 358, 359, 836, 837, 999)  # overlaps in one and both directions; 999 is where -1 leads
CLASS = st.sampled_from(POOL)
IMAGE = st.tuples(CLASS, st.lists(CLASS, max_size=4), st.booleans(), st.booleans())
MEMBERSHIPS = st.fixed_dictionaries({class_id: st.sets(st.sampled_from("abcdef"), min_size=1) for class_id in POOL})
PAIRS = st.sets(st.sampled_from([frozenset((a, b)) for a, b in product(POOL, POOL) if a < b]), max_size=12)


def relations_of(superclasses_of: dict[int, set[str]], pairs: set[frozenset[int]]) -> Relations:
    members = np.zeros((1000, 6), bool)
    for class_id, names in superclasses_of.items():
        members[class_id, ["abcdef".index(name) for name in names]] = True
    spurious = np.zeros((1000, 1000), bool)
    for a, b in pairs:
        spurious[a, b] = spurious[b, a] = True
    return Relations(Superclasses(tuple("abcdef"), members).share, spurious)


@settings(max_examples=400)
@given(st.lists(IMAGE, min_size=1, max_size=6), MEMBERSHIPS, PAIRS, st.integers(1, 3), st.booleans(), st.data())
def test_random_combinations_are_decided_as_by_plain_code(images, superclasses_of, pairs, num_models, skipped, data):
    targets, labels, problematic, non_prototypical = zip(*images, strict=True)
    annotated = images_of([f"n/{row}" for row in range(len(images))], targets, labels, non_prototypical, problematic)
    grid = st.lists(st.tuples(CLASS, st.booleans()), min_size=len(images), max_size=len(images))
    answers = np.array(data.draw(st.lists(grid, min_size=num_models, max_size=num_models)))
    top1, says = answers[..., 0].astype(np.int16), answers[..., 1].astype(bool)
    decisions = decide(annotated, top1, relations_of(superclasses_of, pairs), None if skipped else says)
    facts = {"superclasses_of": superclasses_of, "spurious_pairs": pairs}
    for model, row in np.ndindex(top1.shape):
        expected = plain_taxonomy.decide(
            targets[row],
            labels[row],
            top1[model, row].item(),
            non_prototypical=non_prototypical[row],
            out_of_vocabulary=None if skipped else says[model, row].item(),
            **facts,
        )
        assert as_plain(annotated, decisions, (model, row)) == but_superclasses(expected)
