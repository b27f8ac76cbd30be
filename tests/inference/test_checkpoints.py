"""`--checkpoint`: the weights are found in whatever way a training script saved them, or one line says why not."""

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from imagenet_errors.errors import ModelError
from imagenet_errors.inference import zoo
from imagenet_errors.inference.checkpoints import read_checkpoint
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.own_models import with_checkpoint
from tests.conftest import refused
from tests.helpers.saved_models import failures, randomised

pytest_plugins = "tests.helpers.saved_models"
VIT = ModelRecord("timm/test_vit", "timm", "timm", "test_vit")


@pytest.fixture(scope="module")
def network():
    return randomised(timm.create_model("test_vit"))


@pytest.fixture(scope="module")
def average():
    """Another one."""
    return randomised(timm.create_model("test_vit"), seed=1)


@pytest.fixture
def saved(tmp_path):
    """Where a checkpoint is saved: `saved(content)`."""

    def save(content, name="w.pth", **options):
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return save


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def build(path, use_ema=False, record=VIT):
    return zoo.build(with_checkpoint(record, path, use_ema))[0]


def holds(model, state) -> bool:
    ours = model.state_dict()
    return ours.keys() == state.keys() and all(torch.equal(ours[name], state[name].float()) for name in ours)


def reads(path, state, use_ema=False) -> bool:
    """Whether the weights that are read are these."""
    found = read_checkpoint(path, use_ema).state
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def refuse(path, *words, use_ema=False, record=VIT) -> bool:
    """It cannot be built: one line with the file and these words, and nothing of torch's advice."""
    with pytest.raises(ModelError) as caught:
        build(path, use_ema, record)
    text = str(caught.value)
    for word in (path, *words):
        assert str(word) in text
    assert "\n" not in text
    assert "weights_only" not in text
    assert "size mismatch" not in text
    return True


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "model_state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "model._orig_mod."])
def test_keys_and_prefixes_of_training_scripts_are_found(network, saved, key, prefix):
    state = prefixed(prefix, network.state_dict())
    assert reads(saved({key: state, "epoch": 3} if key else state), network.state_dict())


def test_what_lies_beside_the_weights_does_not_matter(network, saved):
    """Optimizer, schedule, arguments with paths, NumPy scalars and arrays, as training scripts save them."""
    optimizer = torch.optim.AdamW(network.parameters())
    sum(parameter.sum() for parameter in network.parameters()).backward()
    optimizer.step()
    optimizer.zero_grad()
    content = {
        "arch": "test_vit",
        "epoch": np.int64(3),
        "best_acc1": np.float64(76.1),
        "history": np.arange(3.0),
        "args": argparse.Namespace(lr=1e-3, output=Path("runs") / "1", amp_dtype=torch.bfloat16),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2]).state_dict(),
        "rng": np.random.default_rng(0).bit_generator.state,
        "state_dict": network.state_dict(),
    }
    assert reads(saved(content), network.state_dict())
    del content["history"], content["rng"]
    old = content | {"args": argparse.Namespace(lr=1e-3)}
    assert reads(saved(old, _use_new_zipfile_serialization=False), network.state_dict())


