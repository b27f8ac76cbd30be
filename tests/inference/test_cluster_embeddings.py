"""Blocks of embeddings and of a search as jobs of a Dask cluster: the same files, to the byte, as of one process."""

import shutil
import signal

import numpy as np
import pytest

from imagenet_errors.inference import cluster_embedder
from imagenet_errors.inference.embedding_jobs import EmbeddedBlock
from tests.conftest import refused
from tests.helpers import tiny_clip
from tests.helpers.processes import processes_of, wait_for

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
        time.sleep(1)  # by now the scheduler knows what was finished before
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


@pytest.mark.parametrize("flags", [(), pytest.param(("--no_shared_files",), marks=pytest.mark.heavy)])
def test_cluster_gives_the_embeddings_of_one_process(embed, in_this_process, tmp_path, monkeypatch, flags):
    """With a search in nine blocks; a second run keeps all, and needs no cluster."""
    monkeypatch.setattr(cluster_embedder, "ROWS_PER_JOB", 7)
    assert embed("--block", 5).status == 0
    alone = embed.folder.rename(tmp_path / "alone")
    address = in_this_process(resources={"GPU": 1})
    done = embed("--block", 5, "--scheduler", address, "--resources", "GPU=1", *flags)
    assert done.status == 0, done.stderr
    assert read(embed.folder) == read(alone)
    assert not embed.parts.exists()
    assert embed("--scheduler", "tcp://127.0.0.1:1").stderr.count("kept") == 3


@pytest.mark.heavy
def test_interrupted_run_is_continued_on_a_cluster(embed, embedded, in_this_process, tmp_path):
    embed("--block", 5, what=["images"])
    alone = embed.images.rename(tmp_path / "alone.npz")
    embedded.clear()
    embedded.stop_at = 3
    assert embed("--block", 5, what=["images"]).status == 130
    embedded.clear()
    embedded.stop_at = None
    assert embed("--block", 5, "--scheduler", in_this_process(), what=["images"]).status == 0
    assert len(embedded) == 2
    assert embed.images.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--devices", "cpu*2"), "--device is for one process: give --devices alone"),
        (("--resources", "GPU=1"), "go with --scheduler"),
        (("--scheduler", "tcp://127.0.0.1:1", "--wait_for_workers", "1"), "does not answer within 1 s"),
    ],
)
def test_cluster_that_cannot_be_is_refused_in_one_line(embed, flags, words):
    assert refused(embed(*flags, what=["train"]), words)
    assert not embed.train.exists()


def test_worker_with_other_weights_is_refused(embed, in_this_process, monkeypatch):
    monkeypatch.setattr(cluster_embedder, "name_clip", lambda *_: f"{tiny_clip.NAME}/another")
    done = embed("--scheduler", in_this_process(), what=["train"])
    assert refused(done, f"has {tiny_clip.NAME}/", f"and this machine {tiny_clip.NAME}/another", "the same weights")


def test_folder_that_workers_do_not_share_is_told(embed, in_this_process, monkeypatch):
    """A worker has written its blocks elsewhere."""
    monkeypatch.setattr(cluster_embedder, "embed_block", lambda *_: EmbeddedBlock([], None))
    done = embed("--scheduler", in_this_process(), what=["train"])
    assert refused(done, "were written by a worker and are not here: give --no_shared_files")
    assert not embed.train.exists()


def test_finished_blocks_are_joined_without_a_cluster(embed):
    embed("--block", 60, what=["train"])
    whole = tiny_clip.arrays(embed.train)
    part = embed.train.with_suffix(".parts") / "00000000.npz"
    part.parent.mkdir()
    embed.train.unlink()
    np.savez(part, names=whole["train_files"], embeddings=whole["embeddings"], clip=whole["clip"])
    done = embed("--block", 60, "--scheduler", "tcp://127.0.0.1:1", what=["train"])
    assert done.status == 0, done.stderr
    np.testing.assert_allclose(tiny_clip.arrays(embed.train)["embeddings"], whole["embeddings"], atol=1e-6)


def test_image_that_a_worker_cannot_read_is_named(embed, in_this_process, few, tmp_path):
    train = shutil.copytree(few / "train", tmp_path / "train")
    damaged = sorted(train.glob("*/*"))[30]
    damaged.write_bytes(damaged.read_bytes()[:200])
    flags = ("--train_dir", train, "--block", 10, "--scheduler", in_this_process())
    assert refused(embed(*flags, what=["train"]), damaged, "replace it")
    assert len(list(embed.train.with_suffix(".parts").glob("*.npz"))) == 3
    shutil.copyfile(few / "train" / damaged.relative_to(train), damaged)
    assert embed(*flags, what=["train"]).status == 0


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


@pytest.mark.heavy
def test_blocks_of_a_killed_client_are_kept(world, dask_cluster, tmp_path):
    world.finish("alone", "--device", "cpu")
    world.forget()
    cluster = dask_cluster()
    add(cluster, world)
    run = world("together", "--scheduler", cluster.file)
    parts = tmp_path / "together" / "train_clip_embeddings.parts"
    wait_for(lambda: len(list(parts.glob("0*.npz"))) >= 3)
    world.hold.touch()
    run.send_signal(signal.SIGKILL)
    run.wait()
    world.hold.unlink()
    world.finish("together", "--scheduler", cluster.file)
    firsts = [first for first, _ in world.log()]
    assert len(firsts) == len(set(firsts)) == 17
    assert read(tmp_path / "together") == read(tmp_path / "alone")


@pytest.mark.heavy
def test_ctrl_c_keeps_finished_blocks_and_leaves_no_process(world, tmp_path):
    run = world("together", "--devices", "cpu*2", what=("--what", "train", "--block", 5))
    parts = tmp_path / "together" / "train_clip_embeddings.parts"
    wait_for(lambda: list(parts.glob("0*.npz")))
    world.hold.touch()
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert stderr.splitlines()[-1].endswith("interrupt: finished work is kept, repeat the command to continue")
    assert "Traceback" not in stderr
    wait_for(lambda: not processes_of(run.pid), 20)
    assert list(parts.glob("0*.npz"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.heavy
def test_block_that_kills_its_workers_ends_the_run(world, few, tmp_path):
    """After two workers; the other blocks go on from what is finished."""
    world.kill.write_text(str(sorted((few / "train").glob("*/*"))[5]))
    run = world("together", "--devices", "cpu*2", what=("--what", "train", "--block", 5))
    _, stderr = run.communicate(timeout=300)
    assert run.returncode == 2
    reason = "block 5 of train_clip_embeddings.npz: 2 workers were lost while they ran it, perhaps for lack of memory"
    assert reason in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    wait_for(lambda: not processes_of(run.pid), 20)
    world.kill.unlink()
    world.finish("together", "--devices", "cpu", what=("--what", "train", "--block", 5))


@pytest.mark.heavy
def test_worker_that_lacks_images_is_refused(world, dask_cluster, few, tmp_path):
    fewer = shutil.copytree(few, tmp_path / "fewer")
    lacking = sorted((fewer / "train").glob("*/*"))[30]
    lacking.unlink()
    cluster = dask_cluster()
    add(cluster, world, IMAGENET_DIR=str(fewer))
    flags = ("--scheduler", cluster.file, "--no_shared_files")
    run = world("together", *flags, what=("--what", "train", "--block", 5))
    _, stderr = run.communicate(timeout=300)
    assert run.returncode == 2
    assert f"lacks {lacking.parent.name}/{lacking.name}: give all machines the same images" in stderr.splitlines()[-1]


def add(cluster, world, **environment):
    return cluster.add_worker("--preload", world.preload, **environment)
