"""Two processes at once on one artefacts folder: they share the work, and leave what one would have left."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from imagenet_errors import locks, processes
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv, write_csv
from imagenet_errors.inference import prefetch, zoo
from imagenet_errors.inference.prefetch import COLUMNS
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from tests.conftest import ROOT
from tests.helpers import tiny_clip
from tests.helpers.saved_models import failures
from tests.helpers.tiny_clip import arrays
from tests.inference.test_clip_resume import same

pytestmark = pytest.mark.heavy

pytest_plugins = ("tests.helpers.tiny_clip", "tests.helpers.saved_models")
MODELS = """
import os, time
from pathlib import Path
import torch
from torchvision import transforms

FOLDER = Path(__file__).parent

class Slow(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.name, self.head = name, torch.nn.Linear(192, 1000)

    def forward(self, pixels):
        with open(FOLDER / "log", "a") as log:
            log.write(f"{self.name} {os.getpid()}\\n")
        time.sleep(float((FOLDER / self.name).read_text()))
        if (FOLDER / "fail").exists():
            raise ValueError("no")
        return self.head(pixels.flatten(1))

resize = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
a, b, c, d = (lambda name=name: (Slow(name), resize) for name in "abcd")
"""
EMBED = """
import os, time
from pathlib import Path
from imagenet_errors.inference import clip
from tests.helpers import tiny_clip

whole = clip.Clip.embed_images
def slow(self, images, batch_size):
    with open({log!r}, "a") as log:
        log.write(f"{{images.files[0]}} {{os.getpid()}}\\n")
    time.sleep({seconds})
    return whole(self, images, batch_size)
clip.Clip.embed_images = slow
tiny_clip.register(Path({folder!r}))
import compute_clip_embeddings as script
script.cli.run(script.main)
"""


def wait_for(condition, seconds=60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.01)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file but locks and times."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and locks.FOLDER not in path.parts and path.name != "metadata.json"
    }


class Runs:
    """Processes of a test."""

    def __init__(self, environment):
        self.environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"} | environment
        self.running = []

    def start(self, *command) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        self.running.append(
            subprocess.Popen([sys.executable, *map(str, command)], env=self.environment, cwd=ROOT, **pipes)
        )
        return self.running[-1]

    def stop(self):
        for process in self.running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def models(tmp_path):
    """Slow models: `models.start("a", "b")` runs them over two images; `models.log()` says which process did which."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "own.py").write_text(MODELS)
    for name in "abcd":
        (folder / name).write_text("0.3")
    runs = Runs({})

    def start(*names, workers=0, dataset=("--dataset", "sample", "--limit", 2)):
        flags = ("--artefacts_dir", tmp_path / "artefacts", "--device", "cpu", "--workers", workers, *dataset)
        named = [f"{folder / 'own.py'}:{name}" for name in names]
        return runs.start(ROOT / "src" / "collect_predictions.py", *flags, "--model", *named)

    start.start, start.folder, start.artefacts = start, folder, tmp_path / "artefacts"
    start.log = lambda: [line.split() for line in (folder / "log").read_text().splitlines()]
    yield start
    runs.stop()


def test_two_runs_do_the_same_work(models, tmp_path):
    """Each model is computed once, by one of them, and all are there when either of them ends."""
    both = [models.start(*"abcd") for _ in range(2)]
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
    assert models.start(*"abcd").wait() == 0
    assert contents(models.artefacts) == together


def test_a_run_leaves_before_the_other_has_finished(models):
    """It waits, and has the predictions at its end."""
    (models.folder / "a").write_text("4")
    first = models.start("a")
    wait_for(lambda: (models.folder / "log").exists())
    second = models.start("a", "b")
    _, err = second.communicate()
    assert second.returncode == 0
    assert f"own/own.a: locked by process {first.pid} on " in err
    assert "so it comes last" in err
    assert "own/own.a: kept" in err
    assert [name for name, _ in models.log()] == ["a", "b"]
    assert first.wait() == 0


def test_a_model_is_lost_with_the_run_that_was_at_it(models):
    """The other run, which left it out, does it."""
    (models.folder / "a").write_text("60")
    first = models.start("a")
    wait_for(lambda: (models.folder / "log").exists())
    second = models.start("a", "b")
    wait_for(lambda: (models.artefacts / "sample" / "own--own.b" / "preds.npz").exists())
    (models.folder / "a").write_text("0")
    os.killpg(first.pid, signal.SIGKILL)
    assert second.wait() == 0
    assert models.log() == [["a", str(first.pid)], ["b", str(second.pid)], ["a", str(second.pid)]]
    assert (models.artefacts / "sample" / "own--own.a" / "preds.npz").exists()


def test_the_failures_of_one_run_are_lost_to_the_other(models):
    (models.folder / "fail").touch()
    both = [models.start(*names) for names in ("abcd", "dcba")]
    ends = [run.communicate() for run in both]
    assert [run.returncode for run in both] == [1, 1], ends
    assert failures(models.artefacts).keys() == {f"own/own.{name}" for name in "abcd"}


def test_two_runs_over_other_images_mix(models):
    """Whoever stores first says which images the folder is of; the other stores nothing."""
    (models.folder / "a").write_text("4")
    first = models.start("a")
    wait_for(lambda: (models.folder / "log").exists())
    second = models.start("b", dataset=("--dataset", "sample", "--limit", 3))
    assert second.wait() == 0
    _, err = first.communicate()
    assert first.returncode == 2
    assert "lists 3 images, and these 2 are not the same" in err
    assert len(arrays(models.artefacts / "sample" / "samples_info.npz")["targets"]) == 3
    assert [path.parent.name for path in models.artefacts.rglob("preds.npz")] == ["own--own.b"]


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.killpg), (signal.SIGHUP, os.kill)],
    ids=["Ctrl-C", "SIGTERM to all", "SIGHUP to one"],
)
def test_a_signal_leaves_a_mess(models, number, send):
    """One line, the documented status, neither temporary files nor processes, and the run goes on afterwards."""
    for name in "bc":
        (models.folder / name).write_text("60")
    run = models.start("a", "b", "c", workers=2, dataset=("--dataset", "sample"))
    wait_for(lambda: (models.folder / "log").exists() and len(models.log()) == 2)
    send(run.pid, number)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 128 + number
    assert err.splitlines()[-1].startswith("collect_predictions.py: error: ")
    assert err.splitlines()[-1].endswith("what is finished is kept, the same command goes on from there")
    assert "Traceback" not in out + err
    assert not list(models.artefacts.rglob("*.tmp"))
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)
    for name in "bc":
        (models.folder / name).write_text("0")
    again = models.start("a", "b", "c", dataset=("--dataset", "sample"))
    _, err = again.communicate()
    assert again.returncode == 0
    assert "own.a: kept" in err