def test_tensors_beside_the_network_are_left_out(network, saved):
    """Lightning saves the loss and metrics in the state dict too."""
    state = prefixed("model.", network.state_dict()) | {"criterion.weight": torch.ones(1000)}
    path = saved({"state_dict": state, "pytorch-lightning_version": "2.6", "hyper_parameters": {"lr": 0.1}})
    assert reads(path, network.state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_become_single_precision(network, saved, dtype):
    state = {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    model = build(saved(state))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert holds(model, state)


class TestAverages:
    """Raw weights and their moving average in one file."""

    @pytest.fixture
    def both(self, network, average):
        return {"state_dict": network.state_dict(), "state_dict_ema": average.state_dict(), "epoch": 3}

    def test_raw_weights_are_chosen_unless_the_flag_is_given(self, network, average, both, saved):
        path = saved(both)
        assert reads(path, network.state_dict())
        assert reads(path, average.state_dict(), use_ema=True)

    def test_average_of_torchvision_is_read(self, network, average, saved):
        """`n_averaged` lies beside the weights."""
        state = AveragedModel(average).state_dict()
        assert "n_averaged" in state
        path = saved({"model": network.state_dict(), "model_ema": state})
        assert reads(path, network.state_dict())
        assert reads(path, average.state_dict(), use_ema=True)
        for use_ema in (False, True):
            assert reads(saved(state, "alone.pth"), average.state_dict(), use_ema)

    def test_file_with_one_of_them_is_told(self, network, saved):
        path = saved({"state_dict": network.state_dict()})
        assert refuse(path, "no EMA weights", "leave out --use_ema", use_ema=True)
        assert refuse(saved({"model_ema": network.state_dict()}), "EMA weights only (model_ema): add --use_ema")

    @pytest.mark.usefixtures("caches")
    def test_choice_is_printed_and_in_the_metadata(self, sample, both, network, saved, tmp_path):
        flags = ("--model", "timm/test_vit", "--checkpoint", saved(both))
        for more, key, source in (
            ((), "state_dict", "checkpoint"),
            (["--use_ema"], "state_dict_ema", "checkpoint_ema"),
        ):
            done = sample(*flags, *more)
            assert f"of the raw and EMA weights in {tmp_path / 'w.pth'}, {key} is used" in done.stderr
            assert "top-1" in done.stdout
            metadata = json.loads((tmp_path / "sample/own--w/metadata.json").read_text())
            assert (metadata["checkpoint_key"], metadata["source"]) == (key, source)
        assert "kept" in sample(*flags, "--use_ema").stderr
        saved(network.state_dict())
        done = sample(*flags)
        assert "EMA" not in done.stderr
        assert "checkpoint_key" not in json.loads((tmp_path / "sample/own--w/metadata.json").read_text())

    def test_flag_without_a_checkpoint_is_refused(self, call, tmp_path):
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--model", "lite0", "--use_ema")
        assert refused(call("collect_predictions", *flags), "--use_ema is for the weights of a --checkpoint")


class TestFiles:
    """What kind of file it is, its first bytes say."""

    @pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin", "w"])
    def test_safetensors_have_any_suffix(self, network, tmp_path, name):
        save_file(prefixed("module.", network.state_dict()), tmp_path / name)
        assert reads(tmp_path / name, network.state_dict())

    @pytest.mark.parametrize("suffix", ["safetensors", "bin"])
    def test_shards_are_joined(self, network, tmp_path, suffix):
        state = network.state_dict()
        shards = {name: f"model-{row % 3}.{suffix}" for row, name in enumerate(state)}
        for shard in set(shards.values()):
            part = {name: state[name] for name in state if shards[name] == shard}
            (save_file if suffix == "safetensors" else torch.save)(part, tmp_path / shard)
        index = tmp_path / f"model.{suffix}.index.json"
        index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}, indent=2))
        assert reads(index, state)
        (tmp_path / f"model-1.{suffix}").unlink()
        assert refuse(index, f"model-1.{suffix}, which is not beside it", "put all 3 shards there")
        index.write_text("{}")
        assert refuse(index, "JSON without a 'weight_map'")

    def test_pointer_of_git_lfs_is_named(self, tmp_path):
        text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
        (tmp_path / "w.pth").write_text(text)
        assert refuse(tmp_path / "w.pth", "pointer of git-lfs", "git lfs pull")

    @pytest.mark.filterwarnings("ignore:.*torch.jit.script")
    def test_program_of_torchscript_is_named(self, tmp_path):
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "w.pt")
        assert refuse(tmp_path / "w.pt", "TorchScript program", "function")

    @pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "truncated safetensors"])
    def test_damaged_file_is_told_in_one_line(self, network, saved, tmp_path, damage):
        path = saved(network.state_dict())
        if "safetensors" in damage:
            save_file(network.state_dict(), path)
        if "truncated" in damage:
            os.truncate(path, 100_000)
        else:
            path.write_bytes(b"garbage" * 9 if damage == "garbage" else b"")
        assert refuse(path, "is damaged, or", "write")


