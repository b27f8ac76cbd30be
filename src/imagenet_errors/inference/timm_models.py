"""The models of the installed timm that our tables lack."""

from timm import get_pretrained_cfg, list_models
from timm.models import PretrainedCfg

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import ModelError
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.timm_names import Rules
from imagenet_errors.paths import Artefacts

MODULE = "timm_new"


def get_config(name: str) -> PretrainedCfg:
    """timm's configuration of `<architecture>.<tag>`, or of the default weights of an architecture.

    Raises:
        ModelError: where the installed timm does not know this model.
    """
    try:
        config = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise ModelError(f"this timm has no {name} ({error}): install that of requirements.txt") from None
    if config is None:
        raise ModelError(f"this timm has no {name}: install that of requirements.txt")
    return config


def find_architecture(artefacts: Artefacts, name: str) -> ModelRecord | None:
    """The record of any model that the installed timm can build, or None.

    A name without a tag stands for the default weights.
    """
    try:
        config = get_config(name)
    except ModelError:
        return None
    full_name = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    return Rules.load(artefacts).describe(full_name, MODULE)


def find_new_weights(artefacts: Artefacts, known: list[ModelRecord]) -> list[ModelRecord]:
    """The weights of timm for 1000 classes that are not `known`, sorted; their metadata is in their names."""
    names = {record.builder for record in known if record.source == "timm"}
    new = [name for name in list_models(pretrained=True) if name not in names]
    rules = Rules.load(artefacts)
    return [rules.describe(name, MODULE) for name in new if get_config(name).num_classes == NUM_CLASSES]
