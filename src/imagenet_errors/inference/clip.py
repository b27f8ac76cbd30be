"""Embeddings of images and prompts by CLIP (Radford et al. 2021), and the nearest training images."""

import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from imagenet_errors import locks
from imagenet_errors.download import file_sha256
from imagenet_errors.errors import InputError, ModelError, ProtectedFileError, describe_exception, describe_unknown
from imagenet_errors.formats.embeddings import NUM_NEIGHBOURS, Embeddings, read_embeddings, write_embeddings
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.predict import settle_arithmetic
from imagenet_errors.inference.preprocessing import OwnTransform
from imagenet_errors.progress import show_progress

QUERIES_PER_BLOCK = 256  # images whose neighbours are sought at once
NUM_SPARE_CANDIDATES = 14  # candidates beyond the fifty whose similarity is computed exactly
SIMILARITY_TOLERANCE = 1e-5  # more than single precision is off by


@dataclass(frozen=True)
class Clip:
    """A CLIP with its weights.

    Attributes:
        name: Of model and weights, e.g. `ViT-L-14-336/openai`; for a file of weights its hash.
        model: open_clip's, in float32 and eval mode, on `device`.
        transform: From a PIL image to its input.
        tokenize: From texts to its input.
        device: Where to compute.
    """

    name: str
    model: torch.nn.Module
    transform: OwnTransform
    tokenize: Callable[[list[str]], torch.Tensor]
    device: torch.device

    @classmethod
    def load(cls, model: str, pretrained: str, device: torch.device) -> "Clip":
        """Any model of open_clip.

        Args:
            model: Its name, e.g. `ViT-L-14-336`.
            pretrained: A tag of its weights, or a file of them.
            device: Where to compute.

        Raises:
            InputError: for names that open_clip does not know, or weights that cannot be had or do not fit.
        """
        import open_clip

        file = Path(pretrained)
        if model not in open_clip.list_models():
            raise InputError(describe_unknown("--clip_model", model, open_clip.list_models()))
        if not file.is_file() and pretrained not in open_clip.list_pretrained_tags_by_model(model):
            tags = open_clip.list_pretrained_tags_by_model(model)
            raise InputError(f"{describe_unknown('--clip_pretrained', pretrained, tags)}, or give a file")
        tag = {} if file.is_file() else open_clip.get_pretrained_cfg(model, pretrained)
        logging.disable(logging.ERROR)  # what it logs is in the exception as well
        try:
            network, _, transform = open_clip.create_model_and_transforms(
                model,
                pretrained=pretrained,
                precision="fp32",
                device=device,
                weights_only=True,
                force_quick_gelu=bool(tag.get("quick_gelu")),  # OpenAI's weights want it; by itself it only warns
            )
        except Exception as error:  # hub, torch and open_clip raise many kinds
            raise InputError(
                f"{model} cannot be had with the weights {pretrained} ({describe_exception(error)})"
            ) from error
        finally:
            logging.disable(logging.NOTSET)
        name = f"{model}/{file_sha256(file)[:16] if file.is_file() else pretrained}"
        return cls(name, network.eval(), OwnTransform(transform), open_clip.get_tokenizer(model), device)

    @torch.inference_mode()
    def embed_images(self, images: Images, batch_size: int) -> np.ndarray:
        """[N, D] float32 of unit length. Raises `InputError` for an image that cannot be read."""
        settle_arithmetic(amp=False)
        parts = []
        for pixels in images.batches(self.transform, batch_size):
            if isinstance(pixels, InputError | ModelError):
                raise InputError(str(pixels))
            parts.append(self.model.encode_image(pixels.to(self.device), normalize=True).float().cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def embed_texts(self, texts: Iterable[str], batch_size: int) -> np.ndarray:
        """[m, D] float32 of unit length."""
        settle_arithmetic(amp=False)
        tokens = self.tokenize(list(texts)).split(batch_size)
        parts = [self.model.encode_text(part.to(self.device), normalize=True).float().cpu().numpy() for part in tokens]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Job:
    """Names to be embedded and stored in one archive.

    Attributes:
        root: The artefacts folder.
        path: The archive in it.
        field: What it calls the names.
        names: [m] str, images or prompts.
        targets: [m] class ids to store with them, or None.
        clip: What embeds them.
        embed_some: From some of the names to their embeddings.
        block: How many are embedded and stored at a time.
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
        """Where blocks lie until all are there."""
        return self.path.with_suffix(".parts")

    def lock(self, name: str) -> str:
        return f"{self.path.relative_to(self.root)}/{name}"


def embed(job: Job) -> Embeddings:
    """The embeddings of a job, stored; a block at a time, so that a run that was killed goes on.

    Several processes share the blocks; one of them puts them together.

    Args:
        job: What to embed.

    Raises:
        InputError: where the archive holds embeddings of other names or of another CLIP.
    """
    if not job.path.exists():
        parts = {}
        for start in show_progress(range(0, len(job.names), job.block), job.path.name):
            parts[start] = _embed_block(job, start, wait=False)
        for start in [start for start, part in parts.items() if part is None]:
            parts[start] = _embed_block(job, start, wait=True)
        with locks.locked(job.root, job.lock("all")):
            if not job.path.exists():
                vectors = np.concatenate(list(parts.values()))
                embedded = Embeddings(job.path, job.names, vectors, job.clip.name, job.targets)
                write_embeddings(job.path, job.field, embedded)
    stored = check_same(read_embeddings(job.path, job.field), job.clip, job.names)
    shutil.rmtree(job.folder, ignore_errors=True)  # also those of a run that ended before it did this
    return stored


def _embed_block(job: Job, start: int, wait: bool) -> np.ndarray | None:
    """The embeddings of a block; None where they, or all, are left to another process."""
    part, some = job.folder / f"{start:08d}.npz", job.names[start : start + job.block]
    done = _valid_part(part, some, job.clip)
    if done is not None:
        return done
    name = job.lock(f"{start:08d}")
    with locks.locked(job.root, name) if wait else locks.if_free(job.root, name) as mine:
        if not mine or job.path.exists():
            return None
        done = _valid_part(part, some, job.clip)
        if done is None:
            write_embeddings(part, "names", Embeddings(part, some, job.embed_some(some), job.clip.name))
            done = read_embeddings(part, "names").vectors
        return done


def check_same(stored: Embeddings, clip: Clip, names: np.ndarray | None = None) -> Embeddings:
    """The stored embeddings. Raises `InputError` where they are of another CLIP or, if these are given, other names."""
    if names is not None and not np.array_equal(stored.names, names):
        raise InputError(f"{stored.path} is of {len(stored.names):,} others than these {len(names):,}: remove it")
    if stored.clip not in (None, clip.name):
        raise InputError(
            f"{stored.path} is of {stored.clip}, not {clip.name}, and two CLIPs must not be mixed: remove it, or use"
            " another --artefacts_dir"
        )
    return stored


def _valid_part(path: Path, names: np.ndarray, clip: Clip) -> np.ndarray | None:
    """The embeddings of an earlier run, if they are whole and of these names by this CLIP."""
    try:
        stored = read_embeddings(path, "names") if path.exists() else None
    except ProtectedFileError:
        raise
    except InputError:
        return None
    same = stored is not None and stored.clip == clip.name and np.array_equal(stored.names, names)
    return stored.vectors if same else None


@torch.inference_mode()
def nearest(queries: np.ndarray, train: np.ndarray, device: torch.device, memory_gb: float) -> np.ndarray:
    """The 50 nearest rows of `train` for each query by cosine similarity; of equal ones the lower row first.

    Blocked products in single precision find candidates, and double precision orders them. Where more than these could
    be among the fifty, the query is compared with all in double precision.

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
        raise InputError(f"there are {len(train)} training images for {NUM_NEIGHBOURS} neighbours: give more")
    settle_arithmetic(amp=False)
    columns = max(NUM_NEIGHBOURS + NUM_SPARE_CANDIDATES, int(memory_gb * 1e9 / (3 * 4 * QUERIES_PER_BLOCK)))
    found = np.empty((len(queries), NUM_NEIGHBOURS), np.int32)
    for start in show_progress(range(0, len(queries), QUERIES_PER_BLOCK), "neighbours"):
        some = queries[start : start + QUERIES_PER_BLOCK]
        candidates, doubtful = _candidates(some, train, columns, device)
        exact = np.einsum("qcd,qd->qc", train[candidates].astype(np.float64), some.astype(np.float64))
        order = np.lexsort((candidates, -exact))[:, :NUM_NEIGHBOURS]
        found[start : start + len(some)] = np.take_along_axis(candidates, order, axis=1)
        for row in np.flatnonzero(doubtful):
            exact = np.einsum("td,d->t", train, some[row], dtype=np.float64)
            found[start + row] = np.argsort(-exact, kind="stable")[:NUM_NEIGHBOURS]
    return found


def _candidates(
    queries: np.ndarray, train: np.ndarray, columns: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `train` that hold the fifty nearest, and of which queries more could be among these."""
    left = torch.from_numpy(queries).to(device)
    values = torch.empty(len(queries), 0, device=device)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=device)
    for start in range(0, len(train), columns):
        products = left @ torch.from_numpy(train[start : start + columns]).to(device).T
        block_values, block_rows = products.topk(min(NUM_NEIGHBOURS + NUM_SPARE_CANDIDATES, products.shape[1]))
        values, rows = torch.cat([values, block_values], dim=1), torch.cat([rows, block_rows + start], dim=1)
        values, kept = values.topk(min(NUM_NEIGHBOURS + NUM_SPARE_CANDIDATES, values.shape[1]))
        rows = rows.gather(1, kept)
    doubtful = (values[:, -1] > values[:, NUM_NEIGHBOURS - 1] - SIMILARITY_TOLERANCE) & (rows.shape[1] < len(train))
    return rows.cpu().numpy(), doubtful.cpu().numpy()
