"""From archived analyses to the table of open-world outcomes, with which other models are tested without CLIP."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from imagenet_errors import locks
from imagenet_errors.dataset.classes import NUM_CLASSES, load_classes
from imagenet_errors.dataset.superclasses import Superclasses, load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.error_types import AFTER_OPEN_WORLD
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.files import read_csv
from imagenet_errors.formats import error_analyses, image_tables, open_world_outcomes
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.open_world_outcomes import (
    NO_NEIGHBOUR,
    NUM_PROPOSALS,
    OpenWorldOutcomes,
    Source,
    Verdicts,
    published_archives,
    verdicts_from_columns,
)
from imagenet_errors.paper_archive.archive_contents import read_contents
from imagenet_errors.paths import DOWNLOADED_COLUMNS, Artefacts
from imagenet_errors.progress import show_progress

log = logging.getLogger(__name__)

PAPER_CLIP = "ViT-L-14-336/openai"  # that of the official archive
NONE_TELLS = "no archived analysis ran the open-world test and knows its images' neighbours: no outcomes are recorded"
MODELS_COMPARED = 20  # whose superclasses are compared with those here; together they tell those of nearly all classes


def update(artefacts: Artefacts, dataset: str, is_stale: bool = False) -> bool:
    """Make the table of a dataset's archived analyses, unless it is there, of this archive and of these superclasses.

    Args:
        artefacts: Where they lie.
        dataset: A name of dataset_table.DATASETS.
        is_stale: Whether analyses were converted since; then it is made anyway.

    Returns:
        Whether there is one: archived analyses may not tell of the test, or not know their images' neighbours.
    """
    path, near = artefacts.open_world_outcomes(dataset), _read_near_classes(artefacts, dataset)
    models = _list_models(artefacts, dataset) if near else []
    if next(_read_analyses(artefacts, dataset, models, set(near)), None) is None:
        return False
    classes = load_classes(artefacts)
    superclasses = load_superclasses(artefacts, classes, load_wordnet(artefacts, classes))
    archive, clip = _identify_archive(artefacts, dataset)
    source = None if is_stale else _read_source(path)
    if source and (source.archive, source.superclasses) == (archive, superclasses.fingerprint):
        return True
    with locks.locked(artefacts.root, f"{dataset}/{path.name}"):  # of several runs, the last reads all analyses
        shown = show_progress(models, "reading outcomes")
        analyses = list(_read_analyses(artefacts, dataset, shown, set(near)))
        regrouped = _count_regrouped(artefacts, dataset, analyses, superclasses)
        outcomes = _collect(
            analyses, near, superclasses, Source(archive, clip, superclasses.fingerprint, 0, 0, regrouped)
        )
        open_world_outcomes.write(path, outcomes)
    found = outcomes.source
    number = f"{len(outcomes.keys):,} outcomes of the open-world test from {found.num_models:,} models"
    log.info(f"wrote {path}: {number}; {found.num_disagreeing:,} on which two models disagree are left out")
    return True


def explain_absence(artefacts: Artefacts, dataset: str, has_archive: bool) -> None:
    """Log why there is no table. Raises `InputError` where there is no archive either."""
    if not has_archive:
        advice = "--what archive downloads them, --from_file FILE takes an archive that you have"
        raise InputError(f"{artefacts.root} has no archived analyses of {dataset}: {advice}")
    log.info(f"{dataset}: {NONE_TELLS}")


def remove(path: Path) -> None:
    """Remove a table that more analyses are going to change. Raises `ProtectedFileError` where it must stay."""
    if path.exists():
        _read_source(path)
        path.unlink(missing_ok=True)


def _read_source(path: Path) -> Source | None:
    """Of the table; None where it is missing, or damaged, which is logged."""
    try:
        return open_world_outcomes.read(path).source
    except ProtectedFileError:
        raise
    except InputError as error:
        if path.exists():
            log.info(f"{path}: made again because {error}")
        return None


def _identify_archive(artefacts: Artefacts, dataset: str) -> tuple[str | None, str | None]:
    """The sha256 of the archive, or of the public one that it came out of, and its CLIP, as far as they are known."""
    path, done = artefacts.archive(dataset), artefacts.downloads_done()
    if not path.is_file():
        return None, None
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    published = published_archives(artefacts)
    for row in read_csv(done, DOWNLOADED_COLUMNS) if done.exists() else []:
        if (row["file"], row["sha256"]) == (path.name, sha256):
            sha256 = published.get(row["url"], sha256)
    return sha256, PAPER_CLIP if sha256 in published.values() else None


def _read_near_classes(artefacts: Artefacts, dataset: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{image table: `read_near_classes`} of those that know neighbours."""
    found = {}
    for path in sorted(artefacts.dataset_dir(dataset).glob("images-*.parquet")):
        with suppress(InputError):  # a damaged one is made again where it is needed
            files, near = image_tables.read_near_classes(path)
            if (near >= 0).any():
                found[path.name] = files, near
    return found


def _list_models(artefacts: Artefacts, dataset: str) -> list[str]:
    """The models whose analyses may be of the archive: those in it, or all where it is not here."""
    models = artefacts.models(dataset)
    if not artefacts.archive(dataset).is_file():
        return models
    return sorted(set(models) & set(read_contents(artefacts, dataset)["models"]))


