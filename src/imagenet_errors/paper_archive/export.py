"""Error analyses in the form of the paper's archives."""

import gzip
import io
import logging
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from pathlib import Path

from imagenet_errors import processes
from imagenet_errors.dataset.classes import load_classes
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write
from imagenet_errors.formats import error_analyses
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.paper_archive.analysis_frames import OPEN_WORLD, UNKNOWN_ROWS, Writer
from imagenet_errors.paper_archive.pickled_frames import write_frame
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress

log = logging.getLogger(__name__)


def export(artefacts: Artefacts, dataset: str, models: list[str], path: Path, jobs: int | None = None) -> None:
    """Write the analyses of some models as an archive in the paper's form.

    Args:
        artefacts: Where they lie.
        dataset: A name of dataset_table.DATASETS.
        models: Their `model_dir_id`.
        path: The tar.gz to write; the same analyses give the same bytes.
        jobs: Processes; as many as there are processors by default.
    """
    jobs = jobs or os.cpu_count() or 1
    export_one = partial(_export, artefacts, dataset)
    unknown: Counter[str] = Counter()
    batches = (models[start : start + 2 * jobs] for start in range(0, len(models), 2 * jobs))
    with processes.pool(jobs) as pool, atomic_write(path) as temporary, _archive_at(temporary) as archive:
        exported = chain.from_iterable(zip(batch, pool.map(export_one, batch), strict=True) for batch in batches)
        for model, (content, lacks) in show_progress(exported, "exporting", len(models)):
            _add(archive, f"{dataset}/{model}/errors_analysis.pkl", content)
            metadata = artefacts.metadata(dataset, model)
            if metadata.exists():
                _add(archive, f"{dataset}/{model}/metadata.json", metadata.read_bytes())
            unknown.update(lacks)
    log.info(f"wrote {path}: {len(models)} models")
    for what, count in unknown.items():
        log.info(f"{count} of them {what}")


def check(artefacts: Artefacts, dataset: str, path: Path) -> None:
    """Raises `InputError` for a file that is not named as an archive is, or where there are no models to export."""
    if not path.name.endswith(".tar.gz"):
        raise InputError(f"--export_archive {path}: name a file that ends in .tar.gz")
    artefacts.require_models(dataset)


def _export(artefacts: Artefacts, dataset: str, model: str) -> tuple[bytes, list[str]]:
    """In a process of its own: the pickle of a model's analysis, and what it lacks."""
    path = artefacts.analysis(dataset, model)
    analysis = error_analyses.read(path, model)
    frame = _writer(artefacts).frame(path, analysis)
    lacks = [] if any(frame.columns["clip_top10_train_indices"]) else ["without neighbours, exported as empty lists"]
    lacks += ["without the open-world test, which only their `attrs` say"] if OPEN_WORLD in frame.attrs else []
    lacks += ["without some of its outcomes, which only their `attrs` say"] if UNKNOWN_ROWS in frame.attrs else []
    lacks += (
        ["with predictions for some of the images, exported without the others"]
        if (analysis.top1 == NO_PREDICTION).any()
        else []
    )
    return write_frame(frame), lacks


@cache
def _writer(artefacts: Artefacts) -> Writer:
    classes = load_classes(artefacts)
    return Writer(classes, load_superclasses(artefacts, classes, load_wordnet(artefacts, classes)))


@contextmanager
def _archive_at(path: Path) -> Iterator[tarfile.TarFile]:
    with (
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        yield archive


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))
