"""A user's file of functions that build models, some of which fail.

Test modules get the fixture through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import pytest

OWN = """
import torch
from torchvision import transforms

class Linear(torch.nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(192, classes)

    def forward(self, pixels):
        return self.head(pixels.flatten(1))

class Nan(Linear):
    def forward(self, pixels):
        return super().forward(pixels).log()

class Broken(Linear):
    def forward(self, pixels):
        return super().forward(pixels[:, :2])

class Hungry(Linear):
    calls = 0

    def forward(self, pixels):
        self.calls += 1
        if len(pixels) > {fits} and self.calls > {from_call}:
            raise {error}
        return super().forward(pixels)

resize = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
good = lambda: (Linear(), resize)
nan = lambda: (Nan(), resize)
broken = lambda: (Broken(), resize)
short = lambda: (Linear(999), resize)
hungry = lambda: (Hungry(), resize)

def unbuildable():
    raise FileNotFoundError("no weights")
"""


@pytest.fixture
def own(tmp_path):
    """A file of models: `own("good", "nan")` gives what `--model` takes."""
    file = tmp_path / "own.py"

    def arguments(*functions, **hungry):
        if not file.exists():
            text = OWN
            for key, value in ({"fits": 3, "from_call": 0, "error": "MemoryError()"} | hungry).items():
                text = text.replace(f"{{{key}}}", str(value))
            file.write_text(text)
        return [f"{file}:{function}" for function in functions]

    arguments.file = file
    return arguments