def _read_analyses(
    artefacts: Artefacts, dataset: str, models: Iterable[str], tables: set[str]
) -> Iterator[ErrorAnalysis]:
    """The archived analyses of models that ran the test and name one of these image tables; without damaged ones."""
    for model in models:
        analysis = None
        with suppress(InputError):  # it is named where it is used
            analysis = error_analyses.read(artefacts.analysis(dataset, model), model, with_proposals=True)
        if analysis and analysis.is_archived and not analysis.open_world_skipped and analysis.image_table in tables:
            yield analysis


def _count_regrouped(
    artefacts: Artefacts, dataset: str, analyses: list[ErrorAnalysis], superclasses: Superclasses
) -> int:
    """How many classes share superclasses with others, by the superclasses that analyses tell, than they do here."""
    told: dict[int, frozenset[str]] = {}
    for analysis in analyses[:MODELS_COMPARED]:
        told |= error_analyses.list_superclasses(artefacts.analysis(dataset, analysis.model))
    classes, names = list(told), sorted(frozenset().union(*told.values()))
    members = np.array([[name in of_class for name in names] for of_class in told.values()], np.float32)
    members = members.reshape(len(classes), len(names))
    return int(((members @ members.T > 0) != superclasses.share[np.ix_(classes, classes)]).any(axis=1).sum())


def _collect(
    analyses: list[ErrorAnalysis],
    near: dict[str, tuple[np.ndarray, np.ndarray]],
    superclasses: Superclasses,
    source: Source,
) -> OpenWorldOutcomes:
    """What analyses tell, given the near classes of the images of every image table; the source gets its numbers."""
    near = {table: near[table] for table in dict.fromkeys(str(analysis.image_table) for analysis in analyses)}
    files = np.unique(np.concatenate([of_table for of_table, _ in near.values()]))
    rows = {table: np.searchsorted(files, of_table) for table, (of_table, _) in near.items()}
    keys, disagreeing, verdicts, names = _collect_verdicts(analyses, rows)
    gates, has_gate = _collect_gates(
        [(rows[table], classes) for table, (_, classes) in near.items()], len(files), superclasses
    )
    source = replace(source, num_models=len(analyses), num_disagreeing=disagreeing)
    return OpenWorldOutcomes(source, files, superclasses.names, gates, has_gate, keys, verdicts, names)


def _collect_verdicts(
    analyses: list[ErrorAnalysis], rows: dict[str, np.ndarray]
) -> tuple[np.ndarray, int, Verdicts, list[tuple[int, str]]]:
    """Keys, the number of pairs on which models disagree, verdicts and names; proposals are the first model's.

    Args:
        analyses: They name these image tables.
        rows: By image table, where its images are among all.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    yes, no = [], []
    listed = [analysis.listed for analysis in analyses if analysis.listed is not None]
    for analysis, (at, _) in zip(analyses, listed, strict=True):
        keys = rows[str(analysis.image_table)] * NUM_CLASSES + analysis.top1
        yes.append(keys[at])
        no.append(keys[np.isin(analysis.error_types, AFTER_OPEN_WORLD) & ~analysis.provisional])
    caught, first = np.unique(np.concatenate(yes), return_index=True)
    passed = np.unique(np.concatenate(no))
    disagreeing = np.intersect1d(caught, passed)
    keys = np.setdiff1d(np.union1d(caught, passed), disagreeing)
    is_caught = np.isin(keys, caught)
    chosen = np.zeros(len(keys), int)
    chosen[is_caught] = first[np.searchsorted(caught, keys[is_caught])]
    table = pa.concat_tables([told for _, told in listed]).take(pa.array(chosen, mask=~is_caught)).combine_chunks()
    num_prompts, top5 = (table[name].combine_chunks() for name in ("num_prompts", "top5"))
    verdicts, names = verdicts_from_columns(pa.array(is_caught), num_prompts, pc.list_slice(top5, 0, NUM_PROPOSALS))
    return keys, len(disagreeing), verdicts, names


def _collect_gates(
    parts: list[tuple[np.ndarray, np.ndarray]], n: int, superclasses: Superclasses
) -> tuple[np.ndarray, np.ndarray]:
    """The superclasses of near training images ([n, s] int8, as in the table) and whether they are known ([n] bool).

    They are not where no image table knows them, or two tell different ones.

    Args:
        parts: Of every image table, which of the n images it has, and the classes near each, as `read_near_classes`.
        n: How many images there are.
        superclasses: Those of the classes.
    """
    members = np.vstack([superclasses.members, np.zeros_like(superclasses.members[:1])])  # of no class: -1
    gates, has_gate, differs = (
        np.full((n, members.shape[1]), NO_NEIGHBOUR, np.int8),
        np.zeros(n, bool),
        np.zeros(n, bool),
    )
    for at, near in parts:
        is_in, is_known = members[near], (near >= 0).any(axis=1)
        of_table = np.where(is_in.any(axis=1), is_in.argmax(axis=1), NO_NEIGHBOUR).astype(np.int8)
        differs[at] |= has_gate[at] & is_known & (gates[at] != of_table).any(axis=1)
        gates[at] = np.minimum(gates[at], of_table)
        has_gate[at] |= is_known
    if differs.any():
        log.info(
            f"{differs.sum():,} images have other near training images in some analyses: their gates are not known"
        )
    gates[differs], has_gate[differs] = NO_NEIGHBOUR, False
    return gates, has_gate
