"""Folders of images, and their pixels in batches."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from imagenet_errors import processes
from imagenet_errors.dataset.classes import Classes
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError, ModelError, describe_exception
from imagenet_errors.inference.preprocessing import Geometry


def locate(dataset: Dataset) -> Path:
    """The folder of class folders that the dataset's environment variable names."""
    folder = os.environ.get(dataset.variable)
    if not folder:
        below = f" whose {dataset.subfolder}/ holds" if dataset.subfolder else " of"
        raise InputError(
            f"${dataset.variable} is not set: point it to the folder{below} {dataset.name}'s class folders"
        )
    path = Path(folder) / dataset.subfolder
    if not path.is_dir():
        raise InputError(f"{path} is no folder: point ${dataset.variable} to the images of {dataset.name}")
    return path


def find_images(root: Path, vocabulary: Classes) -> Samples:
    """The images in the class folders of `root`, sorted by class folder, then file name, by code point.

    Hidden folders, and files beside the class folders (ImageNet-A has a README.txt there), are passed over.

    Args:
        root: Holds a folder per class, named by its WordNet id.
        vocabulary: The classes there may be.

    Raises:
        InputError: for a folder that is no ImageNet class, a file in one that is no image, or no image at all.
    """
    files = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if folder.name not in vocabulary.ids:
            raise InputError(f"{folder} is no ImageNet class: name class folders by WordNet id, e.g. n01440764")
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
        strange = next((name for name in names if not name.lower().endswith(IMG_EXTENSIONS)), None)
        if strange:
            raise InputError(f"{folder / strange} is no image ({', '.join(IMG_EXTENSIONS)}): remove it")
        files += [f"{folder.name}/{name}" for name in names]
    if not files:
        raise InputError(f"{root} holds no images in class folders (such as n01440764/): put them there")
    unwritable = next((file for file in files if not _is_text(file)), None)
    if unwritable:
        raise InputError(f"{root / unwritable!r} has a name that is no UTF-8: rename it")
    targets = [vocabulary.ids[file.partition("/")[0]] for file in files]
    return Samples(np.array(files), np.array(targets, dtype=np.int16))


def _is_text(name: str) -> bool:
    """Whether the name of a file can be written in UTF-8; undecodable bytes of a name cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


class ImageFiles(torch.utils.data.Dataset):
    """Image files as pixels.

    An unreadable file comes back as the `InputError` that names it, a transform's failure as a `ModelError`: raised in
    a worker, they would arrive as a traceback.
    """

    def __init__(self, root: Path, files: np.ndarray, to_pixels: Callable[[Image.Image], torch.Tensor]):
        self.root, self.files, self.to_pixels = root, files, to_pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor | InputError | ModelError:
        path = self.root / self.files[index]
        try:
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"its pixels, of mode {image.mode}, are not 8-bit")
                image = image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return InputError(f"{path} cannot be read ({error}): fetch it again or remove it")
        try:
            return self.to_pixels(image)
        except Exception as error:
            return ModelError(f"its transform fails on {path} ({describe_exception(error)})")


def stack(batch: list) -> torch.Tensor | InputError | ModelError:
    """One tensor [B, 3, H, W], or the first error."""
    error = next((item for item in batch if isinstance(item, InputError | ModelError)), None)
    if error:
        return error
    try:
        return torch.stack(batch)
    except (TypeError, RuntimeError) as error:
        return ModelError(f"its transform gives no tensors of one size ({describe_exception(error)})")


class Loader(torch.utils.data.DataLoader):
    """A loader whose workers leave signals to this process, and end with it."""

    def __iter__(self) -> Iterator:
        with processes.signals_blocked():
            return super().__iter__()


class Images:
    """The images of a run, as batches of pixels.

    With a cache folder, images are decoded once for all consecutive models of one geometry: their pixels are kept in a
    nameless file there, which is gone when another geometry comes or the run ends, however it ends. It takes
    `N * 3 * H * W` bytes: 7.5 GB for 50,000 images at 224 x 224.

    Args:
        root: Folder that `files` are relative to.
        files: [N] str.
        workers: Processes that decode images; 0 decodes in this one.
        cache_dir: Where to keep pixels; None decodes for every model.
        pin_memory: Whether batches go to a GPU.
    """

    def __init__(self, root: Path, files: np.ndarray, workers: int, cache_dir: Path | None = None, pin_memory=False):
        self.root, self.files, self.workers = root, files, workers
        self.cache_dir, self.pin_memory = cache_dir, pin_memory
        self.cached: tuple[Geometry, np.ndarray] | None = None

    def batches(self, geometry: Geometry, batch_size: int) -> "Loader | Slices | Recorder":
        """A sized iterable of [B, 3, H, W] tensors, or of the error that stands for one."""
        if self.cached and self.cached[0] == geometry:
            return Slices(self.cached[1], batch_size)
        loader = Loader(
            ImageFiles(self.root, self.files, geometry.to_pixels()),
            min(batch_size, len(self.files)),
            num_workers=min(self.workers, -(-len(self.files) // batch_size)),
            collate_fn=stack,
            pin_memory=self.pin_memory,
            worker_init_fn=processes.follow_parent,
        )
        if self.cache_dir is None:
            return loader
        self.cached = None
        return Recorder(loader, self, geometry)


class Recorder:
    """Batches of a loader that are also written to the cache, which is valid once all have come."""

    def __init__(self, loader: Loader, images: Images, geometry: Geometry):
        self.loader, self.images, self.geometry = loader, images, geometry

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[torch.Tensor | InputError | ModelError]:
        with tempfile.TemporaryFile(dir=self.images.cache_dir) as file:
            for batch in self.loader:
                if isinstance(batch, torch.Tensor):
                    file.write(batch.numpy())
                yield batch
            file.flush()
            shape = (len(self.images.files), *batch.shape[1:])
            self.images.cached = self.geometry, np.memmap(file, batch.numpy().dtype, "r+", shape=shape)


class Slices:
    """Batches of an array."""

    def __init__(self, pixels: np.ndarray, batch_size: int):
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return -(-len(self.pixels) // self.batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        for start in range(0, len(self.pixels), self.batch_size):
            yield torch.from_numpy(self.pixels[start : start + self.batch_size])
