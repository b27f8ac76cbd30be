"""The most common errors of each type, and the pairs that appear as mistakes, over all models."""

import numpy as np

from imagenet_errors.analysis.records import Analysis
from imagenet_errors.analysis.tables import Population
from imagenet_errors.analysis.taxonomy import CODES
from imagenet_errors.knowledge.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.knowledge.vocabulary import Vocabulary
from imagenet_errors.storage import NUM_CLASSES

MOST_COMMON = 1000  # triples considered for a list


def ranked(population: Population, analyses: list[Analysis], code: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every (image, prediction) of one error type on unproblematic images, the most common first.

    Ties go by first appearance: in the order of the models and, within a model, of the images.

    Returns:
        images, predictions, counts: [t] int each; images are positions among the annotated ones.
    """
    keys = []
    for analysis in analyses:
        of_type = np.flatnonzero(population.counted & (analysis.kinds == code))
        keys.append(of_type * NUM_CLASSES + analysis.top1[of_type])
    triples, first, counts = np.unique(np.concatenate([*keys, np.empty(0, int)]), return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return *np.divmod(triples[order].astype(int), NUM_CLASSES), counts[order]


def listing(population: Population, analyses: list[Analysis], code: int, vocabulary: Vocabulary) -> str:
    """The text of most_common_<error type>.txt: of the first 1000 triples the first of each image, by its rank."""
    images, predictions, counts = (column[:MOST_COMMON] for column in ranked(population, analyses, code))
    _, ranks = np.unique(images, return_index=True)
    return "".join(
        _entry(rank + 1, counts[rank], population.images, images[rank], predictions[rank], vocabulary)
        for rank in np.sort(ranks)
    )


def _entry(number: int, count: int, images: AnnotatedImages, row: int, prediction: int, vocabulary: Vocabulary) -> str:
    labels = images.labels[row][images.labels[row] != NO_LABEL]
    lines = [
        f"{number}) cnt mistakes = {count}, file = {images.files[row]}",
        f"target = {vocabulary.describe(images.targets[row])}",
        "multi_labels:",
        *map(vocabulary.describe, labels),
        f"pred = {vocabulary.describe(prediction)}",
    ]
    return "\n".join(lines) + "\n\n"


def spurious_pairs_as_mistakes(
    population: Population, analyses: list[Analysis], spurious: np.ndarray
) -> set[tuple[int, int]]:
    """The unordered spurious pairs (accepted label, prediction) of all errors typed spurious correlation.

    Args:
        population: The images.
        analyses: Those of all models.
        spurious: [1000, 1000] bool.
    """
    seen = np.zeros((NUM_CLASSES, NUM_CLASSES), bool)
    labels = population.images.labels
    for analysis in analyses:
        rows = np.flatnonzero(population.counted & (analysis.kinds == CODES["spurious_correlation"]))
        pairs = spurious[analysis.top1[rows, None], labels[rows]] & (labels[rows] != NO_LABEL)
        row, column = pairs.nonzero()
        seen[analysis.top1[rows][row], labels[rows][row, column]] = True
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(seen | seen.T))}
