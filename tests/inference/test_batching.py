"""`--batch_size auto`: doubled while it fits and pays, remembered, never measured twice."""

import csv
import json
from dataclasses import replace

import pytest
import timm
import torch

from imagenet_errors.formats.batch_sizes import COLUMNS, Conditions, read_batch_sizes
from imagenet_errors.inference import batching, plan
from imagenet_errors.inference.calibration import PREPROCESSING, measure_speed
from imagenet_errors.inference.predict import OutOfMemoryError
from imagenet_errors.inference.preprocessing import ResizeAndCrop
from tests.conftest import refused
from tests.helpers.saved_models import failures, put_timm_on_hub, randomised

pytest_plugins = ("tests.helpers.saved_models", "tests.helpers.own_functions")
pytestmark = pytest.mark.usefixtures("caches")
ENDS = "torch.OutOfMemoryError('CUDA out of memory')"
VIT = "test_vit.r160_in1k"
GEOMETRY = "resize 168, crop 160, bicubic, center"
SMALL = replace(PREPROCESSING, geometry=ResizeAndCrop(168, 160, "bicubic"))
FLOAT_IS_LARGER = """
import torch
from torchvision import transforms

class Larger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(192, 1000)

    def forward(self, pixels):
        if len(pixels) > 3 and not torch.is_autocast_enabled("cpu"):
            raise MemoryError
        return self.head(pixels.flatten(1))

resize = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
larger = lambda: (Larger(), resize)
"""


@pytest.fixture
def collect(call, tmp_path):
    """Run models on the sample with `--batch_size auto`; the artefacts folder is tmp_path."""

    def run(*flags):
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--device", "cpu", *flags)
        return call("collect_predictions", "--workers", 0, "--batch_size", "auto", *flags)

    return run


@pytest.fixture
def measured(monkeypatch):
    """Have the CPU measured as a GPU is, on which twice as large batches are twice as fast; lists the sizes."""
    sizes = []

    def recall(known, device, record, geometry, amp):
        return known.get(batching.describe_conditions(device, record, geometry, amp))

    def measure(*arguments, **options):
        sizes.append(arguments[2])
        measure_speed(*arguments, **options)
        return arguments[2]

    for module in (batching, plan):
        monkeypatch.setattr(module, "recall_batch_size", recall)
    monkeypatch.setattr(batching, "measure_speed", measure)
    monkeypatch.setattr(batching, "SECONDS", 0)
    return sizes


@pytest.mark.parametrize(
    ("fits", "pays", "expected"),
    [
        (1000, 1000, 256),
        (1000, 128, 128),
        (1000, 64, 64),
        (1000, 32, 32),
        (255, 1000, 128),
        (64, 1000, 64),
        (63, 1000, 32),
        (31, 1000, 16),
    ],
)
def test_batch_is_doubled_while_it_fits_and_pays(fits, pays, expected):
    def measure(size):
        if size > fits:
            raise OutOfMemoryError
        return min(size, pays * 1.04)

    assert batching.find_batch_size(measure) == expected


def test_speed_is_images_per_second():
    model = timm.create_model(VIT.partition(".")[0]).eval()
    counted = []
    model.register_forward_hook(lambda *arguments: counted.append(len(arguments[2])))
    speed = measure_speed(model, SMALL, 4, torch.device("cpu"), amp=False, seconds=0.2)
    assert set(counted) == {4}
    assert 0.5 * sum(counted[1:]) / 0.2 < speed < 1.1 * sum(counted[1:]) / 0.2


def test_batch_size_is_remembered_and_not_measured_again(collect, own, measured, tmp_path):
    models = own("hungry", fits=70, error=ENDS)
    for _ in range(2):
        assert collect("--model", *models).status == 0
        assert measured == [32, 64, 128]
        (tmp_path / "sample" / "own--own.hungry" / "preds.npz").unlink()
    with open(tmp_path / "batch_sizes.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == dict(zip(COLUMNS, ("cpu", "own/own.hungry", "", "float32", "64"), strict=True))


def test_half_precision_is_measured_for_itself(collect, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(batching, "MOST", 32)
    put_timm_on_hub(tmp_path, VIT, randomised(timm.create_model(VIT)))
    for flags in ((), ("--amp",)):
        assert collect("--model", f"timm/{VIT}", *flags).status == 0
    conditions = [Conditions("cpu", f"timm/{VIT}", GEOMETRY, precision) for precision in ("float32", "amp")]
    assert read_batch_sizes(tmp_path / "batch_sizes.csv") == dict.fromkeys(conditions, 32)


def test_batch_that_is_too_large_after_all_is_halved(collect, own, measured, tmp_path):
    assert collect("--model", *own("hungry", fits=3, from_call=4)).status == 0
    metadata = json.loads((tmp_path / "sample" / "own--own.hungry" / "metadata.json").read_text())
    assert metadata["eval_batch_size"] == 3


def test_model_that_fails_when_it_is_measured_is_a_failure(collect, own, measured, tmp_path):
    assert collect("--model", *own("nan", "good")).status == 1
    assert failures(tmp_path) == {"own/own.nan": "it gives not-a-number: its weights or its preprocessing are wrong"}


def test_on_a_cpu_nothing_is_measured(collect, own, tmp_path, monkeypatch):
    monkeypatch.setattr(batching, "measure_speed", None)
    assert collect("--model", *own("good")).status == 0
    assert not (tmp_path / "batch_sizes.csv").exists()


def test_float32_is_compared_in_batches_that_fit(collect, tmp_path):
    (tmp_path / "own.py").write_text(FLOAT_IS_LARGER)
    done = collect("--model", f"{tmp_path}/own.py:larger", "--amp", "--agreement")
    assert done.status == 0
    assert "out of memory, trying again with --batch_size 3" in done.stderr
    metadata = json.loads((tmp_path / "sample" / "own--own.larger" / "metadata.json").read_text())
    assert (metadata["eval_batch_size"], metadata["float32_agreement_images"]) == (7, 7)


def test_plan_has_the_remembered_sizes(collect, measured, tmp_path):
    conditions = Conditions("cpu", f"timm/{VIT}", GEOMETRY, "float32")
    batching.write_batch_sizes(tmp_path / "batch_sizes.csv", {conditions: 128})
    for flags, expected in (((), 128), (("--amp",), None), (("--batch_size", 8), 8)):
        planned = json.loads(collect("--model", f"timm/{VIT}", "--plan", "--format", "json", *flags).stdout)
        assert planned["geometries"][0]["geometry"] == GEOMETRY
        assert planned["geometries"][0]["models"][0]["batch_size"] == expected
    (line,) = [line for line in collect("--model", f"timm/{VIT}", "--plan").stdout.splitlines() if VIT in line]
    assert line.split()[-2:] == ["128", "unknown"]


@pytest.mark.parametrize("size", ["many", "0", "-1", ""])
def test_damaged_batch_sizes_are_refused(collect, own, measured, tmp_path, size):
    (tmp_path / "batch_sizes.csv").write_text(f"{','.join(COLUMNS)}\ncpu,me/x,,float32,{size}\n")
    assert refused(collect("--model", *own("good")), "batch_sizes.csv has batch_size", "remove it")


def test_batch_size_is_a_number_or_auto(collect, own):
    for text in ("0", "-1", "best"):
        assert refused(collect("--batch_size", text, "--model", *own("good")), "--batch_size")
