"""Models of the user's own: a timm architecture with a checkpoint, a function in a Python file."""

import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import transforms

from imagenet_errors.inference import predict
from tests.conftest import refused
from tests.helpers import saved_models
from tests.helpers.saved_models import failures, probabilities, put_timm_on_hub, randomised, saved_probs, timm_transform

pytest_plugins = "tests.helpers.saved_models"
pytestmark = pytest.mark.usefixtures("caches")
VIT = "timm/test_vit"
OWN = """
from dataclasses import dataclass

import torch
from torchvision import transforms
from beside import SIZE

@dataclass
class Options:
    size: int = SIZE

def build():
    size = Options().size
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(3 * size * size, 1000))
    model.load_state_dict(torch.load("{weights}"))
    return model, transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
"""


def metadata(artefacts, model):
    return json.loads((artefacts / "sample" / model / "metadata.json").read_text())


class TestCheckpoints:
    """`--checkpoint`: a timm architecture with other weights."""

    @staticmethod
    def save(path, seed=0, wrap=None, builder="test_vit"):
        model = randomised(timm.create_model(builder), seed)
        state = model.state_dict()
        if path.suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save({wrap: state, "epoch": 3} if wrap else state, path)
        return model

    @pytest.mark.parametrize(
        ("file", "wrap"), [("w.pth", None), ("w.pt", "state_dict"), ("w.safetensors", None), ("w.bin", "model")]
    )
    def test_checkpoint_is_used_instead_of_published_weights(self, sample, tmp_path, file, wrap):
        put_timm_on_hub(tmp_path, "test_vit.r160_in1k", randomised(timm.create_model("test_vit"), seed=9))
        saved = self.save(tmp_path / file, wrap=wrap)
        done = sample("--model", VIT, "--checkpoint", tmp_path / file)
        assert done.status == 0, done.stderr
        expected = probabilities(tmp_path, saved, timm_transform(saved))
        saved_models.agree(saved_probs(tmp_path, "own--w"), expected)
        known = metadata(tmp_path, "own--w")
        assert (known["source"], known["training_data"], known["extra_annotations"]) == ("checkpoint", "unknown", [])
        assert (known["arch"], known["num_params"]) == ("test_vit", 371_240)

    def test_changed_checkpoint_is_predicted_again(self, sample, tmp_path):
        flags = ("--model", VIT, "--checkpoint", tmp_path / "w.pth", "--model_name", "me/mine")
        self.save(tmp_path / "w.pth")
        assert sample(*flags).status == 0
        first = saved_probs(tmp_path, "me--mine")
        self.save(tmp_path / "w.pth")
        assert "me/mine: kept" in sample(*flags).stderr
        saved = self.save(tmp_path / "w.pth", seed=1)
        assert "predicted again because" in sample(*flags).stderr
        assert not np.allclose(saved_probs(tmp_path, "me--mine"), first)
        expected = probabilities(tmp_path, saved, timm_transform(saved))
        saved_models.agree(saved_probs(tmp_path, "me--mine"), expected)
        assert "me/mine: kept" in sample(*flags).stderr

    def test_other_architecture_with_the_same_tensors_is_predicted_again(self, sample, tmp_path):
        self.save(tmp_path / "w.pth", builder="deit_tiny_patch16_224")
        flags = ("--checkpoint", tmp_path / "w.pth", "--model_name", "me/mine")
        assert sample("--model", "timm/deit_tiny_patch16_224", *flags).status == 0
        assert "predicted again because" in sample("--model", "timm/vit_tiny_patch16_224", *flags).stderr

    def test_test_size_is_used(self, sample, tmp_path, monkeypatch):
        crops, run = [], predict.predict

        def spy(model, preprocessing, *args, **options):
            crops.append(preprocessing.geometry.crop)
            return run(model, preprocessing, *args, **options)

        monkeypatch.setattr(predict, "predict", spy)
        self.save(tmp_path / "w.pth", builder="edgenext_xx_small")
        flags = ("--model", "timm/edgenext_xx_small.in1k", "--checkpoint", tmp_path / "w.pth")
        assert sample(*flags).status == 0
        assert sample(*flags, "--use_test_size").status == 0
        assert crops == [256, 288]

    @pytest.mark.parametrize("damage", ["shape", "code", "truncated", "empty", "garbage", "list"])
    def test_bad_checkpoint_is_a_failure(self, sample, tmp_path, damage):
        path = tmp_path / ("w.safetensors" if damage == "garbage" else "w.pth")
        self.save(path, builder="test_vit2" if damage == "shape" else "test_vit")
        if damage == "code":
            torch.save({"state_dict": Touch(tmp_path / "executed")}, path)
        elif damage == "truncated":
            os.truncate(path, 100_000)
        elif damage == "list":
            torch.save([1, 2], path)
        elif damage != "shape":
            path.write_bytes(b"" if damage == "empty" else b"garbage" * 9)
        outcome = sample("--model", VIT, "--checkpoint", path)
        assert outcome.status == 1
        assert "Traceback" not in outcome.stderr
        assert failures(tmp_path)["own/w"].startswith(str(path))
        assert not (tmp_path / "executed").exists()
        assert not (tmp_path / "sample" / "own--w").exists()


