"""CLIP: its embeddings are open_clip's own, and lead all the way to the tables; wrong input is told in one line."""

import csv
import shutil
import time

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from imagenet_errors.analysis.proposals import Proposer
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.inference import clip
from imagenet_errors.inference.images import Images
from tests.conftest import COMMITTED, refused, run_script
from tests.helpers import tiny_clip
from tests.helpers.stored import stored
from tests.helpers.tiny_clip import arrays

pytest_plugins = "tests.helpers.tiny_clip"
CPU = torch.device("cpu")


def theirs(name, weights):
    """open_clip's own network, transform and tokenizer, without any code of ours."""
    network, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(weights))
    return network.eval(), transform, open_clip.get_tokenizer(name)


def unit(vectors):
    return (vectors / vectors.norm(dim=-1, keepdim=True)).numpy()


def check_against_open_clip(name, weights, root, number):
    """Images and prompts one by one, as open_clip's documentation does it."""
    files = np.array(sorted(f"{path.parent.name}/{path.name}" for path in root.glob("*/*"))[:number])
    texts = ["A photo of a dog", "A photo of a dial telephone", "A photo of a fly"]
    ours = clip.Clip.load(name, str(weights), CPU)
    images, prompts = ours.embed_images(Images(stored(root, *files), 0), 7), ours.embed_texts(texts, 2)
    network, transform, tokenize = theirs(name, weights)
    with torch.no_grad():
        for file, vector in zip(files, images, strict=True):
            pixels = transform(Image.open(root / file).convert("RGB")).unsqueeze(0)
            np.testing.assert_allclose(vector, unit(network.encode_image(pixels))[0], atol=1e-5)
        for text, vector in zip(texts, prompts, strict=True):
            np.testing.assert_allclose(vector, unit(network.encode_text(tokenize([text])))[0], atol=1e-5)
    for vectors in (images, prompts):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)].max() < 1 - 1e-4, "embeddings do not differ"


