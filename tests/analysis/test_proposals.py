"""What the open-world test proposes, against the published numbers of prompts and against plain loops."""

import csv
import json

import numpy as np
import pytest

from imagenet_errors.analysis.proposals import Proposer, prompt
from imagenet_errors.dataset.superclasses import define_superclasses, load_superclasses
from imagenet_errors.dataset.wordnet import Synset, WordNet
from imagenet_errors.errors import InputError
from tests.conftest import COMMITTED
from tests.helpers.plain_facts import plain_superclasses
from tests.helpers.plain_open_world import World


@pytest.fixture(scope="module")
def proposer(classes, synsets) -> Proposer:
    return Proposer(classes, synsets, load_superclasses(COMMITTED, classes, synsets))


@pytest.fixture(scope="module")
def plain(classes) -> World:
    return World(classes.wnids, plain_superclasses())


def prompts(proposer, pred, target) -> list[tuple[int, str]]:
    """(offset, text) of every prompt, in order."""
    proposed = proposer.propose(pred, target)
    return [(offset, prompt(lemma)) for offset in proposed for lemma in proposer.wordnet.synsets[offset].lemmas]


def test_published_numbers_of_prompts_and_best_proposals_are_reproduced(shared, proposer):
    with open(shared / "published/decisions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["error_type"] == "fg-OOV"]
    assert len(rows) == 722
    wrong = []
    for row in rows:
        ours = prompts(proposer, int(row["prediction"]), int(row["target"]))
        best = {(offset, f"A photo of a {lemma}") for offset, lemma, _ in json.loads(row["top5_proposals"])}
        if len(ours) != int(row["num_proposals"]) or not best <= set(ours):
            wrong.append((row["file"], row["prediction"], row["num_proposals"], len(ours), best - set(ours)))
    assert wrong == []


def test_all_synsets_names_and_prompts_are_there(proposer):
    names = proposer.all_names()
    assert (len({offset for offset, _ in names}), len(names)) == (6_213, 10_664)
    texts = proposer.all_prompts()
    assert len(texts) == len(set(texts)) == 9_930
    assert set(texts) == {f"A photo of a {lemma}" for _, lemma in names}
    assert [offset for offset, _ in names] == sorted(offset for offset, _ in names)


def test_prompt_is_lower_case_with_spaces():
    assert prompt("A-team_Of_ROBIN's") == "A photo of a a-team of robin's"


def random_pairs(world, number: int) -> list[tuple[int, int]]:
    drawn = np.random.default_rng(0).integers(0, 1000, (number, 2)).tolist()
    return [(pred, target) for pred, target in drawn if not world.share(pred, target)]


def test_proposals_equal_those_of_plain_loops(proposer, plain):
    pairs = random_pairs(plain, 600)
    assert len(pairs) > 500
    for pred, target in pairs:
        assert proposer.propose(pred, target) == plain.proposals(pred, target), (pred, target)


def test_tested_targets_block_different_proposals(plain):
    """Guards the tests above: their targets block something, and not always the same."""
    allowed = {}
    for pred, target in random_pairs(plain, 600):
        allowed.setdefault(pred, set()).add(tuple(plain.proposals(pred, target)))
    assert sum(len(found) > 1 for found in allowed.values()) > 20


def test_instance_hypernyms_and_all_lemmas_are_used(proposer, classes):
    """In a hierarchy made up of the committed one: a third of the pointers up are to instances, lemmas are reversed."""
    plain = World(classes.wnids, plain_superclasses())
    synsets = {}
    for number, (offset, synset) in enumerate(proposer.wordnet.synsets.items()):
        up = synset.hypernyms + synset.instance_hypernyms
        direct, instance = ((), up) if number % 3 == 0 else (up, ())
        synsets[offset] = Synset(synset.lemmas[::-1], direct, instance, synset.hyponyms)
        plain.synsets[offset] = (synset.lemmas[::-1], direct, synset.hyponyms, up)
    other = Proposer(classes, WordNet(synsets), proposer.superclasses)
    for pred, target in random_pairs(plain, 300):
        assert other.propose(pred, target) == plain.proposals(pred, target), (pred, target)


def test_all_names_are_those_of_some_target(proposer, plain):
    for pred in range(0, 1000, 40):
        targets = [target for target in range(0, 1000, 7) if not plain.share(pred, target)]
        ever = {offset for target in targets for offset in plain.proposals(pred, target)}
        assert ever == set(proposer.candidates(pred))


def test_name_of_two_synsets_gives_two_prompts(proposer):
    """Both stay, as the first of equal scores decides."""
    pred, target = next((p, t) for p in range(1000) for t in (0, 950) if has_twin(proposer, p, t))
    ours = prompts(proposer, pred, target)
    assert len(set(ours)) == len(ours) > len({text for _, text in ours})


def has_twin(proposer, pred, target) -> bool:
    if proposer.superclasses.share[pred, target]:
        return False
    texts = [text for _, text in prompts(proposer, pred, target)]
    return len(set(texts)) < len(texts)


def test_definition_that_contradicts_the_hierarchy_is_refused(classes, synsets):
    everything = define_superclasses({"thing": [["entity"]]}, classes, synsets)
    with pytest.raises(InputError, match=r"superclasses\.json .*goldfish.* share .*01440764.* tench.*: correct its"):
        Proposer(classes, synsets, everything).propose(1, 0)


def test_other_superclasses_change_the_fingerprint(proposer, classes, synsets):
    again = Proposer(classes, synsets, proposer.superclasses)
    assert again.fingerprint == proposer.fingerprint
    definitions = json.loads((COMMITTED.root / "superclasses.json").read_text()) | {"more": [["shark"], ["goldfish"]]}
    other = Proposer(classes, synsets, define_superclasses(definitions, classes, synsets))
    assert other.fingerprint != proposer.fingerprint
