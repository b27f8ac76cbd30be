"""The numbers that the paper and its repository state about classes, images, superclasses and pairs, recounted."""

import csv
import json
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors.dataset import annotations, wordnet
from imagenet_errors.dataset.classes import load_imagenet_a_wnids
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.superclasses import list_superclasses, load_superclasses
from imagenet_errors.maintenance import public_sources
from imagenet_errors.paths import REPOSITORY
from tests.conftest import COMMITTED
from tests.helpers.plain_facts import plain_spurious_pairs, plain_superclasses


@pytest.fixture(scope="module")
def groups(classes, synsets):
    return wordnet.class_groups(classes, synsets)


@pytest.fixture(scope="module")
def grouped(classes, synsets):
    return load_superclasses(COMMITTED, classes, synsets)


@pytest.fixture(scope="module")
def spurious(grouped):
    return spurious_pairs(COMMITTED, grouped.share)


@pytest.fixture(scope="module")
def real_inputs():
    """ReaL labels, original labels and whether annotated, of the 50,000 validation images by file number."""
    labels, annotated = read_rows("validation_labels.csv"), read_rows("multi_labels.csv")
    targets = [int(labels[number]["class_id"]) for number in range(1, 50_001)]
    return json.loads(timm_text("imagenet_real_labels.json")), targets, [number in annotated for number in labels]


