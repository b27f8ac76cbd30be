"""Two processes at once on one artefacts folder: they share the work, and leave what one would have left."""

import os
import signal
from pathlib import Path

import pytest

from imagenet_errors import locks
from imagenet_errors.files import read_csv, write_csv
from imagenet_errors.inference import prefetch, zoo
from imagenet_errors.inference.prefetch import COLUMNS
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from tests.helpers import tiny_clip
from tests.helpers.processes import wait_for
from tests.helpers.saved_models import failures
from tests.helpers.tiny_clip import arrays
from tests.inference.test_clip_resume import same

pytestmark = pytest.mark.heavy

pytest_plugins = tuple(f"tests.helpers.{name}" for name in ("tiny_clip", "saved_models", "processes", "slow_models"))
WITH_TIMES = ("metadata.json", "checked_images.npz")
EMBED = """
import os, time
from pathlib import Path
from imagenet_errors.inference import clip
from tests.helpers import tiny_clip
from tests.helpers.processes import wait_for

whole = clip.Clip.embed_images
def slow(self, images, batch_size):
    with open({log!r}, "a") as log:
        log.write(f"{{images.stored[0].path}} {{os.getpid()}}\\n")
    time.sleep({seconds})
    return whole(self, images, batch_size)
clip.Clip.embed_images = slow
tiny_clip.register(Path({folder!r}))
import compute_clip_embeddings as script
script.cli.run(script.main)
"""


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file but locks and what holds times."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and locks.FOLDER not in path.parts and path.name not in WITH_TIMES
    }


def test_two_runs_share_the_models(models, tmp_path):
    """Each model is computed once, by one of them, and all are there when either of them ends."""
    models.hold("a")
    both = [models(*"abcd") for _ in range(2)]
    wait_for(lambda: len({pid for _, pid in models.log()}) == 2)  # the other takes the next model
    models.release("a")
    ends = [run.communicate() for run in both]
    assert [run.returncode for run in both] == [0, 0], ends
    log = models.log()
    assert sorted(name for name, _ in log) == list("abcd")
    assert {int(pid) for _, pid in log} == {run.pid for run in both}
    for out, err in ends:
        assert out.count("top-1") + err.count("kept") == 4
        assert "again" not in err
        assert "Traceback" not in err
    together = contents(models.artefacts)
    models.artefacts.rename(tmp_path / "together")
    assert models(*"abcd").wait() == 0
    assert contents(models.artefacts) == together


def test_run_waits_for_a_model_of_the_other(models):
    models.hold("a")
    first = models("a")
    wait_for(models.log)
    second = models("a", "b")
    wait_for(lambda: len(models.log()) == 2)  # the second is at b
    models.release("a")
    _, err = second.communicate()
    assert second.returncode == 0
    assert f"own/own.a: locked by process {first.pid} on " in err
    assert "so it comes last" in err
    assert "own/own.a: kept" in err
    assert [name for name, _ in models.log()] == ["a", "b"]
    assert first.wait() == 0


def test_model_of_a_killed_run_is_taken_over(models):
    """The other run, which left it out, does it."""
    models.hold("a")
    first = models("a")
    wait_for(models.log)
    second = models("a", "b")
    wait_for(lambda: (models.artefacts / "sample" / "own--own.b" / "preds.npz").exists())
    os.killpg(first.pid, signal.SIGKILL)
    models.release("a")
    assert second.wait() == 0
    assert models.log() == [["a", str(first.pid)], ["b", str(second.pid)], ["a", str(second.pid)]]
    assert (models.artefacts / "sample" / "own--own.a" / "preds.npz").exists()


def test_failures_of_both_runs_are_listed(models):
    (models.folder / "fail").touch()
    both = [models(*names) for names in ("abcd", "dcba")]
    ends = [run.communicate() for run in both]
    assert [run.returncode for run in both] == [1, 1], ends
    assert failures(models.artefacts).keys() == {f"own/own.{name}" for name in "abcd"}


def test_runs_over_other_images_do_not_mix(models):
    """Whoever stores first says which images the folder is of; the other stores nothing."""
    models.hold("a")
    first = models("a")
    wait_for(models.log)
    second = models("b", dataset=("--dataset", "sample", "--limit", 3))
    assert second.wait() == 0
    models.release("a")
    _, err = first.communicate()
    assert first.returncode == 2
    assert "lists 3 images, and these 2 are not the same" in err
    assert len(arrays(models.artefacts / "sample" / "samples_info.npz")["targets"]) == 3
    assert [path.parent.name for path in models.artefacts.rglob("preds.npz")] == ["own--own.b"]


@pytest.fixture
def embeds(clip_weights, few, runs, tmp_path):
    """Slow runs of compute_clip_embeddings.py over the few images: `embeds(*flags)`."""

    def start(*more, what=("train", "images", "neighbours"), seconds=0.15):
        code = EMBED.format(log=str(tmp_path / "log"), folder=str(clip_weights.parent), seconds=seconds)
        flags = tiny_clip.flags(clip_weights, tmp_path / "shared", "--what", *what, *more)
        return runs.start("-c", code, *flags, IMAGENET_DIR=str(few))

    start.folder, start.log = tmp_path / "shared", tmp_path / "log"
    return start


def test_two_runs_share_the_blocks(embeds, embed):
    both = [embeds("--block", 5) for _ in range(2)]
    ends = [run.communicate() for run in both]
    assert [run.returncode for run in both] == [0, 0], ends
    log = [line.split() for line in embeds.log.read_text().splitlines()]
    assert len(log) == len({first for first, _ in log}) == 12 + 5
    assert {int(pid) for _, pid in log} == {run.pid for run in both}
    assert embed("--block", 5).status == 0
    for path in (embed.train, embed.images, embed.neighbours):
        assert same(path, embeds.folder / path.relative_to(embed.folder))
    assert not list(embeds.folder.rglob("*.parts"))
    assert not list(embeds.folder.rglob("*.tmp"))


def test_block_of_a_killed_run_is_taken_over(embeds, embed):
    first = embeds("--block", 5, what=["train"], seconds=600)
    wait_for(embeds.log.exists)
    second = embeds("--block", 5, what=["train"], seconds=0)
    wait_for(lambda: len(embeds.log.read_text().splitlines()) == 12)
    os.killpg(first.pid, signal.SIGKILL)
    _, err = second.communicate()
    assert second.returncode == 0, err
    embed("--block", 5, what=["train"])
    assert same(embed.train, embeds.folder / embed.train.name)


def test_weights_noted_by_another_run_stay(tmp_path, monkeypatch):
    """A row that is written while ours is fetched stays."""
    records = [ModelRecord(f"me/{name}", "own", "timm", name) for name in "ab"]
    path = tmp_path / "weights.csv"
    (tmp_path / "file").write_text("weights")

    def fetch(record):
        rows = read_csv(path, COLUMNS) if path.exists() else []
        write_csv(path, COLUMNS, [*rows, dict.fromkeys(COLUMNS, f"other {record.name}")])
        return [tmp_path / "file"]

    monkeypatch.setattr(zoo, "fetch", fetch)
    assert prefetch.download_weights(records, Artefacts(tmp_path)) == {}
    assert [row["model_id"] for row in read_csv(path, COLUMNS)] == ["other a", "me/a", "other b", "me/b"]
