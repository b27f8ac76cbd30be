"""Every kind of file: where it lies in the world of one_of_each.py, which script reads it, what it says to Python."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from imagenet_errors import embeddings, public_data, storage, tarballs
from imagenet_errors.analysis import archives, experts, records
from imagenet_errors.analysis.archived import Reader
from imagenet_errors.files import read_csv, read_parquet
from imagenet_errors.inference import catalogue, collect, downloads, logits, sample, tags
from imagenet_errors.knowledge import annotations, hierarchy, superclasses, vocabulary
from imagenet_errors.plots import points, stats
from imagenet_errors.storage import Artefacts, stats_table
from tests.conftest import COMMITTED
from tests.one_of_each import STEPS

PLAIN, PROBS, OLD = "imagenet/me--plain", "imagenet/me--probs", "imagenet/old--one"
OWN = "sample/own--own.build"
EVALUATE = ("evaluation", *STEPS)
EXPERTS = ("evaluation", "--compare_with_experts")
SUMMARY = ("list_latex", "--models_summary_csv")
TRENDS = ("utils_plot", "--dataset", "imagenet", "--trends")
LIST = ("download_artefacts", "--list")
MODULES = ("collect_predictions", "--list_modules")
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
    return vocabulary.load(COMMITTED)


@cache
def synsets():
    return hierarchy.load(COMMITTED, classes())


def npz(name: str) -> Callable:
    return lambda at, path: embeddings.read_embeddings(path, name)


def samples(at: Artefacts, dataset: str = "imagenet"):
    return storage.read_samples(at, dataset)


def reader() -> Reader:
    return Reader(classes(), annotations.non_prototypical_files(COMMITTED))


def analysis(at: Artefacts, path: Path):
    return records.read(path, "a model"), read_parquet(path).to_pydict()


def archive(at: Artefacts, path: Path):
    return [(member.name, member.file.read()) for member in tarballs.members(path)]


def accepted(at: Artefacts, path: Path):
    return annotations.load(at, "imagenet", samples(at), classes(), "json")


KINDS = {
    "samples": Kind("imagenet/samples_info.npz", EVALUATE, lambda at, _: samples(at), True),
    "samples, collecting": Kind("sample/samples_info.npz", COLLECT, lambda at, _: samples(at, "sample"), True),
    "predictions": Kind(
        f"{PLAIN}/preds.npz", EVALUATE, lambda at, path: storage.check_predictions(path, samples(at), False), True
    ),
    "predictions with probabilities": Kind(
        f"{PROBS}/preds.npz", EVALUATE, lambda at, path: storage.check_predictions(path, samples(at), True), True
    ),
    "predictions, collecting": Kind(
        f"{OWN}/preds.npz",
        COLLECT,
        lambda at, path: storage.check_predictions(path, samples(at, "sample"), False),
        True,
    ),
    "metadata": Kind(f"{PLAIN}/metadata.json", EVALUATE, lambda _, path: storage.read_metadata(path)),
    "metadata, collecting": Kind(f"{OWN}/metadata.json", COLLECT, lambda _, path: storage.read_metadata(path)),
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
        "imagenet/archive.json", EVALUATE, lambda at, _: archives.read_contents(at, "imagenet")
    ),
    "embedded images": Kind("imagenet/clip_image_embeddings.npz", EVALUATE, npz("sample_files"), True),
    "embedded prompts": Kind("clip_text_embeddings.npz", EVALUATE, npz("prompts"), True),
    "embedded training images": Kind("train_clip_embeddings.npz", EVALUATE, npz("train_files"), True),
    "neighbours": Kind(
        "imagenet/valid_clip_knn.npz", EVALUATE, lambda _, path: embeddings.read_neighbours(path, 9), True
    ),
    "failures": Kind("sample/failures.csv", COLLECT, lambda _, path: collect._read_failures(path)),
    "list of weights": Kind("weights.csv", LIST, lambda _, path: read_csv(path, downloads.COLUMNS)),
    "list of downloads": Kind("downloads_done.csv", LIST, lambda at, _: public_data._noted(at)),
    "table of downloads": Kind("downloads.csv", LIST, lambda at, _: public_data.load(at)),
    "annotations": Kind(storage.ANNOTATIONS, EVALUATE, accepted),
    "annotations of the sample": Kind(storage.SAMPLE_ANNOTATIONS, COLLECT, lambda at, _: sample.targets(at)),
    "mistakes": Kind(
        storage.MISTAKE_LISTS[0], EXPERTS, lambda at, _: experts._read(_Where(at), storage.MISTAKE_LISTS[0])
    ),
    "superclasses": Kind(
        storage.SUPERCLASSES,
        EVALUATE,
        lambda at, _: superclasses.load(at, classes(), synsets()),
    ),
    "hierarchy": Kind(storage.CLOSURE, EVALUATE, lambda at, _: hierarchy.load(at, classes())),
    "co-occurrences": Kind(
        storage.COOCCURRENCES, EVALUATE, lambda at, _: annotations.spurious_pairs(at, np.eye(1000, dtype=bool))
    ),
    "classes": Kind(storage.WNIDS, EVALUATE, lambda at, _: vocabulary.load(at)),
    "descriptions": Kind(storage.DESCRIPTIONS, EVALUATE, lambda at, _: vocabulary.load(at)),
    "classes of ImageNet-A": Kind(storage.IMAGENET_A_WNIDS, (), lambda at, _: vocabulary.imagenet_a_classes(at)),
    "non-prototypical files": Kind(
        storage.NON_PROTOTYPICAL, EVALUATE, lambda at, _: annotations.non_prototypical_files(at)
    ),
    "architectures": Kind(storage.ARCHS, EVALUATE, lambda at, _: storage.read_archs(at)),
    "models": Kind(storage.MODELS, SUMMARY, lambda at, _: catalogue.load_records(at, storage.MODELS)),
    "models beyond": Kind(
        storage.MODELS_BEYOND, MODULES, lambda at, _: catalogue.load_records(at, storage.MODELS_BEYOND)
    ),
    "words of weights": Kind(storage.WEIGHT_TAGS, MODULES, lambda at, _: tags.Rules.load(at, [])),
    "figures": Kind(storage.FIGURES, TRENDS, lambda at, _: points.load_figures(at)),
    "tables": Kind(
        str(stats_table(Path("../results"), "imagenet", "all")),
        TRENDS,
        lambda at, path: stats.load(path.parents[1], "imagenet"),
    ),
    "logits": Kind("imagenet/vit3b.npz", LOGITS, lambda _, path: logits.read(path), True),
}