def test_a_killed_run_leaves_workers(tmp_path):
    code = (
        "import time; from imagenet_errors import processes\n"
        "with processes.pool(2) as workers:\n"
        f"    workers.submit(open, {str(tmp_path / 'begun')!r}, 'w').exception()\n"
        "    [workers.submit(time.sleep, 60) for _ in range(2)][0].result()"
    )
    runs = Runs({})
    run = runs.start("-c", code)
    wait_for((tmp_path / "begun").exists)
    assert len(_group(run.pid)) == 3
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    wait_for(lambda: not _group(run.pid), seconds=10)
    runs.stop()


def _group(pid: int) -> list[str]:
    """The processes of a group that are no zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if group == str(pid) and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.fixture
def embeds(clip_weights, few, tmp_path):
    """Slow runs of compute_clip_embeddings.py over the few images: `embeds(*flags)`."""
    runs = Runs({"IMAGENET_DIR": str(few)})

    def start(*more, what=("train", "images", "neighbours"), seconds=0.15):
        code = EMBED.format(log=str(tmp_path / "log"), folder=str(clip_weights.parent), seconds=seconds)
        return runs.start("-c", code, *tiny_clip.flags(clip_weights, tmp_path / "shared", "--what", *what, *more))

    start.folder, start.log = tmp_path / "shared", tmp_path / "log"
    yield start
    runs.stop()


def test_two_runs_embed_the_same_blocks(embeds, embed):
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


def test_a_block_is_lost_with_the_run_that_was_at_it(embeds, embed):
    first = embeds("--block", 5, what=["train"], seconds=60)
    wait_for(lambda: embeds.log.exists())
    second = embeds("--block", 5, what=["train"], seconds=0)
    wait_for(lambda: len(embeds.log.read_text().splitlines()) == 12)
    os.killpg(first.pid, signal.SIGKILL)
    _, err = second.communicate()
    assert second.returncode == 0, err
    embed("--block", 5, what=["train"])
    assert same(embed.train, embeds.folder / embed.train.name)


def test_a_killed_worker_of_a_pool_ends_in_a_traceback():
    with pytest.raises(InputError, match="try fewer --jobs"), processes.pool(2) as workers:
        workers.submit(os._exit, 1).result()


def test_nohup_is_undone():
    before = {number: signal.getsignal(number) for number in (*processes.SIGNALS, signal.SIGCHLD)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    processes.stop_on_signals()
    with pytest.raises(processes.Stopped):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    for number, handler in before.items():
        signal.signal(number, handler)


def test_noted_weights_of_another_run_are_lost(tmp_path, monkeypatch):
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


def test_figures_that_are_drawn_when_a_signal_comes_are_half_written(tmp_path):
    runs = Runs({})
    flags = ("--results_dir", tmp_path, "--stats_dir", ROOT, "--format", "png", "--jobs", 2)
    run = runs.start(ROOT / "src" / "utils_plot.py", *flags)
    wait_for(lambda: list(tmp_path.rglob("*.png")))
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert err.splitlines()[-1].startswith("utils_plot.py: error: interrupt")
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.tmp"))
    assert not _group(run.pid)
    runs.stop()
