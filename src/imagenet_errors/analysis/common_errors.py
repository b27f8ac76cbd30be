"""The most common errors of each type, and the pairs that appear as mistakes, over all models."""

from collections.abc import Callable

import numpy as np

from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.error_types import CODES
from imagenet_errors.errors import escape_name
from imagenet_errors.formats.error_analyses import Analysis
from imagenet_errors.formats.error_type_texts import Decoded, encode

MOST_COMMON = 1000  # triples considered for a list


def ranked(population: CountedImages, analyses: list[Analysis], code: int) -> tuple[np.ndarray, ...]:
    """Every (image, prediction) of one error type on unproblematic images, the most common first.

    Ties go by first appearance: in the order of the models and, within a model, of the images.

    Returns:
        images, predictions, counts, first: [t] int each; images are positions among the annotated ones, `first` those
        of the first analysis with the triple.
    """
    keys, owners = [np.empty(0, int)], [np.empty(0, int)]
    for owner, analysis in enumerate(analyses):
        of_type = np.flatnonzero(population.counted & (analysis.kinds == code))
        keys.append(of_type * NUM_CLASSES + analysis.top1[of_type])
        owners.append(np.full(len(of_type), owner))
    triples, first, counts = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return *np.divmod(triples[order], NUM_CLASSES), counts[order], np.concatenate(owners)[first[order]]


def listing(
    population: CountedImages,
    analyses: list[Analysis],
    code: int,
    vocabulary: Classes,
    proposals: Callable[[str, np.ndarray], list] | None = None,
) -> str:
    """The text of most_common_<error type>.txt: of the first 1000 triples the first of each image, by its rank.

    Args:
        population: The images.
        analyses: Those of all models.
        code: The error type.
        vocabulary: The classes.
        proposals: Gives what `records.read_open_world` does for a model and positions of images; for
            out-of-vocabulary errors, which are listed with them.
    """
    images, predictions, counts, first = (column[:MOST_COMMON] for column in ranked(population, analyses, code))
    ranks = np.sort(np.unique(images, return_index=True)[1])
    details = {}
    if proposals is not None:
        for owner in np.unique(first[ranks]):
            owned = ranks[first[ranks] == owner]
            found = proposals(analyses[owner].model, images[owned])
            details |= {
                rank: str(encode(Decoded(code, num_prompts=num_prompts, proposals=best)))
                for rank, (num_prompts, best) in zip(owned.tolist(), found, strict=True)
            }
    return "".join(
        _entry(
            rank + 1, counts[rank], population.images, images[rank], predictions[rank], vocabulary, details.get(rank)
        )
        for rank in ranks.tolist()
    )


def _entry(
    number: int,
    count: int,
    images: AnnotatedImages,
    row: int,
    prediction: int,
    vocabulary: Classes,
    details: str | None,
) -> str:
    labels = images.labels[row][images.labels[row] != NO_LABEL]
    lines = [
        f"{number}) cnt mistakes = {count}, file = {escape_name(images.files[row])}",
        f"target = {vocabulary.describe(images.targets[row])}",
        "multi_labels:",
        *map(vocabulary.describe, labels),
        f"pred = {vocabulary.describe(prediction)}",
        *([details] if details else []),
    ]
    return "\n".join(lines) + "\n\n"


def spurious_pairs_as_mistakes(
    population: CountedImages, analyses: list[Analysis], spurious: np.ndarray
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
