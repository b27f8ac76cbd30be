"""Runs of compute_clip_embeddings.py that are killed, repeated, or made over other files."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT, refused
from tests.helpers import tiny_clip
from tests.helpers.tiny_clip import arrays

pytest_plugins = "tests.helpers.tiny_clip"


def same(path, other) -> bool:
    """Two archives hold the same arrays, to the bit."""
    one, two = arrays(path), arrays(other)
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].dtype == two[name].dtype
        assert one[name].shape == two[name].shape
        assert one[name].tobytes() == two[name].tobytes(), name
    return True


def contents(folder):
    """Of all files; of those about CLIP also when they were written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: ("clip" in path.name and path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_interrupted_run_is_continued(embed, embedded, tmp_path):
    """Blocks that are done are kept; in the end all is as if nothing had happened."""
    undisturbed = tmp_path / "undisturbed.npz"
    assert embed("--block", 5, what=["images"]).status == 0
    embed.images.rename(undisturbed)
    files = [file for block in embedded for file in block]
    embedded.clear()
    embedded.stop_at = 3
    assert embed("--block", 5, what=["images"]).status == 130
    assert not embed.images.exists()
    embedded.clear()
    embedded.stop_at = None
    assert embed("--block", 5, what=["images"]).status == 0
    assert embedded == [files[15:20], files[20:]]
    assert same(embed.images, undisturbed)
    assert not embed.parts.exists()


def spoil(path, how):
    whole = arrays(path)
    if how == "cut short":
        path.write_bytes(path.read_bytes()[:-200])
    elif how == "no archive":
        path.write_bytes(b"no archive")
    elif how == "of other images":
        np.savez(path, **whole | {"names": whole["names"][::-1]})
    elif how == "of another CLIP":
        np.savez(path, **whole | {"clip": np.array("another")})
    elif how == "of a CLIP that it does not name":
        np.savez(path, names=whole["names"], embeddings=whole["embeddings"])
    elif how == "zero":
        np.savez(path, **whole | {"embeddings": whole["embeddings"] * 0})


@pytest.mark.parametrize(
    "how",
    ["cut short", "no archive", "of other images", "of another CLIP", "of a CLIP that it does not name", "zero"],
)
def test_damaged_block_is_embedded_again(embed, embedded, how):
    embedded.stop_at = 3
    embed("--block", 8, what=["train"])
    parts = sorted(embed.train.with_suffix(".parts").glob("*.npz"))
    assert len(parts) == 3
    blocks = list(embedded)
    spoil(parts[1], how)
    embedded.clear()
    embedded.stop_at = None
    assert embed("--block", 8, what=["train"]).status == 0
    assert embedded[0] == blocks[1]
    assert not set(blocks[0] + blocks[2]) & {file for block in embedded for file in block}
    stored = arrays(embed.train)
    embed.train.unlink()
    embed("--block", 60, what=["train"])
    np.testing.assert_allclose(stored["embeddings"], arrays(embed.train)["embeddings"], atol=1e-6)


def test_blocks_of_another_size_or_clip_are_not_used(embed, embedded, other_weights, tmp_path):
    embedded.stop_at = 2
    embed("--block", 5, what=["images"])
    embed("--block", 5, what=["images"], weights=other_weights)
    embedded.stop_at = None
    assert embed("--block", 10, what=["images"], weights=other_weights).status == 0
    mixed = arrays(embed.images.rename(tmp_path / "mixed.npz"))
    assert embed("--block", 23, what=["images"], weights=other_weights).status == 0
    for name, array in arrays(embed.images).items():
        if name == "embeddings":
            np.testing.assert_allclose(mixed[name], array, atol=1e-6)
        else:
            np.testing.assert_array_equal(mixed[name], array)
    assert not embed.parts.exists()


@pytest.mark.heavy
def test_killed_run_is_continued(embed, embedded, clip_weights, few, tmp_path):
    """SIGKILL in the middle of 20 blocks: the finished ones stand, none half-written."""
    start = (
        "from pathlib import Path; from tests.helpers import tiny_clip\n"
        f"tiny_clip.register(Path({str(clip_weights.parent)!r}))\n"
        "import compute_clip_embeddings as script; script.cli.run(script.main)"
    )
    flags = tiny_clip.flags(clip_weights, embed.folder, "--what", "train", "--block", 3)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "IMAGENET_DIR": str(few)}
    command = [sys.executable, "-c", start, *map(str, flags)]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = embed.train.with_suffix(".parts")
    while running.poll() is None and not (parts / "00000006.npz").exists():
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    done = len(list(parts.glob("0*.npz")))
    assert 3 <= done < 20
    assert embed("--block", 3, what=["train"]).status == 0
    assert len(embedded) == 20 - done
    resumed = embed.train.rename(tmp_path / "resumed.npz")
    embed("--block", 3, what=["train"])
    assert same(resumed, embed.train)
    assert not parts.exists()