def check_table(results):
    """Every model has all cells, but those of ImageNet-M where none of its images is there."""
    for group in ("all", "organism", "artifact", "other"):
        with open(results / "stats-imagenet" / f"non_problematic_stats_{group}.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert [name for name, cell in row.items() if cell == "" and "imagenet-m" not in name] == []
        types = ("collapsed_mappings", "ambiguous", "same_superclass", "common_co_occ", "non_prototypical")
        types += ("OOV_clip", "not_classified")
        assert int(row["num_group_top1_errors"]) == sum(int(row[f"num_{name}"]) for name in types)
    return True


def test_embeddings_equal_those_of_open_clip(clip_weights, few):
    check_against_open_clip(tiny_clip.NAME, clip_weights, few / "val", 20)


def test_embeddings_do_not_depend_on_batch_and_block(clip_world, embed, shared, clip_weights):
    """The few images in blocks of 5 and batches of 2 are as in the whole run, in one block; prompts likewise."""
    assert embed("--batch_size", 2, "--block", 5).status == 0
    for path, field in ((embed.images, "sample_files"), (embed.train, "train_files")):
        some, whole = arrays(path), arrays(clip_world / path.relative_to(embed.folder))
        rows = [whole[field].tolist().index(name) for name in some[field]]
        np.testing.assert_allclose(some["embeddings"], whole["embeddings"][rows], atol=1e-6)
    texts = arrays(clip_world / "clip_text_embeddings.npz")
    ours = clip.Clip.load(tiny_clip.NAME, str(clip_weights), CPU)
    rows = [0, 5, 4095, 4096, len(texts["prompts"]) - 1]
    np.testing.assert_allclose(ours.embed_texts(texts["prompts"][rows], 2), texts["embeddings"][rows], atol=1e-6)


def test_written_arrays_are_as_documented(clip_world, classes, synsets):
    samples = arrays(clip_world / "imagenet" / "samples_info.npz")
    images = arrays(clip_world / "imagenet" / "clip_image_embeddings.npz")
    train = arrays(clip_world / "train_clip_embeddings.npz")
    texts = arrays(clip_world / "clip_text_embeddings.npz")
    near = arrays(clip_world / "imagenet" / "valid_clip_knn.npz")
    proposer = Proposer(classes, synsets, load_superclasses(COMMITTED, classes, synsets))
    assert texts["prompts"].tolist() == list(proposer.all_prompts())
    assert len(set(texts["prompts"].tolist())) == 9930
    assert images["sample_files"].tolist() == samples["sample_files"].tolist()
    assert train["train_files"].tolist() == sorted(train["train_files"].tolist())
    assert [classes.ids[file.split("/")[0]] for file in train["train_files"]] == train["targets"].tolist()
    np.testing.assert_array_equal(near["topk_train_targets"], train["targets"][near["topk_train_indices"]])
    for archive, rows in ((images, 383), (train, 202), (texts, 9930)):
        assert (archive["embeddings"].dtype, archive["embeddings"].shape) == (np.float32, (rows, 32))
    names = {str(archive["clip"]) for archive in (images, train, texts, near)}
    assert len(names) == 1
    assert names.pop().startswith(f"{tiny_clip.NAME}/")


@pytest.fixture
def evaluate(call, tmp_path):
    def run(folder, *flags):
        steps = ("--perform_error_analysis", "--collect_results", "--open_world", "clip")
        return call("evaluation", "--artefacts_dir", folder, "--results_dir", tmp_path / "results", *steps, *flags)

    run.results = tmp_path / "results"
    return run


def test_open_world_test_fills_all_cells(clip_world, evaluate, tmp_path):
    done = evaluate(shutil.copytree(clip_world, tmp_path / "artefacts"))
    assert done.status == 0, done.stderr
    assert "skipped" not in done.stdout + done.stderr
    assert "≤" not in done.stdout
    assert check_table(evaluate.results)


def test_openai_weights_run_with_quick_gelu(clip_weights, monkeypatch):
    """A tag says whether its weights want QuickGELU; open_clip only warns where the model's name says otherwise.

    So it is with our default: OpenAI's weights want it, and the model `ViT-L-14-336` is built without.
    """
    tag = open_clip.get_pretrained_cfg("ViT-L-14-336", "openai")
    assert tag["quick_gelu"]
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny_clip.NAME, {"openai": tag})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(clip_weights))
    ours = clip.Clip.load(tiny_clip.NAME, "openai", CPU)
    network = open_clip.create_model(tiny_clip.NAME, pretrained=str(clip_weights), force_quick_gelu=True).eval()
    with torch.no_grad():
        expected = unit(network.encode_text(ours.tokenize(["A photo of a dog"])))
    np.testing.assert_allclose(ours.embed_texts(["A photo of a dog"], 1), expected, atol=1e-5)


def test_official_files_are_used_and_kept(call, clip_world, evaluate, clip_weights, shared, tmp_path, monkeypatch):
    """Training embeddings in half precision, and neighbours; neither says which CLIP it is of."""
    monkeypatch.setenv("IMAGENET_DIR", str(shared / "images"))
    folder = shutil.copytree(clip_world, tmp_path / "artefacts")
    train, near = folder / "train_clip_embeddings.npz", folder / "imagenet" / "valid_clip_knn.npz"
    ours, neighbours = arrays(train), arrays(near)
    names = {name: ours[name] for name in ("train_files", "targets")}
    np.savez(train, embeddings=ours["embeddings"].astype(np.float16), **names)
    np.savez(near, **{name: neighbours[name] for name in ("topk_train_indices", "topk_train_targets")})
    before = {path: path.read_bytes() for path in (train, near)}
    kept = call("compute_clip_embeddings", *tiny_clip.flags(clip_weights, folder))
    assert kept.status == 0, kept.stderr
    assert kept.stderr.count("kept") == 4
    assert {path: path.read_bytes() for path in before} == before
    done = evaluate(folder)
    assert done.status == 0, done.stderr
    assert check_table(evaluate.results)
    near.unlink()
    monkeypatch.setenv("IMAGENET_DIR", "nowhere")  # training images are needed no more
    again = call("compute_clip_embeddings", *tiny_clip.flags(clip_weights, folder, "--what", "neighbours"))
    assert again.status == 0, again.stderr
    alike = arrays(near)["topk_train_indices"] == neighbours["topk_train_indices"]
    assert alike.mean() > 0.8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--clip_model", "ViT-L-14-335"), ("--clip_model 'ViT-L-14-335'", "did you mean 'ViT-L-14-336'?")),
        (("--clip_model", "ViT-B-32", "--clip_pretrained", "opena"), ("'opena'", "did you mean 'openai'?", "a file")),
        (("--clip_pretrained", "nowhere/weights.pt"), ("--clip_pretrained 'nowhere/weights.pt'", "a file")),
        (("--what", "text"), ("'text'", "did you mean 'texts'?")),
        (("--memory_gb", "0"), ("--memory_gb",)),
        (("--device", "abacus"), ("--device abacus",)),
    ],
)
def test_wrong_flags_are_refused(embed, flags, words):
    assert refused(embed(*flags), *words)
    assert not embed.folder.exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["cut short", "empty", "text", "of another network", "code"])
