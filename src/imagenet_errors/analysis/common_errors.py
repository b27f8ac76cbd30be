"""The most common errors of each type, and the pairs that appear as mistakes, over all models."""

import logging
from pathlib import Path

import numpy as np

from imagenet_errors.analysis.collecting import write_made_from
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, CODES_BY_FLAG
from imagenet_errors.errors import InputError, escape_name
from imagenet_errors.files import write_text
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.error_type_texts import DecidedImage, encode
from imagenet_errors.paths import common_errors_list

MOST_COMMON = 1000  # triples considered for a list
OUT_OF_VOCABULARY = CODES["out_of_vocabulary"]

log = logging.getLogger(__name__)


def write_lists(
    context: DatasetContext, analyses: list[ErrorAnalysis], flag: str | None, results_dir: Path
) -> dict[Path, str]:
    """Write the list of one error type, or of all, and beside them what they were made from. Returns {path: text}.

    Args:
        context: Of the dataset.
        analyses: The current ones, read with their proposals.
        flag: An `--error_type`; None for all.
        results_dir: Where they go.

    Raises:
        InputError: for out-of-vocabulary errors alone where the open-world test was skipped for every model.
    """
    num_untested = sum(analysis.open_world_skipped for analysis in analyses)
    all_untested = num_untested == len(analyses)
    untested = _describe_untested(analyses, context.counted_images.counted)
    if all_untested and flag is not None and CODES_BY_FLAG[flag] == OUT_OF_VOCABULARY:
        raise InputError(f"--error_type {flag}: nothing to list because the open-world test was skipped")
    texts, provisional = {}, []
    for one in [flag] if flag else CODES_BY_FLAG:
        path, code = common_errors_list(results_dir, context.dataset, one), CODES_BY_FLAG[one]
        if all_untested and code == OUT_OF_VOCABULARY:
            stale = f"; {path} is of another run" if path.exists() else ""
            log.info(f"{one}: not listed because the open-world test was skipped{stale}")
            continue
        texts[path] = list_errors(context.counted_images, analyses, code, context.classes)
        write_text(path, texts[path])
        if untested and code in (OUT_OF_VOCABULARY, *AFTER_OPEN_WORLD):
            provisional.append(one)
    if provisional:
        log.info(f"the lists of {', '.join(provisional)} are provisional: {untested}")
    if texts:
        write_made_from(context, analyses, path)
    return texts


def _describe_untested(analyses: list[ErrorAnalysis], counted: np.ndarray) -> str:
    """Of how many models types could change, on the counted images ([n] bool); empty where of none."""
    skipped = [analysis.open_world_skipped for analysis in analyses]
    unknown = [(analysis.provisional & counted).any() and not analysis.open_world_skipped for analysis in analyses]
    numbers = {"without the open-world test": sum(skipped), "without some of its outcomes": sum(unknown)}
    return ", ".join(f"{number} of {len(analyses)} models {what}" for what, number in numbers.items() if number)


def rank_errors(counted: CountedImages, analyses: list[ErrorAnalysis], code: int) -> tuple[np.ndarray, ...]:
    """Every (image, prediction) of one error type on unproblematic images, the most common first.

    Ties go by first appearance: in the order of the models and, within a model, of the images.

    Returns:
        images, predictions, counts, first: [t] int each; images are positions among the annotated ones, `first` those
        of the first analysis with the pair.
    """
    keys, owners = [np.empty(0, int)], [np.empty(0, int)]
    for owner, analysis in enumerate(analyses):
        of_type = np.flatnonzero(counted.counted & (analysis.error_types == code))
        keys.append(of_type * NUM_CLASSES + analysis.top1[of_type])
        owners.append(np.full(len(of_type), owner))
    pairs, first, counts = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return *np.divmod(pairs[order], NUM_CLASSES), counts[order], np.concatenate(owners)[first[order]]


def find_most_common(counted: CountedImages, analyses: list[ErrorAnalysis], code: int) -> tuple[np.ndarray, ...]:
    """What the list of one error type has: of the first 1000 pairs of `rank_errors` the first of each image.

    Returns:
        ranks, images, predictions, counts, first: [t] int each; ranks among the pairs, from 0, the others as there.
    """
    columns = [column[:MOST_COMMON] for column in rank_errors(counted, analyses, code)]
    ranks = np.sort(np.unique(columns[0], return_index=True)[1])
    return ranks, *(column[ranks] for column in columns)


def list_errors(counted: CountedImages, analyses: list[ErrorAnalysis], code: int, classes: Classes) -> str:
    """The text of most_common_<error type>.txt: the errors of `find_most_common`, each by its rank.

    Args:
        counted: The images.
        analyses: Those of all models; for out-of-vocabulary errors, read with their proposals.
        code: The error type.
        classes: The 1000 classes.
    """
    ranks, images, predictions, counts, first = find_most_common(counted, analyses, code)
    details: dict[int, str] = {}
    for owner in np.unique(first) if code == OUT_OF_VOCABULARY else ():
        owned = first == owner
        found = analyses[owner].proposals(images[owned])
        details |= {
            rank: str(encode(DecidedImage(code, num_prompts=num_prompts, proposals=best)))
            for rank, (num_prompts, best) in zip(ranks[owned].tolist(), found, strict=True)
        }
    return "".join(
        _entry(rank + 1, count, counted.images, image, prediction, classes, details.get(rank))
        for rank, image, prediction, count in zip(ranks.tolist(), images, predictions, counts, strict=True)
    )


def _entry(
    number: int, count: int, images: AnnotatedImages, row: int, prediction: int, classes: Classes, details: str | None
) -> str:
    labels = images.labels[row][images.labels[row] != NO_LABEL]
    lines = [
        f"{number}) cnt mistakes = {count}, file = {escape_name(images.files[row])}",
        f"target = {classes.describe(images.targets[row])}",
        "multi_labels:",
        *map(classes.describe, labels),
        f"pred = {classes.describe(prediction)}",
        *([details] if details else []),
    ]
    return "\n".join(lines) + "\n\n"


def find_spurious_mistakes(
    counted: CountedImages, analyses: list[ErrorAnalysis], spurious: np.ndarray
) -> set[tuple[int, int]]:
    """The unordered spurious pairs (accepted label, prediction) of all errors typed spurious correlation.

    Args:
        counted: The images.
        analyses: Those of all models.
        spurious: [1000, 1000] bool.
    """
    seen = np.zeros((NUM_CLASSES, NUM_CLASSES), bool)
    labels = counted.images.labels
    for analysis in analyses:
        rows = np.flatnonzero(counted.counted & (analysis.error_types == CODES["spurious_correlation"]))
        pairs = spurious[analysis.top1[rows, None], labels[rows]] & (labels[rows] != NO_LABEL)
        row, column = pairs.nonzero()
        seen[analysis.top1[rows][row], labels[rows][row, column]] = True
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(seen | seen.T))}
