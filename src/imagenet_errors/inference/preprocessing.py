"""From an image to a model's input in two steps: 8-bit pixels (decode, resize, crop), then normalised numbers.

The first step, which takes longer, is the same for many models: its parameters are the geometry of a model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image, Resampling
from torchvision import transforms

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ResizeAndCrop:
    """The geometry of timm, torchvision and torch.hub models: resize with PIL's antialiasing, then crop the centre.

    Attributes:
        resize: Length after resizing, in pixels: of the shorter side (`center`), of each side (`squash`, which changes
            proportions) or of the longer side (`border`: the rest of the crop is filled).
        crop: Side of the crop, in pixels.
        interpolation: A torchvision `InterpolationMode`, e.g. `bicubic`.
        mode: timm's `crop_mode`.
        fill: 8-bit colour of the border (R, G, B).
    """

    resize: int
    crop: int
    interpolation: str
    mode: str = "center"
    fill: tuple[int, int, int] = (0, 0, 0)

    def __str__(self) -> str:
        return f"resize {self.resize}, crop {self.crop}, {self.interpolation}, {self.mode}"

    @property
    def side(self) -> int:
        """Of the pixels."""
        return self.crop

    @property
    def num_bytes(self) -> int:
        """Of the pixels of one image."""
        return 3 * self.side**2

    def to_pixels(self) -> transforms.Compose:
        """A transform from a PIL image in RGB to uint8 [3, crop, crop]."""
        interpolation = transforms.InterpolationMode(self.interpolation)
        if self.mode == "border":
            from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio

            resize = ResizeKeepRatio((self.resize, self.resize), interpolation=self.interpolation, longest=1.0)
            crop = CenterCropOrPad(self.crop, fill=self.fill)
        else:
            resize = transforms.Resize(
                (self.resize, self.resize) if self.mode == "squash" else self.resize, interpolation
            )
            crop = transforms.CenterCrop(self.crop)
        return transforms.Compose([resize, crop, transforms.PILToTensor()])


@dataclass(frozen=True)
class ConvNextGeometry:
    """The geometry of the Hugging Face ConvNeXts: that of their PIL-based image processor.

    From 384 pixels on it squashes; below, it crops as `ResizeAndCrop`, but rounds odd margins in another way.
    """

    size: int
    crop_pct: float
    resample: Resampling

    def __str__(self) -> str:
        return f"ConvNextImageProcessor, size {self.size}, crop_pct {self.crop_pct:g}, resample {self.resample:d}"

    @property
    def side(self) -> int:
        """Of the pixels."""
        return self.size

    @property
    def num_bytes(self) -> int:
        """Of the pixels of one image."""
        return 3 * self.side**2

    def to_pixels(self) -> Callable[[Image], torch.Tensor]:
        """A transform from a PIL image in RGB to uint8 [3, size, size]."""
        from transformers.image_utils import SizeDict
        from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

        processor, size = ConvNextImageProcessorPil(), SizeDict(shortest_edge=self.size)

        def convert(image: Image) -> torch.Tensor:
            pixels = np.asarray(image).transpose(2, 0, 1)
            return torch.from_numpy(
                np.ascontiguousarray(processor.resize(pixels, size, self.resample, crop_pct=self.crop_pct))
            )

        return convert


@dataclass(frozen=True)
class Preprocessing:
    """The geometry, and how its pixels are normalised.

    Attributes:
        geometry: From an image to pixels.
        mean: Per channel (R, G, B), of pixels scaled to 0..1.
        std: Likewise.
    """

    geometry: ResizeAndCrop | ConvNextGeometry
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [B, 3, H, W] to float32, on the device of the pixels."""
        mean, std = (torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return pixels.float().div_(255).sub_(mean).div_(std)


@dataclass(frozen=True)
class OwnTransform:
    """The transform of a user's own model: from a PIL image in RGB to its input, float32 [3, H, W]."""

    transform: Callable[[Image], torch.Tensor]

    @property
    def geometry(self) -> "OwnTransform":
        return self

    def to_pixels(self) -> Callable[[Image], torch.Tensor]:
        return self.transform

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.to(torch.float32, copy=True)  # a model may write into its input


Geometry = ResizeAndCrop | ConvNextGeometry | OwnTransform
