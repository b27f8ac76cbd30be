"""Every kind of file: where it lies in the world of one_of_each.py, which script reads it, what it says to Python."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from imagenet_errors import paths, public_files
from imagenet_errors.analysis import experts
from imagenet_errors.dataset import annotations
from imagenet_errors.dataset.annotations import load_annotated_images
from imagenet_errors.dataset.classes import load_classes, load_imagenet_a_wnids
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.samples import read_samples
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.files import read_csv
from imagenet_errors.formats import batch_sizes, embeddings, error_analyses, open_world_outcomes, prediction_files
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.formats.predictions import check_predictions
from imagenet_errors.inference import failures, image_folders
from imagenet_errors.inference.prefetch import COLUMNS
from imagenet_errors.models import model_table, timm_names
from imagenet_errors.models.architectures import read_architectures
from imagenet_errors.paper_archive import archive_contents, tar_reader
from imagenet_errors.paper_archive.analysis_frames import Reader
from imagenet_errors.paths import Artefacts, stats_table
from imagenet_errors.plots.figure_table import load_figures
from imagenet_errors.plots.model_frames import load_frames
from tests.conftest import COMMITTED
from tests.helpers.one_of_each import STEPS

PLAIN, PROBS, OLD = "imagenet/me--plain", "imagenet/me--probs", "imagenet/old--one"
OWN = "sample/own--own.build"
EVALUATE = ("evaluation", *STEPS)
EXPERTS = ("evaluation", "--compare_with_experts")
SUMMARY = ("list_latex", "--models_summary_csv")
TRENDS = ("utils_plot", "--dataset", "imagenet", "--trends")
LIST = ("download_artefacts", "--list")
MODULES = ("collect_predictions", "--list_modules")
OUTSIDE_THE_TABLES = ("collect_predictions", "--list_models", "--model", "timm/vit_base_patch16_224.augreg_in21k")
PLAN = ("collect_predictions", "--plan", "--batch_size", "auto", "--device", "cpu")
COLLECT = ("collect_predictions", "--dataset", "sample")
LOGITS = ("collect_predictions", "--model_name", "me/logits")
CONVERT = ("download_artefacts", "--convert_archives")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        path: Of one of them, below the artefacts folder.
        command: What reads it; empty where no run over this world does.
        read: What it says, to Python, from an artefacts folder and the file's path.
        checked: Whether checksums in it or beside it tell any other content from the right one.
        without: Files that would keep it from being read.
    """

    path: str
    command: tuple
    read: Callable[[Artefacts, Path], object]
    checked: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Where:
    artefacts: Artefacts


@cache
def classes():
    return load_classes(COMMITTED)


@cache
def synsets():
    return load_wordnet(COMMITTED, classes())


def npz(name: str) -> Callable:
    return lambda at, path: embeddings.read_embeddings(path, name)


def samples(at: Artefacts, dataset: str = "imagenet"):
    return read_samples(at, dataset)


def reader() -> Reader:
    return Reader(classes(), annotations.non_prototypical_files(COMMITTED))


def analysis(at: Artefacts, path: Path):
    return error_analyses.read(path, "a model"), error_analyses.read_rows(path)


def archive(at: Artefacts, path: Path):
    return [(member.name, member.file.read()) for member in tar_reader.read_members(path)]


def accepted(at: Artefacts, path: Path):
    return load_annotated_images(at, "imagenet", samples(at), classes(), "json")


