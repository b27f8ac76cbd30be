"""A CLIP of one small layer with random weights, known to open_clip, and fixtures of what it embeds.

Test modules get the fixtures through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from imagenet_errors import cli
from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.files import write_json
from imagenet_errors.inference import clip
from tests.conftest import COMMITTED
from tests.helpers.shared_predictions import SHARED

NAME = "tiny-test-clip"
CONFIG = {
    "embed_dim": 32,
    # dropped patches tell a network in train mode from one in eval mode
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
        "patch_dropout": 0.5,
    },
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def register(folder: Path) -> None:
    """Make `NAME` a model of open_clip, in this process."""
    folder.mkdir(exist_ok=True)
    write_json(folder / f"{NAME}.json", CONFIG)  # whole at any time: other processes register it as well
    open_clip.add_model_config(folder)


def make(path: Path, seed: int) -> Path:
    """Save random weights for `NAME`."""
    torch.manual_seed(seed)
    model = open_clip.create_model(NAME)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if name.endswith("attn.out_proj.weight"):
                values.mul_(10)  # so that images and prompts differ
    torch.save(model.state_dict(), path)
    return path


def flags(weights: Path, artefacts: Path, *more) -> tuple:
    """Those of compute_clip_embeddings.py for this CLIP, in this process alone."""
    named = ("--clip_model", NAME, "--clip_pretrained", weights, "--workers", 0, "--batch_size", 512, "--device", "cpu")
    return ("--artefacts_dir", artefacts, *named, *more)


def run(script: str, *arguments) -> None:
    """Run a script's main function, outside of any test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        cli.start_log()
        importlib.import_module(script).main()


def make_images(folder: Path) -> None:
    """Colored squares as 23 validation images and 60 training images, each of another class."""
    random, validation = np.random.default_rng(0), load_validation_samples(COMMITTED).files[::50].tolist()
    train = [f"{file[:9]}/{file[:9]}_{number}.JPEG" for number, file in enumerate(validation)]
    for file in [*(f"val/{file}" for file in validation[:23]), *(f"train/{file}" for file in train[:60])]:
        (folder / file).parent.mkdir(parents=True)
        squares = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        squares.resize((64, 64), Image.Resampling.NEAREST).save(folder / file)


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive}


@pytest.fixture(scope="session")
def clip_weights(tmp_path_factory):
    """A file of random weights; the model is registered."""
    folder = tmp_path_factory.mktemp("tiny_clip")
    register(folder)
    return make(folder / "weights.pt", 0)


@pytest.fixture(scope="session")
def other_weights(clip_weights):
    """Another one."""
    return make(clip_weights.with_name("other.pt"), 1)


@pytest.fixture(scope="session")
def clip_world(shared, lite0, clip_weights, tmp_path_factory):
    """An artefacts folder with all shared images, predicted by lite0, and prompts, embedded. Do not write to it."""
    folder = shutil.copytree(lite0, tmp_path_factory.mktemp("clip") / "artefacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGENET_DIR", str(shared / "images"))
        run("compute_clip_embeddings", *flags(clip_weights, folder))
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """A folder of images: 23 in `val/`, 60 in `train/`; made-up ones without the shared data. Do not write to it."""
    folder = tmp_path_factory.mktemp("few")
    if not SHARED.is_dir():
        make_images(folder)
        return folder
    for part, number in (("val", 23), ("train", 60)):
        for path in sorted((SHARED / "images" / part).glob("*/*"))[:number]:
            (folder / part / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / part / path.parent.name / path.name)
    return folder


@pytest.fixture
def embed(call, clip_weights, few, tmp_path, monkeypatch):
    """Run the script on the few images, not the prompts: `embed(*flags)`; its artefacts folder is `embed.folder`."""
    monkeypatch.setenv("IMAGENET_DIR", str(few))
    folder = tmp_path / "artefacts"

    def run(*more, weights=clip_weights, what=("train", "images", "neighbours")):
        return call("compute_clip_embeddings", *flags(weights, folder, "--what", *what, *more))

    run.folder = folder
    run.images = folder / "imagenet" / "clip_image_embeddings.npz"
    run.parts = run.images.with_suffix(".parts")
    run.train = folder / "train_clip_embeddings.npz"
    run.neighbours = folder / "imagenet" / "valid_clip_knn.npz"
    return run


@pytest.fixture
def embedded(monkeypatch):
    """The files of every block that is embedded from now on; `embedded.stop_at` interrupts before so many blocks."""

    class Blocks(list):
        stop_at = None

    blocks, whole = Blocks(), clip.Clip.embed_images

    def spy(self, images, batch_size):
        if len(blocks) == blocks.stop_at:
            raise KeyboardInterrupt
        blocks.append([image.path for image in images.stored])
        return whole(self, images, batch_size)

    monkeypatch.setattr(clip.Clip, "embed_images", spy)
    return blocks
