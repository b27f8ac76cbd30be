"""CLIP (Radford et al. 2021), which embeds images and prompts."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imagenet_errors.download import file_sha256
from imagenet_errors.errors import InputError, ModelError, describe_exception, describe_unknown
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.predict import configure_arithmetic
from imagenet_errors.inference.preprocessing import OwnTransform


def name_clip(model: str, pretrained: str) -> str:
    """The name of a CLIP, as `Clip` has it, without loading it; takes and raises what `Clip.load` does."""
    import open_clip

    file = Path(pretrained)
    if model not in open_clip.list_models():
        raise InputError(describe_unknown("--clip_model", model, open_clip.list_models()))
    if not file.is_file() and pretrained not in open_clip.list_pretrained_tags_by_model(model):
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise InputError(f"{describe_unknown('--clip_pretrained', pretrained, tags)}, or give a file")
    return f"{model}/{file_sha256(file)[:16] if file.is_file() else pretrained}"


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

        name = name_clip(model, pretrained)
        tag = {} if Path(pretrained).is_file() else open_clip.get_pretrained_cfg(model, pretrained)
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
