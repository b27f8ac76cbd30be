"""Blocks of embeddings and of a search as jobs of a Dask cluster: the same files, to the byte, as of one process."""

import pytest

from imagenet_errors.inference import cluster_embedder
from tests.helpers import tiny_clip
from tests.helpers.processes import wait_for

pytest_plugins = ("tests.helpers.tiny_clip", "tests.helpers.processes", "tests.helpers.dask_cluster")

PRELOAD = """
import os, time
from pathlib import Path
from imagenet_errors.inference import clip, cluster_embedder
from tests.helpers import tiny_clip

FOLDER = Path({folder!r})
tiny_clip.register(Path({weights!r}))
cluster_embedder.ROWS_PER_JOB = 7

def logged(self, images, batch_size, whole=clip.Clip.embed_images):
    first = images.stored[0].path
    with open(FOLDER / "log", "a") as log:
        log.write(f"{{first}} {{os.getpid()}}\\n")
    while (FOLDER / "hold").exists():
        time.sleep(0.01)
    if (FOLDER / "kill").exists() and (FOLDER / "kill").read_text() == first:
        os.kill(os.getpid(), 9)
    return whole(self, images, batch_size)

if clip.Clip.embed_images.__name__ != "logged":  # Dask may run this twice
    clip.Clip.embed_images = logged
"""
SCRIPT = "exec(open({preload!r}).read())\nimport compute_clip_embeddings as script; script.cli.run(script.main)"
NAMES = ("train_clip_embeddings.npz", "imagenet/clip_image_embeddings.npz", "imagenet/valid_clip_knn.npz")


@pytest.fixture
def world(runs, clip_weights, few, tmp_path):
    """`world("folder", *flags)` starts the script with one thread, in blocks of five images; `world.log()` tells of
    each block the first image and the process. While `world.hold` exists, blocks are not embedded."""
    folder = tmp_path / "world"
    folder.mkdir()
    preload = folder / "preload.py"
    preload.write_text(PRELOAD.format(folder=str(folder), weights=str(clip_weights.parent)))
    what = ("--what", "train", "images", "neighbours", "--block", 5)

    def start(artefacts, *flags, what=what, images=few):
        named = ("--clip_model", tiny_clip.NAME, "--clip_pretrained", clip_weights, "--workers", 0, "--batch_size", 2)
        flags = ("--artefacts_dir", tmp_path / artefacts, *named, *what, *flags)
        settings = {
            "DASK_DISTRIBUTED__WORKER__PRELOAD": str(preload),
            "IMAGENET_DIR": str(images),
            "OMP_NUM_THREADS": "1",
        }
        return runs.start("-c", SCRIPT.format(preload=str(preload)), *flags, **settings)

    def finish(*arguments, **more):
        run = start(*arguments, **more)
        _, stderr = run.communicate(timeout=300)
        assert run.returncode == 0, stderr
        assert "Traceback" not in stderr
        return stderr

    def log():
        path = folder / "log"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    start.log, start.finish, start.preload, start.hold, start.kill = (
        log,
        finish,
        preload,
        folder / "hold",
        folder / "kill",
    )
    start.forget = (folder / "log").unlink
    return start


def read(folder, names=NAMES):
    return {name: (folder / name).read_bytes() for name in names}


def test_cluster_gives_the_embeddings_of_one_process(embed, in_this_process, tmp_path, monkeypatch):
    """With a search in nine blocks; a second run keeps all, and needs no cluster."""
    monkeypatch.setattr(cluster_embedder, "ROWS_PER_JOB", 7)
    assert embed("--block", 5).status == 0
    alone = embed.folder.rename(tmp_path / "alone")
    address = in_this_process(resources={"GPU": 1})
    flags = ("--block", 5, "--scheduler", address, "--resources", "GPU=1")
    done = embed(*flags)
    assert done.status == 0, done.stderr
    assert read(embed.folder) == read(alone)
    assert not embed.parts.exists()
    assert embed("--scheduler", "tcp://127.0.0.1:1").stderr.count("kept") == 3


@pytest.mark.heavy
def test_devices_give_the_embeddings_of_one_process(world, tmp_path):
    what = ("--what", "texts", "train", "images", "neighbours", "--block", 5000)
    world.finish("alone", "--device", "cpu", what=what)
    world.finish("together", "--devices", "cpu*2", what=what)
    names = (*NAMES, "clip_text_embeddings.npz")
    assert read(tmp_path / "together", names) == read(tmp_path / "alone", names)


@pytest.mark.heavy
def test_block_of_a_killed_worker_is_embedded_again(world, dask_cluster, tmp_path):
    world.finish("alone", "--device", "cpu")
    world.forget()
    cluster = dask_cluster()
    workers = {str(worker.pid): worker for worker in (add(cluster, world), add(cluster, world))}
    world.hold.touch()
    run = world("together", "--scheduler", cluster.file)
    wait_for(lambda: {process for _, process in world.log()} == workers.keys())
    lost, killed = world.log()[0]
    workers[killed].kill()
    world.hold.unlink()
    _, stderr = run.communicate(timeout=300)
    assert run.returncode == 0, stderr
    assert stderr.count(" is lost") == 1
    firsts = [first for first, _ in world.log()]
    assert len(set(firsts)) == 17  # 60 training images and 23 others, five each
    assert [first for first in firsts if firsts.count(first) > 1] == [lost, lost]
    assert read(tmp_path / "together") == read(tmp_path / "alone")


def add(cluster, world):
    return cluster.add_worker("--preload", world.preload)
