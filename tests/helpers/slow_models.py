"""Runs of models that wait for the test, to be killed, joined or stopped on the way."""

import pytest

from tests.conftest import ROOT

MODELS = """
import os, time
from pathlib import Path
import torch
from torchvision import transforms

FOLDER = Path(__file__).parent

class Slow(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.name, self.head = name, torch.nn.Linear(192, 1000)

    def forward(self, pixels):
        with open(FOLDER / "log", "a") as log:
            log.write(f"{self.name} {os.getpid()}\\n")
        time.sleep(0.3)
        while (FOLDER / f"hold {self.name}").exists():
            time.sleep(0.01)
        if (FOLDER / "fail").exists():
            raise ValueError("no")
        return self.head(pixels.flatten(1))

resize = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
a, b, c, d = (lambda name=name: (Slow(name), resize) for name in "abcd")
"""


@pytest.fixture
def models(runs, tmp_path):
    """`models("a", "b")` starts them over two images, `models.log()` tells which process did which.

    `models.hold("a")` has it wait where its predictions are computed, until `models.release("a")`.
    """
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "own.py").write_text(MODELS)

    def start(
        *names,
        workers=0,
        dataset=("--dataset", "sample", "--limit", 2),
        flags=("--device", "cpu"),
        artefacts=None,
        prefix=(),
    ):
        flags = ("--artefacts_dir", artefacts or start.artefacts, "--workers", workers, *dataset, *flags)
        named = [f"{folder / 'own.py'}:{name}" for name in names]
        return runs.start(ROOT / "src" / "collect_predictions.py", *flags, "--model", *named, prefix=prefix)

    def log() -> list[list[str]]:
        path = folder / "log"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    start.folder, start.artefacts, start.log = folder, tmp_path / "artefacts", log
    start.hold = lambda name: (folder / f"hold {name}").touch()
    start.release = lambda name: (folder / f"hold {name}").unlink()
    return start
