"""The open-world test of one image at a time, in plain Python: what the test over whole arrays is compared with.

Written from the paper's rules with sets, dictionaries and loops; it shares no code with `src/`.
"""

import csv
import math
from functools import cache
from typing import NamedTuple

import numpy as np

from tests.helpers.plain_facts import COMMITTED_FOLDER

STOP = {
    "device", "dog", "commodity", "bird", "structure", "covering", "wheeled_vehicle", "food", "equipment", "insect",
    "vehicle", "furniture", "primate", "vessel", "snake", "natural_object", "organism", "geological_formation",
    "clothing", "container",
}  # fmt: skip


class Verdict(NamedTuple):
    """`best` holds (offset, lemma, score)."""

    is_out_of_vocabulary: bool
    num_prompts: int
    best: list


CLOSED = Verdict(False, 0, [])


class World:
    """What the test needs to know of classes and WordNet.

    Attributes:
        synsets: {offset: (lemmas, hypernyms, hyponyms, hypernyms and instance hypernyms)}.
        offsets: Synset of each class.
        superclasses_of: {class: set of superclass names}.
    """

    def __init__(self, wnids, superclasses_of):
        self.synsets = {}
        with open(COMMITTED_FOLDER / "wordnet_closure.tsv", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                up, instance, down = (
                    [int(offset) for offset in row[name].split()]
                    for name in ("hypernyms", "instance_hypernyms", "hyponyms")
                )
                self.synsets[int(row["offset"])] = (row["lemmas"].split(), up, down, up + instance)
        self.offsets = [int(wnid[1:]) for wnid in wnids]
        self.superclasses_of = superclasses_of
        for name in ("closure", "paths", "sharing", "proposals"):
            setattr(self, name, cache(getattr(self, name)))

    def closure(self, offset):
        return {offset}.union(*(self.closure(up) for up in self.synsets[offset][3]))

    def paths(self, offset):
        """Every hypernym path from the root."""
        return [[*path, offset] for up in self.synsets[offset][3] for path in self.paths(up)] or [[offset]]

    def share(self, a, b):
        return bool(self.superclasses_of[a] & self.superclasses_of[b])

    def sharing(self, pred):
        return [other for other in range(1000) if self.share(pred, other)]

    def proposals(self, pred, target):
        """The offsets proposed, in order and distinct."""
        own = self.offsets[pred]
        block = self.closure(self.offsets[target])
        found = [own, *(self.offsets[other] for other in self.sharing(pred))]
        assert not block.intersection(found)
        for up in self.synsets[own][1]:
            found += [hyponym for hyponym in self.synsets[up][2] if hyponym not in block]
        for path in self.paths(own):
            begun = False
            for offset in path:
                begun = begun or bool(STOP & set(self.synsets[offset][0]))
                if begun and offset not in block:
                    found.append(offset)
        return list(dict.fromkeys(found))

    def prompts(self, pred, target):
        """(offset, lemma) of every prompt, in order."""
        return [
            (offset, lemma.lower().replace("_", " "))
            for offset in self.proposals(pred, target)
            for lemma in self.synsets[offset][0]
        ]

    def decide(self, image, near, pred, target, embedding_of) -> Verdict:
        """Test one prediction for one image.

        Args:
            image: Its embedding.
            near: The classes of its nearest training images, nearest first.
            pred: Top-1 class.
            target: Original label.
            embedding_of: {text: embedding}.
        """
        if not any(self.share(pred, neighbour) for neighbour in near[:10]):
            return CLOSED
        prompts = self.prompts(pred, target)
        texts = np.array([embedding_of[f"A photo of a {lemma}"] for _, lemma in prompts], np.float64)
        cosines = (texts * np.asarray(image, np.float64)).sum(axis=1).tolist()
        order = sorted(range(len(prompts)), key=lambda number: (-cosines[number], number))
        weights = [math.exp(100 * (cosine - cosines[order[0]])) for cosine in cosines]
        best = [(*prompts[number], weights[number] / sum(weights)) for number in order[:5]]
        return Verdict(prompts[order[0]][0] not in self.offsets, len(prompts), best)
