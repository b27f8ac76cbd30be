"""`--plan`: what a run would do, and that it does so."""

import json

import pytest
from torchvision.models import get_model_weights

from imagenet_errors.inference import calibration
from imagenet_errors.maintenance import multiply_adds
from imagenet_errors.models.model_table import load_records
from imagenet_errors.models.multiply_adds import read_multiply_adds
from imagenet_errors.paths import MULTIPLY_ADDS
from tests.conftest import COMMITTED, refused

LITE = ["efficientnet_lite/lite2", "efficientnet_lite/lite0", "efficientnet_lite/lite1"]
SMALL = ["timm/resnet18.a1_in1k", "timm/resnet50.a1_in1k", "timm/resnet34.a1_in1k"]  # of one geometry


@pytest.fixture
def plan(call, tmp_path):
    """The plan of some models and flags, as JSON."""

    def make(*flags, models=SMALL):
        done = call(
            "collect_predictions", "--plan", "--format", "json", "--artefacts_dir", tmp_path, "--model", *models, *flags
        )
        assert done.status == 0, done.stderr
        return json.loads(done.stdout)

    return make


def test_largest_models_of_a_geometry_come_first(plan):
    (geometry,) = plan("--device", "cpu")["geometries"]
    assert [model["model_id"] for model in geometry["models"]] == [SMALL[1], SMALL[2], SMALL[0]]
    numbers = [model["multiply_adds"] for model in geometry["models"]]
    assert numbers == sorted(numbers, reverse=True)


def test_models_run_in_the_order_of_the_plan(call, plan, tmp_path):
    """The Lite models have geometries of their own, which come in the order of the table."""
    geometries = plan(models=LITE)["geometries"]
    planned = [model["model_id"] for geometry in geometries for model in geometry["models"]]
    assert planned == sorted(LITE)
    flags = ("--dataset", "sample", "--limit", 1, "--artefacts_dir", tmp_path, "--device", "cpu", "--workers", 0)
    done = call("collect_predictions", *flags, "--model", *LITE)
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if "top-1" in line] == planned


def test_bytes_are_those_of_all_images(plan):
    """Pixels have three bytes; weights that are not on this machine four a parameter."""
    for flags, num_images in (((), 50_000), (("--limit", 10), 10), (("--limit", 10**6), 50_000)):
        found = plan(*flags)
        assert found["num_images"] == num_images
        assert found["geometries"][0]["pixel_bytes"] == num_images * 3 * 224**2
    (lite,) = plan(models=["lite0"])["geometries"][0]["models"]
    assert (lite["num_params"], lite["download_bytes"]) == (4_652_008, 0)


@pytest.mark.parametrize(
    ("flags", "models", "is_cached"),
    [
        (("--limit", 10), SMALL, True),
        (("--limit", 10), SMALL[:1], False),
        (("--limit", 10, "--cache_gb", 0), SMALL, False),
        (("--limit", 10, "--cache_gb", 9 * 3 * 224**2 / 1e9), SMALL, False),
        (("--limit", 10, "--cache_gb", 10 * 3 * 224**2 / 1e9), SMALL, True),
    ],
)
def test_pixels_are_kept_where_they_fit_and_models_share_them(plan, flags, models, is_cached):
    assert [geometry["is_cached"] for geometry in plan(*flags, models=models)["geometries"]] == [is_cached]


def test_what_is_not_known_is_said(call, tmp_path):
    (tmp_path / "own.py").write_text("")
    flags = ("--plan", "--artefacts_dir", tmp_path, "--model", f"{tmp_path}/own.py:build", SMALL[0])
    done = call("collect_predictions", *flags)
    assert "geometry known when its models are built: pixels unknown, not kept" in done.stdout
    (own,) = (line for line in done.stdout.splitlines() if line.startswith("own/own.build"))
    assert own.split()[1:] == ["unknown", "unknown", "cached", "32", "unknown"]
    assert "Hours: unknown, --calibrate measures this device." in " ".join(done.stdout.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.py"]


def test_hours_are_those_of_the_measured_rates(plan, monkeypatch):
    """All images times (multiply-adds of all models / rate + one decoding / rate); without a cache, three decodings."""
    monkeypatch.setattr(calibration, "SECONDS", 0.1)
    flags = ("--calibrate", "--device", "cpu", "--workers", 0, "--batch_size", 1)
    for cache, passes in (((), 1), (("--cache_gb", 0), 3)):
        found = plan(*flags, "--limit", 100, *cache)
        (geometry,), rates = found["geometries"], found["rates"]
        assert 1e8 < rates["multiply_adds"] < 1e14
        assert 1 < rates["images"] < 1e5
        numbers = [model["multiply_adds"] for model in geometry["models"]]
        expected = 100 * (sum(numbers) / rates["multiply_adds"] + passes / rates["images"])
        assert geometry["seconds"] == pytest.approx(expected)


def test_damaged_table_is_refused(call, tmp_path):
    (tmp_path / MULTIPLY_ADDS).write_text("model_id,side,multiply_adds\nme/x,224,many\n")
    done = call("collect_predictions", "--plan", "--model", "lite0", "--artefacts_dir", tmp_path)
    assert refused(done, f"{MULTIPLY_ADDS} has values that are not integers: restore it")


class TestTable:
    """multiply_adds.csv, which `make_artefacts.py --what multiply_adds` makes in a quarter of an hour."""

    def test_some_rows_are_made_again(self, monkeypatch):
        names = [
            "torchvision/resnet50",
            "timm/resnet50.a1_in1k",
            "timm/test_vit3.r160_in1k",
            "torchvision/regnet_y_400mf",
            LITE[1],
        ]
        some = [record for record in load_records(COMMITTED) if record.model_id in names]
        monkeypatch.setattr(multiply_adds, "load_records", lambda _: some)
        known = read_multiply_adds(COMMITTED)
        rows = multiply_adds.make_rows(COMMITTED)
        assert len(rows) == len(some)
        assert all(known[row["model_id"], row["side"]] == row["multiply_adds"] for row in rows)

    def test_counts_are_those_that_torchvision_publishes(self):
        """Within 1 %, for the architectures whose weights have one size: theirs count a few other operations."""
        known = {model: number for (model, _), number in read_multiply_adds(COMMITTED).items()}
        for name in ("resnet50", "vgg16", "convnext_base", "vit_b_32", "regnet_y_8gf", "densenet121", "mobilenet_v2"):
            published = get_model_weights(name).IMAGENET1K_V1.meta["_ops"]
            assert known[f"torchvision/{name}"] / 1e9 == pytest.approx(published, rel=0.01), name