KINDS = {
    "samples": Kind("imagenet/samples_info.npz", EVALUATE, lambda at, _: samples(at), True),
    "samples, collecting": Kind("sample/samples_info.npz", COLLECT, lambda at, _: samples(at, "sample"), True),
    "predictions": Kind(
        f"{PLAIN}/preds.npz", EVALUATE, lambda at, path: check_predictions(path, samples(at), False), True
    ),
    "predictions with probabilities": Kind(
        f"{PROBS}/preds.npz", EVALUATE, lambda at, path: check_predictions(path, samples(at), True), True
    ),
    "predictions, collecting": Kind(
        f"{OWN}/preds.npz",
        COLLECT,
        lambda at, path: check_predictions(path, samples(at, "sample"), False),
        True,
    ),
    "metadata": Kind(f"{PLAIN}/metadata.json", EVALUATE, lambda _, path: read_metadata(path)),
    "metadata, collecting": Kind(f"{OWN}/metadata.json", COLLECT, lambda _, path: read_metadata(path)),
    "analysis": Kind(f"{PLAIN}/errors_analysis.parquet", EVALUATE, analysis, True),
    "converted analysis": Kind(f"{OLD}/errors_analysis.parquet", EVALUATE, analysis, True),
    "pickled analysis": Kind(
        "imagenet/old--two/errors_analysis.pkl",
        CONVERT,
        lambda _, path: reader().read(path.read_bytes(), path).columns,
        without=("imagenet/old--two/errors_analysis.parquet",),
    ),
    "archive": Kind(
        "models-imagenet.tar.gz", CONVERT, archive, True, (f"{OLD}/errors_analysis.parquet", "imagenet/archive.json")
    ),
    "contents of the archive": Kind(
        "imagenet/archive.json", EVALUATE, lambda at, _: archive_contents.read_contents(at, "imagenet"), True
    ),
    "open-world outcomes": Kind(
        "imagenet/open_world_outcomes.parquet", CONVERT, lambda _, path: open_world_outcomes.read(path), True
    ),
    "embedded images": Kind("imagenet/clip_image_embeddings.npz", EVALUATE, npz("sample_files"), True),
    "embedded prompts": Kind("clip_text_embeddings.npz", EVALUATE, npz("prompts"), True),
    "embedded training images": Kind("train_clip_embeddings.npz", EVALUATE, npz("train_files"), True),
    "neighbours": Kind(
        "imagenet/valid_clip_knn.npz", EVALUATE, lambda _, path: embeddings.read_neighbours(path, 9), True
    ),
    "failures": Kind("sample/failures.csv", COLLECT, lambda _, path: failures.read_failures(path)),
    "batch sizes": Kind("batch_sizes.csv", PLAN, lambda _, path: batch_sizes.read_batch_sizes(path)),
    "list of weights": Kind("weights.csv", LIST, lambda _, path: read_csv(path, COLUMNS)),
    "list of downloads": Kind("downloads_done.csv", LIST, lambda at, _: public_files.read_downloaded(at)),
    "table of downloads": Kind("downloads.csv", LIST, lambda at, _: public_files.load_public_files(at)),
    "annotations": Kind(paths.ANNOTATIONS, EVALUATE, accepted),
    "annotations of the sample": Kind(
        paths.SAMPLE_ANNOTATIONS, COLLECT, lambda at, _: image_folders.read_sample_targets(at)
    ),
    "mistakes": Kind(paths.MISTAKE_LISTS[0], EXPERTS, lambda at, _: experts._read(_Where(at), paths.MISTAKE_LISTS[0])),
    "superclasses": Kind(
        paths.SUPERCLASSES,
        EVALUATE,
        lambda at, _: load_superclasses(at, classes(), synsets()),
    ),
    "hierarchy": Kind(paths.CLOSURE, EVALUATE, lambda at, _: load_wordnet(at, classes())),
    "co-occurrences": Kind(paths.COOCCURRENCES, EVALUATE, lambda at, _: spurious_pairs(at, np.eye(1000, dtype=bool))),
    "classes": Kind(paths.WNIDS, EVALUATE, lambda at, _: load_classes(at)),
    "descriptions": Kind(paths.DESCRIPTIONS, EVALUATE, lambda at, _: load_classes(at)),
    "classes of ImageNet-A": Kind(paths.IMAGENET_A_WNIDS, (), lambda at, _: load_imagenet_a_wnids(at)),
    "non-prototypical files": Kind(
        paths.NON_PROTOTYPICAL, EVALUATE, lambda at, _: annotations.non_prototypical_files(at)
    ),
    "architectures": Kind(paths.ARCHS, EVALUATE, lambda at, _: read_architectures(at)),
    "models": Kind(paths.MODELS, SUMMARY, lambda at, _: model_table.load_records(at, paths.MODELS)),
    "models beyond": Kind(
        paths.MODELS_BEYOND, MODULES, lambda at, _: model_table.load_records(at, paths.MODELS_BEYOND)
    ),
    "words of weights": Kind(paths.WEIGHT_TAGS, OUTSIDE_THE_TABLES, lambda at, _: timm_names.Rules.load(at, [])),
    "figures": Kind(paths.FIGURES, TRENDS, lambda at, _: load_figures(at)),
    "tables": Kind(
        str(stats_table(Path("../results"), "imagenet", "all")),
        TRENDS,
        lambda at, path: load_frames(path.parents[1], "imagenet"),
    ),
    "logits": Kind("imagenet/vit3b.npz", LOGITS, lambda _, path: prediction_files.read(path), True),
}
