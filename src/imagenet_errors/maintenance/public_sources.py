"""How the committed artefacts are computed from their public sources (by make_artefacts.py)."""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from imagenet_errors.dataset.wordnet import Synset, WordNet
from imagenet_errors.errors import InputError

WORDNET_FILES = (Path("/usr/share/wordnet/data.noun"), Path("/usr/local/share/wordnet/data.noun"))
POINTERS = {"@": "hypernyms", "@i": "instance_hypernyms", "~": "hyponyms"}


def read_data_noun() -> list[str]:
    """The lines of WordNet 3.0's data.noun, from NLTK's corpus where it is installed, else from Debian's package."""
    try:
        from nltk.corpus import wordnet

        return wordnet.open("data.noun").read().splitlines()
    except (ImportError, LookupError):
        for path in WORDNET_FILES:
            if path.exists():
                return path.read_text(encoding="utf-8").splitlines()
    raise InputError(
        "WordNet 3.0 is not installed: install Debian's package wordnet-base, or run python -m nltk.downloader wordnet"
    )


def parse_data_noun(lines: Iterable[str]) -> WordNet:
    """All noun synsets of WordNet's `data.noun` (format: wndb(5WN)), as in NLTK's corpus and Debian's wordnet-base."""
    synsets = {}
    for line in lines:
        if line.startswith(" "):  # the licence
            continue
        fields = line.partition("|")[0].split()
        num_words = int(fields[3], 16)
        first_pointer = 4 + 2 * num_words
        pointers: dict[str, list[int]] = {name: [] for name in POINTERS.values()}
        for start in range(first_pointer + 1, first_pointer + 1 + 4 * int(fields[first_pointer]), 4):
            symbol, offset, part_of_speech, _ = fields[start : start + 4]
            if symbol in POINTERS and part_of_speech == "n":
                pointers[POINTERS[symbol]].append(int(offset))
        lemmas = tuple(fields[4:first_pointer:2])
        synsets[int(fields[0])] = Synset(lemmas, *(tuple(offsets) for offsets in pointers.values()))
    return WordNet(synsets)


def needed_synsets(wordnet: WordNet, offsets: Iterable[int]) -> WordNet:
    """The classes at `offsets`, their ancestors, and the direct hyponyms of their direct hypernyms.

    Pointers that lead out of these are dropped.
    """
    kept = set()
    for offset in offsets:
        kept |= wordnet.closure(offset)
        kept.update(
            hyponym for above in wordnet.synsets[offset].hypernyms for hyponym in wordnet.synsets[above].hyponyms
        )
    return WordNet(
        {
            offset: Synset(
                wordnet.synsets[offset].lemmas,
                *(tuple(to for to in pointers if to in kept) for pointers in wordnet.synsets[offset][1:]),
            )
            for offset in sorted(kept)
        }
    )


def count_cooccurrences(
    real_labels: Iterable[list[int]], targets: Iterable[int], annotated: Iterable[bool]
) -> dict[tuple[int, int], int]:
    """{(class_a, class_b): images}, class_a < class_b, over the images that are not annotated but have ReaL labels.

    Args:
        real_labels: ReaL class ids (Beyer et al. 2020) of every validation image, in the order of file numbers.
        targets: Original labels in the same order.
        annotated: Whether an image is one of the 20,000 annotated ones, in the same order.
    """
    counts: Counter[tuple[int, int]] = Counter()
    for labels, target, skip in zip(real_labels, targets, annotated, strict=True):
        if labels and not skip:
            counts.update(combinations(sorted({*labels, target}), 2))
    return dict(sorted(counts.items()))


def find_non_prototypical(mistake_lists: Iterable[dict[str, dict]]) -> list[str]:
    """The files that any of the experts' mistake lists (Vasudevan et al. 2022) calls non-prototypical, sorted."""
    return sorted(
        {
            file
            for mistakes in mistake_lists
            for file, mistake in mistakes.items()
            if mistake.get("failure category") == "Non-prototypical"
        }
    )