def test_wrong_weights_are_refused(embed, clip_weights, tmp_path, how):
    path = tmp_path / "weights.pt"
    path.write_bytes({"cut short": clip_weights.read_bytes()[:-5000], "text": b"no weights"}.get(how, b""))
    if how == "of another network":
        torch.save({name: part for name, part in torch.load(clip_weights).items() if "visual" not in name}, path)
    elif how == "code":
        torch.save({"state_dict": Trap(tmp_path / "sprung")}, path)
    done = embed(weights=path)
    assert refused(done, tiny_clip.NAME, path)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "sprung").exists()


@pytest.mark.heavy
def test_weights_that_cannot_be_downloaded_are_refused(tmp_path):
    start = time.monotonic()
    done = run_script(
        *("compute_clip_embeddings", "--dataset", "sample", "--what", "images", "--artefacts_dir", tmp_path),
        HF_HUB_OFFLINE=1,
        HF_HOME=tmp_path,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "ViT-L-14-336 cannot be loaded with the weights openai" in done.stderr
    assert time.monotonic() - start < 60


def test_missing_training_images_are_refused(embed, few, monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGENET_DIR", str(few / "val"))
    assert refused(embed(what=["train"]), few / "val" / "train", "--train_dir")
    monkeypatch.delenv("IMAGENET_DIR")
    assert refused(embed(what=["train"]), "--train_dir", "$IMAGENET_DIR")
    assert embed("--train_dir", few / "train", what=["train"]).status == 0


def test_unreadable_image_is_refused_until_it_is_replaced(embed, few, tmp_path):
    train = shutil.copytree(few / "train", tmp_path / "train")
    damaged = sorted(train.glob("*/*"))[30]
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert refused(embed("--train_dir", train, "--block", 10, what=["train"]), damaged, "replace it")
    assert not embed.train.exists()
    shutil.copyfile(few / "train" / damaged.relative_to(train), damaged)
    assert embed("--train_dir", train, "--block", 10, what=["train"]).status == 0


@pytest.mark.heavy
def test_real_architecture_works_as_the_tiny_one(shared, tmp_path):
    """ViT-S-32-alt, as a user would run it; random weights. Takes minutes."""
    weights, folder = tmp_path / "small.pt", tmp_path / "artefacts"
    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), weights)
    check_against_open_clip("ViT-S-32-alt", weights, shared / "images" / "val", 3)
    shutil.copytree(shared / "annotations", folder / "annotations", copy_function=shutil.copyfile)
    own = ("--clip_model", "ViT-S-32-alt", "--clip_pretrained", weights)
    steps = ("--perform_error_analysis", "--collect_results", "--open_world", "clip", "--results_dir", tmp_path)
    for script, *flags in (
        ("collect_predictions", "--model", "lite0"),
        ("compute_clip_embeddings", *own),
        ("evaluation", *steps),
    ):
        done = run_script(script, "--artefacts_dir", folder, *flags, IMAGENET_DIR=shared / "images")
        assert done.returncode == 0, done.stderr
    assert check_table(tmp_path)