class Touch:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestFunctions:
    """`--model file.py:function`: any network, with its transform."""

    @pytest.fixture
    def own(self, tmp_path):
        model = randomised(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(192, 1000)))
        torch.save(model.state_dict(), tmp_path / "w.pt")
        (tmp_path / "mine.py").write_text(OWN.format(weights=tmp_path / "w.pt"))
        (tmp_path / "beside.py").write_text("SIZE = 8")
        return model

    @pytest.fixture(autouse=True)
    def forget_modules(self):
        """As a new process would."""
        yield
        for name in [name for name in sys.modules if name == "beside" or name.startswith("own_")]:
            del sys.modules[name]

    def test_flags_are_in_the_metadata(self, sample, own, tmp_path):
        flags = ("--model_name", "me/mine", "--arch", "swin", "--training_data", "ImageNet-21k (14M)")
        done = sample("--model", f"{tmp_path}/mine.py:build", *flags)
        assert done.status == 0, done.stderr
        transform = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
        saved_models.agree(saved_probs(tmp_path, "me--mine"), probabilities(tmp_path, own, transform))
        known = metadata(tmp_path, "me--mine")
        assert known["model_id"] == "me/mine"
        assert (known["arch"], known["arch_family"], known["training_data"]) == (
            "swin",
            "transformer",
            "ImageNet-21k (14M)",
        )
        assert known["num_params"] == 193_000

    def test_metadata_without_flags_is_unknown(self, sample, own, tmp_path):
        assert sample("--model", f"{tmp_path}/mine.py:build", "--arch", "my-net").status == 0
        known = metadata(tmp_path, "own--mine.build")
        assert (known["arch"], known["arch_family"], known["training_data"]) == ("my-net", "unknown", "unknown")

    def test_changed_function_is_predicted_again(self, sample, own, tmp_path):
        argument = f"{tmp_path}/mine.py:build"
        assert sample("--model", argument).status == 0
        assert "own/mine.build: kept" in sample("--model", argument).stderr
        torch.save(randomised(own, seed=1).state_dict(), tmp_path / "w.pt")
        assert "predicted again" in sample("--model", argument).stderr
        (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text().replace("ToTensor()", "ToTensor(), abs"))
        assert "predicted again" in sample("--model", argument).stderr

    def test_function_has_nothing_to_download(self, sample, own, tmp_path):
        done = sample("--model", f"{tmp_path}/mine.py:build", "--download_only")
        assert done.status == 0, done.stderr

    def test_modules_beside_each_file_are_imported(self, sample, own, tmp_path):
        """Two models, each with a module of the same name beside its file."""
        for folder, size in (("a", 4), ("b", 6)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / f"{folder}.py").write_text(OWN.replace("model.load_state_dict", "# "))
            (tmp_path / folder / "beside.py").write_text(f"SIZE = {size}")
        assert sample("--model", f"{tmp_path}/a/a.py:build", f"{tmp_path}/b/b.py:build").status == 0
        sizes = [metadata(tmp_path, f"own--{name}.build")["num_params"] for name in "ab"]
        assert sizes == [3 * 4 * 4 * 1000 + 1000, 3 * 6 * 6 * 1000 + 1000]

    def test_packages_below_the_folder_are_loaded_once(self, sample, own, tmp_path, monkeypatch):
        """A virtual environment often lies beside the user's file."""
        (tmp_path / "venv").mkdir()
        (tmp_path / "venv" / "loaded_once.py").write_text("import own_counter\nown_counter.loads += 1")
        monkeypatch.syspath_prepend(tmp_path / "venv")
        monkeypatch.setitem(sys.modules, "own_counter", SimpleNamespace(loads=0))
        (tmp_path / "mine.py").write_text("import loaded_once" + (tmp_path / "mine.py").read_text())
        for _ in range(2):
            assert sample("--model", f"{tmp_path}/mine.py:build").status == 0
        assert sys.modules["own_counter"].loads == 1

    def test_module_beside_the_file_is_found_while_the_model_runs(self, sample, own, tmp_path):
        code = (tmp_path / "mine.py").read_text().replace("torch.nn.Flatten()", "Flatten()")
        flatten = "        from beside import SIZE\n        return pixels.reshape(-1, 3 * SIZE * SIZE)\n"
        code += f"\nclass Flatten(torch.nn.Module):\n    def forward(self, pixels):\n{flatten}"
        (tmp_path / "mine.py").write_text(code)
        assert sample("--model", f"{tmp_path}/mine.py:build").status == 0

    def test_state_that_is_not_a_tensor_is_accepted(self, sample, own, tmp_path):
        """`get_extra_state` puts anything into a state dict."""
        code = (tmp_path / "mine.py").read_text()
        layer = "type('Extra', (torch.nn.Flatten,), {'get_extra_state': lambda self: 'more'})()"
        (tmp_path / "mine.py").write_text(code.replace("torch.nn.Flatten()", layer).replace("model.load", "# "))
        outcome = sample("--model", f"{tmp_path}/mine.py:build")
        assert outcome.status == 0, outcome.stderr

    @pytest.mark.parametrize(
        "output",
        [
            "{'logits': logits, 'features': pixels}",
            "{'out': logits, 'name': 'x'}",
            "(logits, pixels)",
            "[logits.numpy()]",
            "SimpleNamespace(logits=logits)",
            "logits.double()",
        ],
    )
    def test_logits_are_found_in_what_models_return(self, sample, own, tmp_path, output):
        """Also by a callable that is no `Module`."""
        code = f"""
from types import SimpleNamespace

class Wrapped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model, self.transform = build()

    def forward(self, pixels):
        logits = self.model(pixels)
        return {output}

def module():
    wrapped = Wrapped()
    return wrapped, wrapped.transform

def function():
    wrapped = Wrapped().eval()
    return lambda pixels: wrapped(pixels), wrapped.transform
"""
        (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + code)
        names = ("build", "module", "function")
        done = sample("--model", *(f"{tmp_path}/mine.py:{name}" for name in names))
        assert done.status == 0, done.stderr
        expected, *others = (saved_probs(tmp_path, f"own--mine.{name}") for name in names)
        for probs in others:
            np.testing.assert_allclose(probs, expected, rtol=1e-6)
        parameters = [metadata(tmp_path, f"own--mine.{name}").get("num_params") for name in names]
        assert parameters == [193_000, 193_000, None]

    def test_output_without_logits_is_a_failure(self, sample, own, tmp_path):
        outputs = ("{'a': pixels, 'b': pixels}", "'text'")
        for output, words in zip(outputs, ("dict with a, b, not logits", "str, not logits"), strict=True):
            (tmp_path / "bad.py").write_text(
                f"import mine\ndef build(): return lambda pixels: {output}, mine.build()[1]"
            )
            assert sample("--model", f"{tmp_path}/bad.py:build").status == 1
            assert f"it returns a {words}" in failures(tmp_path)["own/bad.build"]

    @pytest.mark.parametrize("precision", ["half", "bfloat16", "double"])
    def test_network_gets_images_in_its_own_precision(self, sample, own, tmp_path, precision):
        code = f"\ndef rounded():\n    model, transform = build()\n    return model.{precision}(), transform\n"
        (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + code)
        done = sample("--model", f"{tmp_path}/mine.py:build", f"{tmp_path}/mine.py:rounded")
        assert done.status == 0, done.stderr
        exact, rounded = (saved_probs(tmp_path, f"own--mine.{name}") for name in ("build", "rounded"))
        assert not np.array_equal(rounded, exact)
        np.testing.assert_allclose(rounded, exact, rtol=0.1, atol=1e-4)

    def test_changed_callable_is_predicted_again(self, sample, own, tmp_path):
        """Its weights are not known, but what it says of an image of noise."""
        code = "\ndef function():\n    model, transform = build()\n    model.eval()\n"
        code += "    return lambda pixels: model(pixels), transform\n"
        (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + code)
        argument = f"{tmp_path}/mine.py:function"
        assert sample("--model", argument).status == 0
        assert "own/mine.function: kept" in sample("--model", argument).stderr
        torch.save(randomised(own, seed=1).state_dict(), tmp_path / "w.pt")
        assert "predicted again" in sample("--model", argument).stderr

    def test_frozen_parameters_are_counted(self, sample, own, tmp_path):
        code = "\ndef frozen():\n    model, transform = build()\n    return model.requires_grad_(False), transform\n"
        (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + code)
        assert sample("--model", f"{tmp_path}/mine.py:frozen").status == 0
        assert metadata(tmp_path, "own--mine.frozen")["num_params"] == 193_000

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("def build():\n    raise KeyError('fc.weight')", ("fails (KeyError: 'fc.weight'", "bad.py line 2")),
            ("import there_is_no_such_package", ("fails (ModuleNotFoundError", "there_is_no_such_package")),
            ("def build(:", ("fails (SyntaxError",)),
            ("def built(): pass", ("has no function build",)),
            ("def build(size): pass", ("fails (TypeError", "size")),
            ("def build(): pass", ("returns NoneType, not (model, transform)",)),
            ("import torch\ndef build(): return torch.nn.Identity()", ("returns Identity",)),
            ("def build(): return 3, abs", ("returns tuple",)),
            ("import torch\ndef build(): return torch.nn.Identity, abs", ("returns tuple",)),
            ("import sys\ndef build(): sys.exit('no weights')", ("fails (SystemExit",)),
        ],
    )
    def test_bad_function_is_a_failure(self, sample, own, tmp_path, code, words):
        (tmp_path / "bad.py").write_text(code)
        outcome = sample("--model", f"{tmp_path}/bad.py:build", f"{tmp_path}/mine.py:build")
        assert outcome.status == 1
        assert "1 of 2 models were not predicted" in outcome.stderr
        assert "Traceback" not in outcome.stderr
        for word in words:
            assert word in failures(tmp_path)["own/bad.build"]
        assert saved_probs(tmp_path, "own--mine.build").shape == (2, 1000)

    def test_arrays_for_an_architecture_that_reads_none_are_a_failure(self, sample, tmp_path):
        np.savez(tmp_path / "arrays.npz", logits=np.zeros((2, 1000)))
        outcome = sample("--model", "timm/resnet18", "--checkpoint", f"{tmp_path}/arrays.npz")
        assert outcome.status == 1
        assert "timm reads no .npz files for resnet18" in failures(tmp_path)["own/arrays"]

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (("--model", "timm/test_vit", "--checkpoint", "no.pth"), ("no.pth is missing",)),
            (("--model", "timm/test_vit", "--checkpoint", "."), ("is missing: --checkpoint takes a file",)),
            (
                ("--model", "torchvision/resnet18", "--checkpoint", "{own}"),
                ("is for a timm architecture",),
            ),
            (("--model", "{own}:build", "lite0", "--model_name", "x"), ("for one model", "names 2")),
            (("--model", "{own}:build", "--model_name", "timm/resnet18.a1_in1k"), ("another model's name",)),
            (("--model", "{own}:build", "--model_name", "efficientnet_lite--lite0"), ("another model's name",)),
            (("--model", "{own}:build", "--model_name", "../x"), ("cannot be the name of a folder",)),
            (("--model", "{own}:build", "--arch", "a\nb"), ("not one line of printable text",)),
            (("--model", "{own}:build", "--training_data", " "), ("not one line of printable text",)),
            (("--model", "lite0", "--arch", "vit"), ("not a model of your own",)),
            (("--model", "no.py:build"), ("no.py is missing",)),
            (("--model", "{own}:build", "{other}:build"), ("would be named own/mine.build", "--model_name")),
        ],
    )
    def test_flags_that_contradict_each_other_are_refused(self, sample, own, tmp_path, flags, words):
        (tmp_path / "other").mkdir()
        other = shutil.copy(tmp_path / "mine.py", tmp_path / "other")
        flags = [flag.format(own=tmp_path / "mine.py", other=other) for flag in flags]
        assert refused(sample(*flags), *words)
        assert not list((tmp_path).rglob("preds.npz"))
