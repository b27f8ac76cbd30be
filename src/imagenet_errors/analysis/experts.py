"""Our error types next to those of human experts.

Source: Vasudevan et al. 2022 (*When does dough become a bagel?*), who looked at every mistake of two models.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.pairs import decide_pairs
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.dataset.image_names import canonical_name
from imagenet_errors.error_types import CODES, ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json, write_csv
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.paths import MISTAKE_LISTS, expert_table
from imagenet_errors.terminal import Table, align, explain, fill, fits, get_width

log = logging.getLogger(__name__)

CATEGORIES = {
    "Fine-grained error": "fine_grained",
    "Fine-grained with Multilabel Options": "fine_grained",
    "Fine-grained error with OOV": "out_of_vocabulary",
    "Fine-grained with OOV": "out_of_vocabulary",
    "Spurious Correlation": "spurious_correlation",
    "Non-prototypical": "non_prototypical",
}
"""{category in the lists: our type}; our other types have no human counterpart."""
IMAGENET_M_RIGHT = {"greedysoups": (19, 68)}  # of ImageNet-M (Vasudevan et al. 2022)
COLUMNS = {
    "confusion": ["list", "experts", "ours", "count"],
    "differences": ["list", "file", "target", "prediction", "experts", "ours"],
}
RESAMPLES = 10_000
CONFIDENCE = 95  # percent


@dataclass(frozen=True)
class Comparison:
    """Mistakes that experts and we gave a type, in the order of the lists.

    Attributes:
        lists: [m] str, which list each is in.
        rows: [m] positions among the annotated images.
        predictions: [m] class ids.
        human: [m] int8, positions in ERROR_TYPES: the experts' category.
        ours: [m] int8, positions in ERROR_TYPES.
        left_out: Why some mistakes are not among them, a line each.
    """

    lists: np.ndarray
    rows: np.ndarray
    predictions: np.ndarray
    human: np.ndarray
    ours: np.ndarray
    left_out: list[str]

    def __getitem__(self, chosen: np.ndarray) -> "Comparison":
        lists, rows, predictions = self.lists[chosen], self.rows[chosen], self.predictions[chosen]
        return Comparison(lists, rows, predictions, self.human[chosen], self.ours[chosen], self.left_out)

    @property
    def confusion(self) -> np.ndarray:
        """[len(KINDS), len(KINDS)] counts: the experts' category by our type."""
        counts = np.zeros((len(ERROR_TYPES), len(ERROR_TYPES)), int)
        np.add.at(counts, (self.human, self.ours), 1)
        return counts


@dataclass(frozen=True)
class Mistakes:
    """The mistakes that experts gave a category, in the order of their lists.

    Attributes:
        lists: [m] str, which list each is in.
        rows: [m] positions among the annotated images.
        predictions: [m] int16 class ids.
        human: [m] int8, positions in ERROR_TYPES.
        left_out: Why some are not among them, a line each.
    """

    lists: np.ndarray
    rows: np.ndarray
    predictions: np.ndarray
    human: np.ndarray
    left_out: list[str]

    def __getitem__(self, chosen: np.ndarray) -> "Mistakes":
        return Mistakes(
            self.lists[chosen], self.rows[chosen], self.predictions[chosen], self.human[chosen], self.left_out
        )


def read_mistakes(context: DatasetContext) -> Mistakes:
    """Every mistake of the two lists. Raises `InputError` where a list is missing, damaged, or of other images."""
    positions = {file.rpartition("/")[2]: row for row, file in enumerate(context.images.files)}
    listed: list[tuple[str, int, int, int]] = []
    left_out = []
    for name in MISTAKE_LISTS:
        mistakes = _read(context, name)
        missing = [file for file in mistakes if file not in positions]
        if missing:
            left_out.append(f"{len(missing)} of {name} whose images are not here, e.g. {missing[0]}")
        for file, (prediction, category) in mistakes.items():
            if file in positions:
                of_list = name.rpartition("/")[2].removesuffix("_mistakes.json")
                listed.append((of_list, positions[file], prediction, CODES[CATEGORIES[category]]))
    if not listed:
        raise InputError(f"none of the experts' images are among those of {context.artefacts.samples(context.dataset)}")
    lists, rows, predictions, human = map(np.array, zip(*listed, strict=True))
    return Mistakes(lists, rows, predictions.astype(np.int16), human.astype(np.int8), left_out)