def read_rows(name: str) -> dict[int, dict[str, str]]:
    """{file number: row} of a committed table."""
    with open(COMMITTED.root / name, newline="") as file:
        return {int(row["number"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def cooccurrences(real_inputs):
    return public_sources.count_cooccurrences(*real_inputs)


def timm_text(name: str) -> str:
    """A file of timm's package, which is not imported."""
    spec = find_spec("timm")
    if spec is None:
        pytest.skip("timm, whose class lists and ReaL labels are compared, is not installed")
    return (Path(spec.submodule_search_locations[0]) / "data/_info" / name).read_text()


def data_noun() -> list[str]:
    """WordNet 3.0's data.noun of Debian's package or of NLTK's corpus."""
    for folder in (Path("/usr/share/wordnet"), Path("/usr/local/share/wordnet")):
        if (folder / "data.noun").is_file():
            return (folder / "data.noun").read_text(encoding="utf-8").splitlines()
    try:
        from nltk.corpus import wordnet

        return wordnet.open("data.noun").read().splitlines()
    except (ImportError, LookupError):
        pytest.skip("WordNet 3.0 is neither Debian's package wordnet-base nor in NLTK's corpora here")


def pairs_of(matrix: np.ndarray) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(matrix, 1))}


def test_class_groups_have_the_published_sizes(groups):
    assert [groups[name].sum() for name in ("all", "organism", "artifact", "other")] == [1000, 410, 522, 68]


def test_groups_have_the_published_numbers_of_images(shipped):
    counts = {group: int(members.sum()) for group, members in shipped.counted_images.groups.items()}
    assert counts == {"all": 18_692, "organism": 7_624, "artifact": 10_184, "other": 1_596}


def test_annotated_and_counted_images_have_the_published_numbers(shipped):
    assert (len(shipped.images), int(shipped.counted_images.counted.sum())) == (20_000, 18_692)


def test_shares_of_images_with_several_labels_are_the_published_ones(shipped):
    several = np.array([len(set(labels) - {annotations.NO_LABEL}) > 1 for labels in shipped.images.labels.tolist()])
    shares = [round(100 * several[members].mean(), 2) for members in shipped.counted_images.groups.values()]
    assert shares == [19.20, 10.38, 27.88, 41.98]


def test_imagenet_a_classes_are_in_their_published_groups(classes, groups):
    ids = [classes.ids[wnid] for wnid in load_imagenet_a_wnids(COMMITTED)]
    assert [int(groups[group][ids].sum()) for group in wordnet.GROUPS] == [200, 77, 104, 19]


def test_superclasses_and_ungrouped_classes_have_the_published_numbers(classes, grouped):
    alone = [name for name in grouped.names if name in classes.ids]
    assert (len(grouped.names) - len(alone), len(alone)) == (161, 74)


def test_superclasses_have_the_published_number_of_members(classes, grouped):
    defined = [name not in classes.ids for name in grouped.names]
    assert grouped.members[:, defined].sum() == 1_071


def test_pairs_that_share_a_superclass_have_the_published_number(grouped):
    assert len(pairs_of(grouped.share)) == 5_476


def test_superclasses_touch_the_published_groups(classes, groups, grouped):
    alone = np.array([name in classes.ids for name in grouped.names])
    touched = {group: grouped.members[groups[group]].any(axis=0) for group in ("organism", "artifact", "other")}
    assert [int(columns.sum()) for columns in touched.values()] == [58, 160, 23]
    assert [int((columns & alone).sum()) for columns in touched.values()] == [8, 59, 7]


def test_superclasses_of_every_class_equal_a_plain_derivation(classes, grouped):
    expected = plain_superclasses(REPOSITORY / "artefacts")
    assert {class_id: set(grouped.names_of(class_id)) for class_id in range(1000)} == expected


def test_committed_superclass_listing_is_current(classes, grouped):
    committed = (REPOSITORY / "artefacts/superclasses.txt").read_text(encoding="utf-8")
    assert committed == list_superclasses(grouped, classes)


def test_committed_superclass_definitions_are_the_shared_ones(shared):
    committed = (REPOSITORY / "artefacts/superclasses.json").read_text(encoding="utf-8")
    assert committed == (shared / "artefacts/superclasses.json").read_text(encoding="utf-8")


def test_inputs_of_the_cooccurrence_counts_are_those_of_the_paper(real_inputs):
    left = [
        {*labels, target} if labels else set() for labels, target, skip in zip(*real_inputs, strict=True) if not skip
    ]
    sizes = [len(labels) for labels in left]
    several = sum(size > 1 for size in sizes)
    assert (len(left), sizes.count(0), sizes.count(1), several) == (30_000, 1_902, 21_476, 6_622)
    assert sum(size * (size - 1) // 2 for size in sizes) == 13_090


def test_cooccurrence_counts_equal_a_plain_recount(real_inputs, cooccurrences):
    plain = {}
    for labels, target, skip in zip(*real_inputs, strict=True):
        if labels and not skip:
            for a, b in combinations(sorted({*labels, target}), 2):
                plain[a, b] = plain.get((a, b), 0) + 1
    assert cooccurrences == plain
    assert (len(plain), sum(plain.values())) == (5_456, 13_090)


def test_only_repeated_pairs_without_a_common_superclass_are_spurious(cooccurrences, grouped):
    not_sharing = [count for pair, count in cooccurrences.items() if not grouped.share[pair]]
    assert (len(not_sharing), sum(count >= 2 for count in not_sharing)) == (4_283, 1_019)


def test_committed_cooccurrence_counts_are_current(cooccurrences):
    with open(REPOSITORY / "artefacts/cooccurrence_counts.csv", newline="") as file:
        rows = [tuple(map(int, row)) for row in list(csv.reader(file))[1:]]
    assert rows == [(*pair, count) for pair, count in cooccurrences.items()]


def test_spurious_pairs_are_exactly_the_published_ones(shared, spurious):
    with open(shared / "published/spurious_pairs.csv", newline="") as file:
        published = {(int(row["class_a"]), int(row["class_b"])) for row in csv.DictReader(file)}
    assert len(published) == 1_019
    assert pairs_of(spurious) == published
    assert plain_spurious_pairs(plain_superclasses()) == set(map(frozenset, published))


def test_spurious_pairs_are_symmetric(spurious):
    assert (spurious == spurious.T).all()


def test_spurious_pairs_fall_into_the_published_groups(groups, spurious):
    organism, artifact = groups["organism"], groups["artifact"]
    masks = {
        "organism": np.outer(organism, organism),
        "artifact": np.outer(artifact, artifact),
        "mixed": np.outer(organism, artifact) | np.outer(artifact, organism),
    }
    counts = {name: len(pairs_of(spurious & mask)) for name, mask in masks.items()}
    assert counts == {"organism": 35, "artifact": 728, "mixed": 40}
    assert len(pairs_of(spurious)) - sum(counts.values()) == 216


def test_committed_non_prototypical_files_are_current(shared):
    lists = [
        json.loads((shared / f"annotations/{name}_mistakes.json").read_text()) for name in ("vit3b", "greedy_soups")
    ]
    recomputed = {
        file
        for mistakes in lists
        for file, mistake in mistakes.items()
        if mistake["failure category"] == "Non-prototypical"
    }
    assert len(recomputed) == 36
    assert annotations.non_prototypical_files(COMMITTED) == recomputed
    assert public_sources.find_non_prototypical(lists) == sorted(recomputed)


def test_committed_wordnet_closure_is_current(classes, synsets):
    assert len(synsets.synsets) == 6_321
    assert public_sources.needed_synsets(public_sources.parse_data_noun(data_noun()), classes.offsets) == synsets


def test_class_ids_follow_the_order_of_timm(classes):
    assert list(classes.wnids) == timm_text("imagenet_synsets.txt").split()


def test_descriptions_are_those_of_timm(classes):
    lemmas = dict(line.split("\t") for line in timm_text("imagenet_synset_to_lemma.txt").splitlines())
    assert list(classes.descriptions) == [lemmas[wnid] for wnid in classes.wnids]


def test_imagenet_a_classes_are_those_of_timm():
    assert load_imagenet_a_wnids(COMMITTED) == set(timm_text("imagenet_a_synsets.txt").split())