class TestPickles:
    """Nothing of a file is run."""

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ([1, 2], "holds a list, not a state dict"),
            (
                {"epoch": 3, "weights": {"a": 1}},
                "holds no state dict under state_dict, model, net, model_state_dict, but",
            ),
            ({}, "but nothing"),
            (torch.ones(3), "holds a Tensor"),
        ],
    )
    def test_content_without_weights_is_told(self, saved, content, words):
        assert refuse(saved(content), words, "torch.save(model.state_dict(), ...)")

    def test_pickled_model_is_refused(self, saved, network):
        assert refuse(saved(network), "holds", "torch.save(model.state_dict(), ...)")
        assert refuse(saved({"model": network, "epoch": 1}), "holds", "torch.save(model.state_dict(), ...)")

    @pytest.mark.parametrize("old", [False, True])
    @pytest.mark.parametrize("module", ["os", "shutil"])
    def test_code_is_not_run(self, saved, network, tmp_path, old, module):
        """Names of some modules are never even replaced; a stand-in for another leaves weights beside it usable."""

        class Touch:
            def __reduce__(self):
                call = (os.mkdir, ()) if module == "os" else (shutil.copytree, (str(tmp_path),))
                return call[0], (*call[1], str(tmp_path / "executed"))

        path = saved({"state_dict": Touch()}, _use_new_zipfile_serialization=not old)
        assert refuse(path)
        path = saved({"state_dict": network.state_dict(), "more": Touch()}, _use_new_zipfile_serialization=not old)
        if module == "shutil":
            assert reads(path, network.state_dict())
        else:
            assert refuse(path)
        assert not (tmp_path / "executed").exists()


class TestMismatches:
    """Weights of another network: what does not fit, and which architecture would."""

    def test_first_differences_and_likely_architectures_are_named(self, saved):
        path = saved(randomised(timm.create_model("test_vit2")).state_dict())
        assert refuse(path, "does not fit timm's test_vit: unexpected", "blocks.", " more", "likely of timm/test_vit2")

    def test_other_shapes_are_named(self, network, saved):
        state = network.state_dict() | {"norm.weight": torch.ones(3)}
        del state["norm.bias"]
        assert refuse(
            saved(state), "missing norm.bias; other shapes norm.weight (3,) instead of (64,)", "timm/test_vit"
        )

    @pytest.mark.parametrize("classes", [10, 21_843])
    def test_other_number_of_classes_is_named(self, saved, classes):
        path = saved(timm.create_model("test_vit", num_classes=classes).state_dict())
        assert refuse(path, f"its classifier has {classes:,} classes, not ImageNet's 1000")

    def test_foreign_network_is_like_none(self, saved):
        path = saved({f"layer.{number}.weight": torch.ones(number + 1, 7) for number in range(20)})
        assert refuse(path, "unexpected layer.0.weight", "and 17 more", "no architecture of timm is like it")

    @pytest.mark.heavy
    @pytest.mark.parametrize(
        "name", ["resnet50", "vit_base_patch16_224", "swin_tiny_patch4_window7_224", "convnext_base", "efficientnet_b0"]
    )
    @pytest.mark.parametrize("classes", [1000, 21_841])
    def test_architecture_is_recognised(self, saved, name, classes):
        path = saved(timm.create_model(name, num_classes=classes).state_dict())
        assert refuse(path, f"timm/{name}")


def test_published_weights_with_another_head_are_refused_before_a_download(caches, sample):
    """`--download_only` too; no network is asked."""
    name = "timm/vit_tiny_patch16_224.augreg_in21k"
    for flags in ((), ("--download_only",)):
        done = sample("--model", name, *flags)
        assert done.status == 1
        assert "these weights are for 21,843 classes, not ImageNet's 1000" in done.stderr
    assert "21,843 classes" in failures(caches)[name]


def test_chosen_key_is_told_only_where_there_is_a_choice(network, average, saved):
    state = network.state_dict()
    assert read_checkpoint(saved({"model": state})).chosen == ""
    assert read_checkpoint(saved({"model": state, "state_dict": state})).chosen == ""
    assert read_checkpoint(saved({"model": state, "ema": average.state_dict()})).chosen == "model"