def compare(context: DatasetContext) -> Comparison:
    """Type every mistake of the two lists.

    Without the open-world test the mistakes that experts call out-of-vocabulary are left out, and where not all its
    outcomes are known, those without.

    Raises:
        InputError: where a list is missing, damaged, or of other images.
    """
    found = read_mistakes(context)
    keys, inverse = np.unique(found.rows * NUM_CLASSES + found.predictions, return_inverse=True)
    decisions = decide_pairs(context, keys).decisions
    ours, is_unknown = decisions.error_types[inverse], decisions.provisional[inverse]
    left_out = list(found.left_out)
    if context.open_world is None:
        is_unknown = found.human == CODES["out_of_vocabulary"]
        number = is_unknown.sum()
        left_out.append(f"{number} that experts call out-of-vocabulary, because the open-world test is skipped")
    elif is_unknown.any():
        left_out.append(f"{is_unknown.sum()} whose outcome of the open-world test is not known")
    return Comparison(found.lists, found.rows, found.predictions, found.human, ours, left_out)[~is_unknown]


def check_imagenet_m(models: list[ModelFiles]) -> list[str]:
    """A line for every reference model whose published number of right answers on ImageNet-M is known."""
    lines = []
    for files in models:
        if files.model not in IMAGENET_M_RIGHT:
            continue
        published, num_images = IMAGENET_M_RIGHT[files.model]
        images = files.context.images
        if images.imagenet_m is None or images.imagenet_m.sum() != num_images:
            continue
        try:
            top1 = files.top1
        except InputError:  # named by `select_finished`
            continue
        if (top1[images.imagenet_m] == NO_PREDICTION).any():
            continue
        right = int((images.labels == top1[:, None])[images.imagenet_m].any(axis=1).sum())
        verdict = (
            "as published"
            if right == published
            else f"not the published {published}: its logits are not the published ones"
        )
        lines.append(f"{files.model} gets {right} of ImageNet-M's {num_images} right, {verdict}")
    return lines


def _read(context: DatasetContext, name: str) -> dict[str, tuple[int, str]]:
    """{file: (prediction, category)} of a list."""
    path = context.artefacts.find(name)
    mistakes = read_json(path)
    try:
        read = {
            canonical_name(file): (int(one["top_prediction"]), one["failure category"])
            for file, one in mistakes.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path} is not a list of mistakes: download it again") from None
    for file, (prediction, category) in read.items():
        if not isinstance(category, str) or category not in CATEGORIES or not 0 <= prediction < NUM_CLASSES:
            raise InputError(
                f"{path}: {file} has category {category!r} and prediction {prediction}: correct or download it again"
            )
    return read


def agreement(confusion: np.ndarray) -> np.ndarray:
    """The share of equal types; of [..., k, k] counts."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa (Cohen 1960) of [..., k, k] counts; not-a-number where chance alone makes all agree."""
    total = confusion.sum(axis=(-2, -1))
    by_chance = (confusion.sum(axis=-1) * confusion.sum(axis=-2)).sum(axis=-1) / total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (agreement(confusion) - by_chance) / (1 - by_chance)


