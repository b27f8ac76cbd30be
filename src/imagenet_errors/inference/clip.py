"""Embeddings of images and prompts by CLIP (Radford et al. 2021), and the nearest training images."""

import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imagenet_errors import locks
from imagenet_errors.download import file_sha256
from imagenet_errors.errors import InputError, ModelError, ProtectedFileError, describe_exception, describe_unknown
from imagenet_errors.formats.embeddings import NUM_NEIGHBOURS, Embeddings, read_embeddings, write_embeddings
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.predict import configure_arithmetic
from imagenet_errors.inference.preprocessing import OwnTransform
from imagenet_errors.progress import show_progress

QUERIES_PER_BLOCK = 256  # images whose neighbours are searched at once
NUM_CANDIDATES = NUM_NEIGHBOURS + 14  # rows whose similarity is computed in double precision
SIMILARITY_TOLERANCE = 1e-5  # more than the rounding errors of single precision


@dataclass(frozen=True)
class Clip:
    """A CLIP model with its weights.

    Attributes:
        name: Of model and weights, e.g. `ViT-L-14-336/openai`; a file of weights is named by its hash.
        model: open_clip's, in float32 and eval mode, on `device`.
        transform: From a PIL image to its input.
        tokenize: From texts to its input.
        device: Where to compute.
    """

    name: str
    model: Any
    transform: OwnTransform
    tokenize: Callable[[list[str]], torch.Tensor]
    device: torch.device

    @classmethod
    def load(cls, model: str, pretrained: str, device: torch.device) -> "Clip":
        """Load any model of open_clip.

        Args:
            model: Its name, e.g. `ViT-L-14-336`.
            pretrained: A tag of its weights, or a file of them.
            device: Where to compute.

        Raises:
            InputError: for names that open_clip does not know, or weights that cannot be loaded.
        """
        import open_clip

        file = Path(pretrained)
        if model not in open_clip.list_models():
            raise InputError(describe_unknown("--clip_model", model, open_clip.list_models()))
        if not file.is_file() and pretrained not in open_clip.list_pretrained_tags_by_model(model):
            tags = open_clip.list_pretrained_tags_by_model(model)
            raise InputError(f"{describe_unknown('--clip_pretrained', pretrained, tags)}, or give a file")
        tag = {} if file.is_file() else open_clip.get_pretrained_cfg(model, pretrained)
        logging.disable(logging.ERROR)  # what it logs is in the exception too
        try:
            network, _, transform = open_clip.create_model_and_transforms(
                model,
                pretrained=pretrained,
                precision="fp32",
                device=device,
                weights_only=True,
                force_quick_gelu=bool(tag.get("quick_gelu")),  # needed for OpenAI's weights; open_clip only warns
            )
        except Exception as error:  # the hub, torch and open_clip raise many exceptions
            raise InputError(
                f"{model} cannot be loaded with the weights {pretrained} ({describe_exception(error)}): connect to the"
                " network, or give a file of these weights with --clip_pretrained"
            ) from error
        finally:
            logging.disable(logging.NOTSET)
        name = f"{model}/{file_sha256(file)[:16] if file.is_file() else pretrained}"
        return cls(name, network.eval(), OwnTransform(transform), open_clip.get_tokenizer(model), device)

    @torch.inference_mode()
    def embed_images(self, images: Images, batch_size: int) -> np.ndarray:
        """[N, D] float32 of unit length. Raises `InputError` for an image that cannot be read."""
        configure_arithmetic(amp=False)
        parts = []
        for pixels in images.batches(self.transform, batch_size):
            if isinstance(pixels, InputError | ModelError):
                raise InputError(str(pixels))
            parts.append(self.model.encode_image(pixels.to(self.device), normalize=True).float().cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def embed_texts(self, texts: Iterable[str], batch_size: int) -> np.ndarray:
        """[m, D] float32 of unit length."""
        configure_arithmetic(amp=False)
        tokens = self.tokenize(list(texts)).split(batch_size)
        parts = [self.model.encode_text(part.to(self.device), normalize=True).float().cpu().numpy() for part in tokens]
        return np.concatenate(parts)


@dataclass(frozen=True)
class EmbeddingTask:
    """Names to be embedded and written to one archive.

    Attributes:
        root: The artefacts folder.
        path: The archive in it.
        field: The array of the archive that has the names.
        names: [m] str, images or prompts.
        targets: [m] class ids to write with them, or None.
        clip: The model.
        embed_some: From some of the names to their embeddings.
        block: How many are embedded and written at a time.
    """

    root: Path
    path: Path
    field: str
    names: np.ndarray
    targets: np.ndarray | None
    clip: Clip
    embed_some: Callable[[np.ndarray], np.ndarray]
    block: int

    @property
    def folder(self) -> Path:
        """Where blocks are until all are complete."""
        return self.path.with_suffix(".parts")

    def lock(self, name: str) -> str:
        return f"{self.path.relative_to(self.root)}/{name}"


def compute_embeddings(task: EmbeddingTask) -> Embeddings:
    """The embeddings of a task, written to its archive; a block at a time, so that a killed run is continued.

    Several processes share the blocks; one of them joins them.

    Args:
        task: What to embed.

    Raises:
        InputError: where the archive has embeddings of other names or of another CLIP.
    """
    if not task.path.exists():
        blocks: dict[int, np.ndarray | None] = {}
        for start in show_progress(range(0, len(task.names), task.block), task.path.name):
            blocks[start] = _embed_block(task, start, wait=False)
        for start in [start for start, vectors in blocks.items() if vectors is None]:
            blocks[start] = _embed_block(task, start, wait=True)
        with locks.locked(task.root, task.lock("all")):
            if not task.path.exists():
                vectors = np.concatenate([vectors for vectors in blocks.values() if vectors is not None])
                embeddings = Embeddings(task.path, task.names, vectors, task.clip.name, task.targets)
                write_embeddings(task.path, task.field, embeddings)
    embeddings = check_same(read_embeddings(task.path, task.field), task.clip, task.names)
    shutil.rmtree(task.folder, ignore_errors=True)  # also those of a run that ended before it did this
    return embeddings


def _embed_block(task: EmbeddingTask, start: int, wait: bool) -> np.ndarray | None:
    """The embeddings of a block; None where another process embeds it, or has joined all blocks."""
    path, names = task.folder / f"{start:08d}.npz", task.names[start : start + task.block]
    vectors = _read_valid_block(path, names, task.clip)
    if vectors is not None:
        return vectors
    lock = task.lock(f"{start:08d}")
    with locks.locked(task.root, lock) if wait else locks.if_free(task.root, lock) as is_ours:
        if not is_ours or task.path.exists():
            return None
        vectors = _read_valid_block(path, names, task.clip)
        if vectors is None:
            write_embeddings(path, "names", Embeddings(path, names, task.embed_some(names), task.clip.name))
            vectors = read_embeddings(path, "names").vectors
        return vectors


def check_same(embeddings: Embeddings, clip: Clip, names: np.ndarray | None = None) -> Embeddings:
    """Raises `InputError` for embeddings of another CLIP or, if these are given, other names; returns them."""
    if names is not None and not np.array_equal(embeddings.names, names):
        raise InputError(
            f"{embeddings.path} has embeddings of other files or prompts ({len(embeddings.names):,}) than those of this"
            f" run ({len(names):,}): remove it"
        )
    if embeddings.clip not in (None, clip.name):
        raise InputError(
            f"{embeddings.path} is of {embeddings.clip}, not {clip.name}, and two CLIPs must not be mixed: remove it,"
            " or use another --artefacts_dir"
        )
    return embeddings


def _read_valid_block(path: Path, names: np.ndarray, clip: Clip) -> np.ndarray | None:
    """The embeddings of an earlier run, if they are complete and of these names by this CLIP."""
    if not path.exists():
        return None
    try:
        block = read_embeddings(path, "names")
    except ProtectedFileError:
        raise
    except InputError:
        return None
    return block.vectors if block.clip == clip.name and np.array_equal(block.names, names) else None


@torch.inference_mode()
def find_nearest(queries: np.ndarray, train: np.ndarray, device: torch.device, memory_gb: float) -> np.ndarray:
    """The 50 nearest rows of `train` for each query by cosine similarity; of equal ones the lower row first.

    Products in single precision find candidates, and double precision orders them. Where other rows could be among the
    fifty too, the query is compared with all rows in double precision.

    Args:
        queries: [N, D] float32 of unit length.
        train: [T, D] float32 of unit length.
        device: Where to compute products.
        memory_gb: For blocks of similarities there.

    Returns:
        [N, 50] int32.

    Raises:
        InputError: where T is less than 50.
    """
    if len(train) < NUM_NEIGHBOURS:
        raise InputError(f"there are {len(train)} training images for {NUM_NEIGHBOURS} neighbours: add some")
    configure_arithmetic(amp=False)
    columns = max(NUM_CANDIDATES, int(memory_gb * 1e9 / (3 * 4 * QUERIES_PER_BLOCK)))
    found = np.empty((len(queries), NUM_NEIGHBOURS), np.int32)
    for start in show_progress(range(0, len(queries), QUERIES_PER_BLOCK), "neighbours"):
        some = queries[start : start + QUERIES_PER_BLOCK]
        candidates, uncertain = _find_candidates(some, train, columns, device)
        exact = np.einsum("qcd,qd->qc", train[candidates].astype(np.float64), some.astype(np.float64))
        order = np.lexsort((candidates, -exact))[:, :NUM_NEIGHBOURS]
        found[start : start + len(some)] = np.take_along_axis(candidates, order, axis=1)
        for row in np.flatnonzero(uncertain):
            exact = np.einsum("td,d->t", train, some[row], dtype=np.float64)
            found[start + row] = np.argsort(-exact, kind="stable")[:NUM_NEIGHBOURS]
    return found


def _find_candidates(
    queries: np.ndarray, train: np.ndarray, columns: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """[n, c] rows of `train`, the fifty nearest among them, and [n] whether other rows could be among the fifty."""
    left = torch.from_numpy(queries).to(device)
    values = torch.empty(len(queries), 0, device=device)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=device)
    for start in range(0, len(train), columns):
        products = left @ torch.from_numpy(train[start : start + columns]).to(device).T
        block_values, block_rows = products.topk(min(NUM_CANDIDATES, products.shape[1]))
        values, rows = torch.cat([values, block_values], dim=1), torch.cat([rows, block_rows + start], dim=1)
        values, kept = values.topk(min(NUM_CANDIDATES, values.shape[1]))
        rows = rows.gather(1, kept)
    uncertain = (values[:, -1] > values[:, NUM_NEIGHBOURS - 1] - SIMILARITY_TOLERANCE) & (rows.shape[1] < len(train))
    return rows.cpu().numpy(), uncertain.cpu().numpy()