def test_second_run_writes_nothing(embed, embedded):
    assert "kept" not in embed().stderr
    before = contents(embed.folder)
    embedded.clear()
    second = embed()
    assert second.status == 0
    assert second.stderr.count("kept") == 3
    assert embedded == []
    assert contents(embed.folder) == before


@pytest.mark.parametrize("what", ["train", "images"])
def test_embeddings_of_another_clip_are_refused(embed, clip_weights, other_weights, what, tmp_path):
    """Also one whose file has the same name."""
    embed()
    before = contents(embed.folder)
    again = embed(weights=shutil.copyfile(other_weights, tmp_path / clip_weights.name), what=[what])
    path = {"train": embed.train, "images": embed.images}[what]
    assert refused(again, path, tiny_clip.NAME, "two CLIPs must not be mixed", "remove it")
    assert contents(embed.folder) == before


def test_prompts_of_another_clip_are_refused(call, clip_world, other_weights):
    flags = tiny_clip.flags(other_weights, clip_world, "--what", "texts")
    assert refused(call("compute_clip_embeddings", *flags), clip_world / "clip_text_embeddings.npz", "two CLIPs")


def test_embeddings_of_other_training_images_are_refused(embed, few, tmp_path):
    embed(what=["train"])
    before = contents(embed.folder)
    others = shutil.copytree(few / "train", tmp_path / "train")
    moved = next(others.glob("*/*"))
    moved.rename(moved.with_name("0.JPEG"))
    assert refused(embed("--train_dir", others, what=["train"]), embed.train, "60", "remove it")
    moved.with_name("0.JPEG").unlink()
    assert refused(embed("--train_dir", others, what=["train"]), embed.train, "60", "59", "remove it")
    assert contents(embed.folder) == before


def test_refused_limit_changes_nothing(embed):
    """The embeddings are of 23 images, and so remains samples_info.npz."""
    embed(what=["images"])
    before = contents(embed.folder)
    assert refused(embed("--limit", 7, what=["images"]), embed.images, "23", "7", "remove it")
    assert contents(embed.folder) == before


def test_limit_embeds_the_first_images(embed, embedded, few):
    assert embed("--limit", 7).status == 0
    files = sorted(f"{path.parent.name}/{path.name}" for path in (few / "val").glob("*/*"))
    assert arrays(embed.images)["sample_files"].tolist() == files[:7]
    assert len(arrays(embed.train)["train_files"]) == 60
    assert arrays(embed.neighbours)["topk_train_indices"].shape == (7, 50)


@pytest.mark.parametrize("which", ["train", "images"])
def test_damaged_embeddings_are_made_again_once_removed(embed, which):
    embed()
    path = {"train": embed.train, "images": embed.images}[which]
    whole = arrays(path)
    path.write_bytes(path.read_bytes()[:500])
    done = embed()
    assert done.status == 0 or refused(done, path, "remove it"), "the message must help"
    path.unlink(missing_ok=done.status == 2)
    embed()
    np.testing.assert_array_equal(arrays(path)["embeddings"], whole["embeddings"])
