"""Folders of images, and from an image file to pixels."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets.folder import IMG_EXTENSIONS

from imagenet_errors.errors import InputError
from imagenet_errors.knowledge.vocabulary import Vocabulary
from imagenet_errors.storage import Dataset, Samples


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


def find_images(root: Path, vocabulary: Vocabulary) -> Samples:
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


@dataclass(frozen=True)
class Preprocessing:
    """From an image to a model's input. Resizing and cropping give 8-bit pixels; normalising comes after.

    Attributes:
        resize: Length of the shorter side after resizing, in pixels.
        crop: Side of the centre crop, in pixels.
        interpolation: A torchvision `InterpolationMode`, e.g. `bicubic`.
        mean: Per channel (R, G, B), of pixels scaled to 0..1.
        std: Likewise.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_pixels(self) -> transforms.Compose:
        """A transform from a PIL image to uint8 [3, crop, crop]."""
        return transforms.Compose(
            [
                transforms.Resize(self.resize, transforms.InterpolationMode(self.interpolation)),
                transforms.CenterCrop(self.crop),
                transforms.PILToTensor(),
            ]
        )

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [B, 3, H, W] to float32, on the device of the pixels."""
        mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


class ImageFiles(torch.utils.data.Dataset):
    """Image files as pixels.

    An unreadable file comes back as the `InputError` that names it: raised in a worker, it would arrive as a traceback.
    """

    def __init__(self, root: Path, files: np.ndarray, to_pixels: transforms.Compose):
        self.root, self.files, self.to_pixels = root, files, to_pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor | InputError:
        path = self.root / self.files[index]
        try:
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"its pixels, of mode {image.mode}, are not 8-bit")
                return self.to_pixels(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return InputError(f"{path} cannot be read ({error}): fetch it again or remove it")


def stack(batch: list) -> torch.Tensor | InputError:
    """One uint8 tensor [B, 3, H, W], or the first error."""
    return next((item for item in batch if isinstance(item, InputError)), None) or torch.stack(batch)
