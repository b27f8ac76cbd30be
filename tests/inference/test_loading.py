"""Weights on disk and what is built of them: every source, with the caches of its library."""

import os

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models as torchvision_models

from imagenet_errors.inference import zoo
from imagenet_errors.models.model_table import load_records
from tests.conftest import COMMITTED, run_script
from tests.helpers import saved_models
from tests.helpers.saved_models import (
    checkpoint_path,
    failures,
    probabilities,
    put_timm_on_hub,
    randomised,
    saved_probs,
    timm_transform,
)

pytest_plugins = "tests.helpers.saved_models"
pytestmark = pytest.mark.usefixtures("caches")
RECORDS = {record.model_id: record for record in load_records(COMMITTED)}
VIT, RESNET, EFFICIENTNET = (f"test_{name}.r160_in1k" for name in ("vit", "resnet", "efficientnet"))
TORCHVISION_URL = torchvision_models.ResNet18_Weights.IMAGENET1K_V1.url
CONVNEXT = "facebook/convnext-tiny-224"
SEMI_SUPERVISED = RECORDS["facebook/resnet18_ssl"]
HUBCONF = """
import torch
from torchvision.models.resnet import BasicBlock, ResNet

dependencies = ["torch", "torchvision"]

def resnet18_ssl(progress=True, **kwargs):
    model = ResNet(BasicBlock, [2, 2, 2, 2], **kwargs)
    model.load_state_dict(torch.hub.load_state_dict_from_url("{url}", progress=progress))
    return model
"""


def holds(model, state) -> bool:
    """Whether the network is in eval mode and all its tensors, and no others, are those of `state`, to the bit."""
    ours = model.state_dict()
    return (
        not model.training and ours.keys() == state.keys() and all(torch.equal(ours[key], state[key]) for key in ours)
    )


def put_convnext(folder, file="model.safetensors"):
    """A small ConvNeXt for 1000 classes in Hugging Face's cache; returns it."""
    from transformers import ConvNextConfig, ConvNextForImageClassification
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    config = ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_labels=1000)
    model = randomised(ConvNextForImageClassification(config))
    model.save_pretrained(folder / "saved")
    normal = {"image_mean": IMAGENET_DEFAULT_MEAN, "image_std": IMAGENET_DEFAULT_STD}
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875, **normal)
    processor.save_pretrained(folder / "saved")
    if file != "model.safetensors":
        torch.save(model.state_dict(), folder / "saved" / file)
        (folder / "saved" / "model.safetensors").unlink()
    files = {path.name: path for path in (folder / "saved").iterdir()}
    saved_models.put_on_hub(folder, CONVNEXT, **files)
    return model


def convnext_transform(folder):
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    (file,) = (folder / "huggingface").rglob("preprocessor_config.json")
    processor = ConvNextImageProcessorPil.from_pretrained(file.parent)
    return lambda image: processor(image, return_tensors="pt")["pixel_values"][0]


def put_semi_supervised(folder):
    """A repository as torch.hub keeps it, and its checkpoint."""
    model = randomised(torchvision_models.resnet18())
    torch.save(model.state_dict(), checkpoint_path(folder, SEMI_SUPERVISED.weights))
    code = folder / "torch" / "hub" / "facebookresearch_semi-supervised-ImageNet1K-models_main"
    code.mkdir()
    (code / "hubconf.py").write_text(HUBCONF.format(url=SEMI_SUPERVISED.weights))
    return model


def put_torchvision(folder):
    model = randomised(torchvision_models.resnet18())
    torch.save(model.state_dict(), checkpoint_path(folder, TORCHVISION_URL))
    return model


