"""The commands of README, run literally and in order in a fresh clone, succeed and change no committed file."""

import os
import re
import subprocess

import pytest

from tests.conftest import ROOT
from tests.helpers.clones import clone_repository, find_changes, link_environment

README = (ROOT / "README.md").read_text()
SECTIONS = re.split(r"^#+ (.+)\n", README, flags=re.MULTILINE)[1:]  # a heading, the text below it, a heading, ...
BLOCKS = {  # {heading: the commands below it}
    heading: commands
    for heading, text in zip(SECTIONS[::2], SECTIONS[1::2], strict=True)
    for commands in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
}
SET_UP, ARCHIVE, PREDICTIONS, MODELS = BLOCKS
IMAGE = "ILSVRC2012_val_00003268.JPEG"


@pytest.fixture
def clone(tmp_path):
    """A clone with an environment that is installed already."""
    clone_repository(tmp_path / "clone")
    link_environment(tmp_path / "clone")
    return tmp_path / "clone"


def follow(clone, road, own) -> str:
    """Run the commands of "Set up" and of a road, with a user's `own` names {word of README: name}.

    Every command must succeed. Returns what they print.
    """
    commands = BLOCKS[SET_UP] + BLOCKS[road]
    for word, name in own.items():
        assert word in commands
        commands = commands.replace(word, str(name))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IMAGENET")}
    shell = ["bash", "-ex", "-c", commands]
    done = subprocess.run(shell, cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert find_changes(clone) == ""
    return done.stdout


def test_every_block_of_commands_is_of_set_up_or_a_road():
    assert len(BLOCKS) == README.count("```sh\n")


@pytest.mark.heavy
def test_archive_gives_all_results(clone, shared):
    archive = shared / "archives" / "models-imagenet.tar.gz"
    own = {"/path/to/artefacts.tar.gz": archive, "timm/resnet50.a1_in1k": "pytorch/resnet50"}
    printed = follow(clone, ARCHIVE, own)
    assert "imagenet: 2 models, none published" in printed
    assert f"n01737021/{IMAGE}, pytorch/resnet50: " in printed
    assert list((clone / "results" / "notebooks").glob("*.html"))


@pytest.mark.heavy
def test_own_predictions_are_typed_and_drawn(clone, shared):
    files = {name: shared / "predictions" / f"imagenetx--{name}.csv" for name in ("ViT", "ResNet50")}
    printed = follow(clone, PREDICTIONS, {"my_model.csv": files["ViT"], "other_model.csv": files["ResNet50"]})
    assert "imagenetx--ViT       78.01  86.77 " in printed
    assert "imagenetx--ResNet50  76.13  85.08 " in printed
    drawn = (clone / "results" / "figures" / "imagenet").glob("*num_same_superclass*groups=all.png")
    assert len(list(drawn)) == 2


@pytest.mark.heavy
def test_models_are_run_and_their_errors_typed(clone, shared):
    printed = follow(clone, MODELS, {"/path/to/imagenet": shared / "images"})
    assert "sample: 7 of 7 images" in printed
    assert "imagenet: 383 of 50,000 images" in printed
    assert f"n01737021/{IMAGE}, efficientnet_lite/lite0: fine-grained" in printed