def kappa_interval(confusion: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap interval of kappa: mistakes are drawn again, with a fixed seed."""
    total = confusion.sum()
    drawn = np.random.default_rng(0).multinomial(total, confusion.ravel() / total, size=RESAMPLES)
    kappas = kappa(drawn.reshape(-1, *confusion.shape))
    kappas = kappas[np.isfinite(kappas)]
    if not len(kappas):
        return np.nan, np.nan
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(kappas, [tail, 100 - tail])
    return float(low), float(high)


def compare_and_write(context: DatasetContext, results_dir: Path) -> None:
    """Print how far we agree with the experts, and write where the error types differ."""
    comparison = compare(context)
    print(*report(comparison, get_width()), sep="\n")
    rows = {"confusion": confusion_rows(comparison), "differences": difference_rows(comparison, context)}
    for name, columns in COLUMNS.items():
        path = expert_table(results_dir, context.dataset, name)
        write_csv(path, columns, rows[name])
        log.info(f"wrote {path}: {len(rows[name])} rows")


def report(comparison: Comparison, width: int | None = None) -> list[str]:
    """What to print on a terminal of `width` columns: the confusion table, agreement and kappa."""
    counts = comparison.confusion
    if not counts.any():
        return [f"left out: {reason}" for reason in comparison.left_out]
    humans = [code for code in dict.fromkeys(CODES[name] for name in CATEGORIES.values()) if counts[code].any()]
    types = [code for code in range(len(ERROR_TYPES)) if counts[:, code].any()]
    titles = [ERROR_TYPES[code].title for code in types]
    rows = [[ERROR_TYPES[human].title, *map(str, counts[human, types])] for human in humans]
    lines = ["experts' category (rows) by our type (columns)"]
    table = Table(("", *titles), {"": rows})
    if fits(table, width):
        lines.append(align(table))
    else:
        headings = [ERROR_TYPES[code].heading or ERROR_TYPES[code].title for code in types]
        lines += [align(replace(table, headings=("", *headings)), width), fill(explain(headings, titles), width)]
    lines += [f"left out: {reason}" for reason in comparison.left_out]
    without = comparison[comparison.human != CODES["non_prototypical"]]
    for name, part in (("all", comparison), ("without the experts' non-prototypical ones", without)):
        lines += [_statistics(f"{name}, {chosen}", part[where]) for chosen, where in _by_list(part)]
    return lines


def _by_list(comparison: Comparison) -> list[tuple[str, np.ndarray]]:
    """Both lists, then each, as (name, [m] bool)."""
    everything = np.ones(len(comparison.lists), bool)
    names = dict.fromkeys(comparison.lists.tolist())
    return [("both lists", everything), *((name, comparison.lists == name) for name in names)]


def _statistics(title: str, comparison: Comparison) -> str:
    confusion = comparison.confusion
    if not confusion.any():
        return f"{title}: no mistakes"
    low, high = kappa_interval(confusion)
    return (
        f"{title}: {agreement(confusion):.1%} of {confusion.sum()} agree, kappa {kappa(confusion):.3f}"
        f" ({CONFIDENCE} % bootstrap interval {low:.3f} to {high:.3f})"
    )


def confusion_rows(comparison: Comparison) -> list[dict]:
    """The confusion table of each list: `list`, `experts`, `ours`, `count`."""
    return [
        {
            "list": name,
            "experts": ERROR_TYPES[human].name,
            "ours": ERROR_TYPES[ours].name,
            "count": int(counts[human, ours]),
        }
        for name, where in _by_list(comparison)[1:]
        for counts in [comparison[where].confusion]
        for human, ours in np.argwhere(counts)
    ]


def difference_rows(comparison: Comparison, context: DatasetContext) -> list[dict]:
    """The mistakes that got different types, with names."""
    images, describe = context.images, context.classes.describe
    return [
        {
            "list": comparison.lists[i],
            "file": images.files[comparison.rows[i]],
            "target": describe(images.targets[comparison.rows[i]]),
            "prediction": describe(comparison.predictions[i]),
            "experts": ERROR_TYPES[comparison.human[i]].name,
            "ours": ERROR_TYPES[comparison.ours[i]].name,
        }
        for i in np.flatnonzero(comparison.human != comparison.ours)
    ]