class TestSources:
    """The network is the saved one, to the bit."""

    @pytest.mark.parametrize(
        ("name", "file"),
        [(VIT, "model.safetensors"), (RESNET, "model.safetensors"), (EFFICIENTNET, "pytorch_model.bin")],
    )
    def test_timm_row_has_the_cached_weights(self, caches, name, file):
        saved = randomised(timm.create_model(name))
        put_timm_on_hub(caches, name, saved, file)
        model, preprocessing = zoo.build(RECORDS[f"timm/{name}"])
        assert holds(model, saved.state_dict())
        assert zoo.count_parameters(model) == RECORDS[f"timm/{name}"].num_params
        assert preprocessing.geometry.crop == 160
        assert zoo.is_cached(RECORDS[f"timm/{name}"])

    def test_safetensors_go_before_the_pickle(self, caches):
        for seed, file in enumerate(["model.safetensors", "pytorch_model.bin"]):
            put_timm_on_hub(caches, VIT, randomised(timm.create_model(VIT), seed), file)
        assert holds(zoo.build(RECORDS[f"timm/{VIT}"])[0], randomised(timm.create_model(VIT), 0).state_dict())

    def test_timm_row_with_a_url_has_the_cached_weights(self, caches):
        record = RECORDS["timm/legacy_seresnet18.in1k"]
        assert not zoo.is_cached(record)
        saved = randomised(timm.create_model(record.builder))
        torch.save(saved.state_dict(), checkpoint_path(caches, timm.get_pretrained_cfg(record.builder).url))
        assert holds(zoo.build(record)[0], saved.state_dict())

    def test_torchvision_row_has_the_cached_weights(self, caches):
        saved = put_torchvision(caches)
        model, preprocessing = zoo.build(RECORDS["torchvision/resnet18"])
        assert holds(model, saved.state_dict())
        geometry = preprocessing.geometry
        assert (geometry.resize, geometry.crop, geometry.interpolation) == (256, 224, "bilinear")

    def test_torch_hub_row_has_the_cached_weights(self, caches):
        saved = put_semi_supervised(caches)
        model, preprocessing = zoo.build(SEMI_SUPERVISED)
        assert holds(model, saved.state_dict())
        assert zoo.count_parameters(model) == SEMI_SUPERVISED.num_params
        assert preprocessing.geometry.resize == 256

    @pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
    def test_convnext_row_has_the_cached_weights(self, caches, file):
        saved = put_convnext(caches, file)
        model, preprocessing = zoo.build(RECORDS[CONVNEXT])
        assert holds(model, saved.state_dict())
        assert (preprocessing.geometry.size, preprocessing.geometry.crop_pct) == (224, 0.875)

    def test_convnext_without_its_head_is_a_failure(self, caches):
        saved = put_convnext(caches)
        (snapshot,) = (caches / "huggingface").rglob("model.safetensors")
        snapshot.unlink()
        state = {name: tensor for name, tensor in saved.state_dict().items() if not name.startswith("classifier")}
        save_file(state, snapshot, metadata={"format": "pt"})
        with pytest.raises(zoo.ModelError, match="classifier"):
            zoo.build(RECORDS[CONVNEXT])

    @pytest.mark.heavy
    def test_cached_weights_give_the_predictions_of_the_libraries(self, caches, sample):
        """Another process, which is forbidden to download, predicts what the libraries themselves do."""
        saved = {name: randomised(timm.create_model(name)) for name in (VIT, EFFICIENTNET)}
        for name, model in saved.items():
            put_timm_on_hub(caches, name, model)
        resnet = put_torchvision(caches)
        convnext = put_convnext(caches)
        done = run_script(
            *("collect_predictions", "--dataset", "sample", "--artefacts_dir", caches, "--limit", 2, "--save_probs"),
            *("--device", "cpu", "--model", VIT, EFFICIENTNET, "torchvision/resnet18", CONVNEXT),
            **saved_models.environment(caches),
        )
        assert done.returncode == 0, done.stderr
        for name, model in saved.items():
            expected = probabilities(caches, model, timm_transform(model))
            saved_models.agree(saved_probs(caches, f"timm--{name}"), expected)
        preset = torchvision_models.ResNet18_Weights.IMAGENET1K_V1.transforms()
        expected = probabilities(caches, resnet, preset)
        saved_models.agree(saved_probs(caches, "torchvision--resnet18"), expected)
        expected = probabilities(caches, convnext, convnext_transform(caches))
        saved_models.agree(saved_probs(caches, "facebook--convnext-tiny-224"), expected)

    @pytest.mark.parametrize("model", [f"timm/{VIT}", "torchvision/resnet18", CONVNEXT, "facebook/resnet18_ssl"])
    def test_truncated_file_in_a_cache_is_a_failure(self, caches, sample, model):
        puts = {"torchvision/resnet18": put_torchvision, CONVNEXT: put_convnext}
        puts |= {"facebook/resnet18_ssl": put_semi_supervised}
        puts |= {f"timm/{VIT}": lambda folder: put_timm_on_hub(folder, VIT, timm.create_model(VIT))}
        puts[model](caches)
        (file,) = (path for path in caches.rglob("*") if path.is_symlink() or path.suffix == ".pth" if is_weights(path))
        os.truncate(file, file.stat().st_size // 2)
        outcome = sample("--model", model)
        assert outcome.status == 1
        assert "Traceback" not in outcome.stderr
        assert failures(caches)[model].startswith("it cannot be built (")

    def test_offline_run_downloads_nothing(self, caches, sample):
        assert sample("--model", "torchvision/resnet18", f"timm/{VIT}").status == 1
        assert failures(caches) == {
            "torchvision/resnet18": f"{TORCHVISION_URL} is not in the local cache, and HF_HUB_OFFLINE is set:"
            " run --download_only without it",
            f"timm/{VIT}": f"timm/{VIT}/model.safetensors is not in the local cache, and HF_HUB_OFFLINE is set:"
            " run --download_only without it",
        }


def is_weights(path) -> bool:
    return path.name in ("model.safetensors", "pytorch_model.bin") or path.suffix == ".pth"
