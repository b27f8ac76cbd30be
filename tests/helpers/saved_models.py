"""Networks with random weights, saved where the libraries keep what they downloaded: in caches below a folder.

Test modules get the fixtures through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import csv
import gc
from pathlib import Path
from urllib.parse import urlparse

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image

from imagenet_errors.download import file_sha256

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Have this process keep all its caches below tmp_path, and forbid downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "huggingface" / "hub"))
    gc.freeze()  # or the garbage collection after every model walks through all of torch
    yield tmp_path
    gc.unfreeze()


@pytest.fixture
def sample(call, tmp_path):
    """Collect two images of the sample; the artefacts folder is tmp_path."""

    def collect(*flags):
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--limit", 2, "--device", "cpu", *flags)
        return call("collect_predictions", *flags, "--workers", 0, "--save_probs")

    return collect


def environment(folder: Path) -> dict[str, Path]:
    """The same for another process."""
    return {"TORCH_HOME": folder / "torch", "HF_HOME": folder / "huggingface", "HF_HUB_OFFLINE": "1"}


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Change all tensors, so that one that is not loaded is noticed; images make a difference."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.fill_(7)
        elif tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(0, 0.1, generator=generator)
        else:
            tensor.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def put_on_hub(folder: Path, repository: str, **files: Path) -> Path:
    """Move files into Hugging Face's cache, laid out as it does that; returns the snapshot."""
    root = folder / "huggingface" / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / REVISION
    for path in (root / "refs", root / "blobs", snapshot):
        path.mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(REVISION)
    for name, file in files.items():
        digest = file_sha256(file)
        file.rename(root / "blobs" / digest)
        (snapshot / name).symlink_to(Path("../../blobs") / digest)
    return snapshot


def checkpoint_path(folder: Path, url: str) -> Path:
    """Where torch keeps the file of this URL."""
    path = folder / "torch" / "hub" / "checkpoints" / Path(urlparse(url).path).name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def put_timm_on_hub(folder: Path, name: str, model: torch.nn.Module, file: str = "model.safetensors") -> Path:
    """The weights of a timm model, in its repository."""
    from safetensors.torch import save_file

    (save_file if file.endswith("safetensors") else torch.save)(model.state_dict(), folder / "weights")
    return put_on_hub(folder, f"timm/{name}", **{file: folder / "weights"}) / file


def probabilities(artefacts: Path, model: torch.nn.Module, transform) -> np.ndarray:
    """A model's probabilities for the sample's images, without any code of ours."""
    files = np.load(artefacts / "sample" / "samples_info.npz")["sample_files"]
    images = [Image.open(artefacts / "sample" / "images" / file).convert("RGB") for file in files]
    with torch.inference_mode():
        output = model(torch.stack([transform(image) for image in images]))
        return getattr(output, "logits", output).softmax(dim=1).numpy()


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Up to what float32 and another order of sums allow; images and weights make far larger differences."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-6)


def saved_probs(artefacts: Path, model: str) -> np.ndarray:
    """[N, 1000] of a model in an artefacts folder."""
    with np.load(artefacts / "sample" / model / "preds.npz") as archive:
        return archive["probs"]


def failures(artefacts: Path) -> dict[str, str]:
    """{model id: reason} of failures.csv."""
    with open(artefacts / "sample" / "failures.csv", newline="") as file:
        return {row["model_id"]: row["reason"] for row in csv.DictReader(file)}


def timm_transform(model):
    """timm's own preprocessing."""
    import timm

    return timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
