"""Embed images, training images and prompts with CLIP, and find every image's nearest training images."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagenet_errors import cli
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.paths import TEXT_EMBEDDINGS, TRAIN_EMBEDDINGS, Artefacts

if TYPE_CHECKING:
    from imagenet_errors.inference.cluster_embedder import ClusterEmbedder
    from imagenet_errors.inference.embedder import Embedder

WHAT = ("texts", "train", "images", "neighbours")


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    parser.add_argument("--what", nargs="+", default=list(WHAT), type=cli.one_of("part", WHAT), help=" | ".join(WHAT))
    parser.add_argument("--clip_model", default="ViT-L-14-336", help="a model of open_clip")
    parser.add_argument("--clip_pretrained", default="openai", help="a tag of its weights, or a file of them")
    parser.add_argument("--train_dir", type=Path, help="the training images; default: $IMAGENET_DIR/train")
    parser.add_argument("--batch_size", type=cli.positive, default=64, help="images or prompts per batch")
    parser.add_argument("--block", type=cli.positive, default=4096, help="how many are saved at once, to resume from")
    parser.add_argument("--workers", type=cli.natural, help="processes that decode images; default: as fits the device")
    parser.add_argument("--device", help="where to compute, e.g. cuda:0; default: a GPU where there is one, else cpu")
    parser.add_argument("--memory_gb", type=float, default=2.0, help="for similarities of images, on the device")
    parser.add_argument("--limit", type=cli.positive, help="embed only the first so many images of the dataset")
    parser.add_cluster()
    args = parser.parse_args()
    if not 0 < args.memory_gb < 1e6:
        parser.error(f"argument --memory_gb: {args.memory_gb} is not a size in GB")
    return args


def main() -> None:
    args = parse_args()
    from imagenet_errors.inference.embedder import open_embedder

    with open_embedder(Artefacts(args.artefacts_dir), DATASETS[args.dataset], args) as embedder:
        if set(args.what) - {"neighbours"}:
            embed(embedder, args)
        if "neighbours" in args.what:
            find_neighbours(embedder, args)


def embed(embedder: "Embedder | ClusterEmbedder", args: argparse.Namespace) -> None:
    from imagenet_errors.dataset.samples import register_samples
    from imagenet_errors.formats.embeddings import read_embeddings
    from imagenet_errors.inference.embedding_blocks import EmbeddingTask, check_same
    from imagenet_errors.inference.image_checks import check_images

    artefacts, clip, dataset = embedder.artefacts, embedder.clip_name, args.dataset

    def write(part: str, path: Path, field: str, names: np.ndarray, targets: np.ndarray | None = None) -> None:
        is_kept = path.exists()
        task = EmbeddingTask(part, artefacts.root, path, field, names, targets, clip, args.block)
        cli.log.info(f"{'kept' if is_kept else 'wrote'} {path}: {len(embedder.compute(task).names):,} embeddings")

    if "texts" in args.what:
        write("texts", artefacts.root / TEXT_EMBEDDINGS, "prompts", list_prompts(artefacts))
    if "train" in args.what:
        train = embedder.training_images.samples
        write("train", artefacts.root / TRAIN_EMBEDDINGS, "train_files", train.files, train.targets)
    if "images" in args.what:
        source, path = embedder.images.first(args.limit), artefacts.image_embeddings(dataset)
        if path.exists():
            check_same(read_embeddings(path, "sample_files"), clip, source.samples.files)
        register_samples(artefacts, dataset, source.samples)
        if not path.exists():
            check_images(artefacts, dataset, source.stored)
        write("images", path, "sample_files", source.samples.files)


def list_prompts(artefacts: Artefacts) -> np.ndarray:
    """All texts that the open-world test can ask about."""
    from imagenet_errors.analysis.proposals import Proposer
    from imagenet_errors.dataset.classes import load_classes
    from imagenet_errors.dataset.superclasses import load_superclasses
    from imagenet_errors.dataset.wordnet import load_wordnet

    classes = load_classes(artefacts)
    synsets = load_wordnet(artefacts, classes)
    return np.array(Proposer(classes, synsets, load_superclasses(artefacts, classes, synsets)).all_prompts())


def find_neighbours(embedder: "Embedder | ClusterEmbedder", args: argparse.Namespace) -> None:
    """Every image's nearest training images, unless they are there for these images."""
    from imagenet_errors import locks
    from imagenet_errors.files import fingerprint
    from imagenet_errors.formats.embeddings import Neighbours, check_one_clip, read_embeddings, write_neighbours

    artefacts = embedder.artefacts
    images = read_embeddings(artefacts.image_embeddings(args.dataset), "sample_files")
    train = read_embeddings(artefacts.root / TRAIN_EMBEDDINGS, "train_files")
    check_one_clip(images, train)
    if train.targets is None:
        raise InputError(f"{train.path} lacks the array 'targets': run compute_clip_embeddings.py again")
    path, inputs = artefacts.neighbours(args.dataset), fingerprint(images.vectors, train.vectors, train.targets)
    if is_current(path, len(images.names), inputs, logging.DEBUG):
        return cli.log.info(f"kept {path}")
    with locks.locked(artefacts.root, f"{args.dataset}/{path.name}"):
        if is_current(path, len(images.names), inputs, logging.INFO):
            return cli.log.info(f"kept {path}")
        indices = embedder.find_nearest(images.vectors, train.vectors, inputs)
        write_neighbours(Neighbours(path, indices, train.targets[indices], images.clip or train.clip, inputs))
    cli.log.info(f"wrote {path}: the {indices.shape[1]} nearest of {len(train.names):,} training images, of each image")


def is_current(path: Path, num_images: int, inputs: str, level: int) -> bool:
    """Whether the neighbours are those of the inputs; damaged ones are logged. Official ones name no inputs."""
    from imagenet_errors.formats.embeddings import read_neighbours

    try:
        return path.exists() and read_neighbours(path, num_images).inputs in (None, inputs)
    except ProtectedFileError:
        raise
    except InputError as error:
        cli.log.log(level, f"made again because {error}")
        return False


if __name__ == "__main__":
    cli.run(main)
