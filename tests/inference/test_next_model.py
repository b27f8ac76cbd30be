"""The model that runs next is got ready meanwhile; results, failures, locks, signals and memory stay as they are."""

import signal
import threading
import time
import weakref
from contextlib import ExitStack

import pytest
import timm

from imagenet_errors import locks
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.inference import runner, zoo
from imagenet_errors.inference.next_model import NextModel
from imagenet_errors.inference.runner import Collector, Options
from imagenet_errors.models import own_models, saved_predictions
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from imagenet_errors.processes import BACKGROUND
from tests.conftest import ROOT
from tests.helpers.dask_cluster import read_results
from tests.helpers.processes import wait_for
from tests.helpers.saved_models import environment, failures, put_timm_on_hub, randomised

pytest_plugins = ("tests.helpers.saved_models", "tests.helpers.processes")
NAMES = [f"test_{name}.r160_in1k" for name in ("resnet", "efficientnet", "vit")]
MODELS = [f"timm/{name}" for name in NAMES]
RANDOM = """
import time, torch
from torchvision import transforms

class Dropping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(192, 1000)

    def forward(self, pixels):
        time.sleep(0.05)
        return self.head(torch.nn.functional.dropout(pixels.flatten(1), training=True))

resize = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
first = second = lambda: (Dropping(), resize)
"""


@pytest.fixture
def hub(caches):
    """Weights of the models."""
    for name in NAMES:
        put_timm_on_hub(caches, name, randomised(timm.create_model(name)))
    return caches


@pytest.fixture
def collect(call, hub):
    """Run models on the sample, one image a batch; the artefacts folder is `collect.folder`."""

    def run(*models, folder=hub):
        flags = ("--dataset", "sample", "--artefacts_dir", folder, "--device", "cpu", "--workers", 0, "--save_probs")
        return call("collect_predictions", *flags, "--batch_size", 1, "--model", *models)

    return run


@pytest.fixture
def beside(monkeypatch):
    """Have models built beside others, as on a GPU."""
    monkeypatch.setattr(runner, "NextModel", lambda builds, use_test_size: NextModel(True, use_test_size))


@pytest.fixture
def log(monkeypatch):
    """What was fetched and built beside another model: [(fetch or build, model id)]."""
    done = []

    def watch(name):
        original = getattr(zoo, name)

        def watched(record, *arguments):
            if threading.current_thread().name == BACKGROUND:
                done.append((name, record.model_id))
            return original(record, *arguments)

        monkeypatch.setattr(zoo, name, watched)

    watch("fetch")
    watch("build")
    return done


def list_models(log, what):
    return [model for done, model in log if done == what]


def test_on_a_cpu_the_next_model_is_fetched_and_not_built(collect, log):
    assert collect(*MODELS).status == 0
    assert len(set(list_models(log, "fetch"))) == len(MODELS) - 1
    assert list_models(log, "build") == []


def test_predictions_are_those_of_models_built_in_turn(hub, log, monkeypatch):
    """Also where weights are random, and where predicting is: the user's models run before those of timm."""
    (hub / "own.py").write_text(RANDOM)
    records = [own_models.from_function(f"{hub}/own.py:{name}") for name in ("first", "second")]
    records += [ModelRecord(f"timm/{name}", "timm_new", "timm", name) for name in NAMES]
    create = timm.create_model

    def create_later(*arguments, **options):
        time.sleep(0.1)  # until the model before predicts
        return create(*arguments, **options)

    monkeypatch.setattr(timm, "create_model", create_later)
    in_turn = type("InTurn", (NextModel,), {"start": lambda *_, **__: None})
    for folder, how in {"in turn": in_turn, "beside": NextModel}.items():
        assert list_models(log, "build") == []
        monkeypatch.setattr(runner, "NextModel", lambda _, use_test_size: how(True, use_test_size))  # noqa: B023
        options = Options(batch_size=1, device="cpu", workers=0, save_probs=True)
        collector = Collector.prepare(Artefacts(hub / folder), DATASETS["sample"], options)
        assert len(list(collector.run(records))) == len(records)
    assert len(list_models(log, "build")) == len(NAMES) - 1
    assert read_results(hub / "in turn") == read_results(hub / "beside")


def test_random_weights_of_a_function_are_the_same_in_every_run(collect, hub):
    (hub / "own.py").write_text(RANDOM)
    collect(f"{hub}/own.py:first")
    assert "kept, it has valid predictions" in collect(f"{hub}/own.py:first").stderr


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_model_that_cannot_be_built_fails_in_its_turn(collect, hub, beside, log):
    (path,) = (hub / "huggingface").glob(f"hub/*{NAMES[2]}/snapshots/*/*")
    path.resolve().write_bytes(b"damaged")
    done = collect(*MODELS)
    assert done.status == 1
    assert list(failures(hub)) == [MODELS[2]]
    assert done.stderr.count(f"{MODELS[2]}: not predicted") == 1
    assert "Traceback" not in done.stderr
    assert len(read_results(hub)) == 2


@pytest.mark.heavy
def test_memory_that_ends_beside_another_model_may_suffice_in_turn(collect, hub, beside, monkeypatch):
    create = timm.create_model

    def create_model(*arguments, **options):
        if threading.current_thread().name == BACKGROUND:
            raise MemoryError
        return create(*arguments, **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    assert collect(*MODELS).status == 0


@pytest.mark.heavy
def test_model_that_another_process_has_is_not_built(collect, hub, beside, log, monkeypatch):
    """It is locked until the last but one is stored."""
    stored, write = [], saved_predictions.write_predictions
    lock = ExitStack()

    def record_order(*arguments):
        stored.append(arguments[2].model_id)
        if len(stored) == len(MODELS) + 2:
            lock.close()
        return write(*arguments)

    monkeypatch.setattr(saved_predictions, "write_predictions", record_order)
    collect(*MODELS, folder=hub / "first")
    log.clear()
    first, second, third = stored
    lock.enter_context(locks.locked(hub, f"sample/{second.replace('/', '--')}"))
    done = collect(*MODELS)
    assert done.status == 0
    assert "so it comes last" in done.stderr
    assert stored[3:] == [first, third, second]
    assert list_models(log, "build") == [third]


def test_two_models_are_in_memory_at_most(collect, beside, monkeypatch):
    alive, counts, build = [], [], zoo.build

    def count(*arguments):
        counts.append(sum(model() is not None for model in alive))
        built = build(*arguments)
        alive.append(weakref.ref(built[0]))
        return built

    monkeypatch.setattr(zoo, "build", count)
    assert collect(*MODELS).status == 0
    assert len(counts) == len(MODELS)
    assert max(counts) == 1


WAITS = """
import pathlib, runpy, sys, time
sys.argv = ["collect_predictions.py", *sys.argv[1:]]
from imagenet_errors.inference import zoo
fetch, fetched = zoo.fetch, []
def wait(record):
    fetched.append(record)
    if len({each.model_id for each in fetched}) == 2:
        pathlib.Path("{folder}", "waits").touch()
        time.sleep(600)
    return fetch(record)
zoo.fetch = wait
runpy.run_path("{script}", run_name="__main__")
"""


@pytest.mark.heavy
def test_ctrl_c_does_not_wait_for_a_download(hub, runs):
    script = hub / "run.py"
    text = WAITS.replace("{folder}", str(hub)).replace("{script}", str(ROOT / "src" / "collect_predictions.py"))
    script.write_text(text)
    flags = ("--dataset", "sample", "--artefacts_dir", hub / "a", "--device", "cpu", "--workers", "0")
    places = {name: str(value) for name, value in environment(hub).items()}
    run = runs.start(script, *flags, "--model", *MODELS, **places)
    wait_for(lambda: (hub / "waits").exists() or run.poll() is not None)
    start = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, err = run.communicate()
    assert run.returncode == 128 + signal.SIGINT, err
    assert err.splitlines()[-1].endswith("finished work is kept, repeat the command to continue")
    assert time.monotonic() - start < 60


BUSY = """
import sys, threading, time, torch
from imagenet_errors import cli, processes
from imagenet_errors.errors import InputError

def build():
    while True:
        torch.nn.Linear(100, 100)

def main():
    threading.Thread(target=build, name=processes.BACKGROUND, daemon=True).start()
    time.sleep(0.2)
    print("done")
    {end}

cli.run(main)
"""


@pytest.mark.heavy
@pytest.mark.parametrize(("end", "status"), [("pass", 0), ("sys.exit(1)", 1), ("raise InputError('no')", 2)])
def test_script_ends_beside_a_thread_that_builds(runs, end, status):
    """Python's own end aborts the process ("terminate called without an active exception", status 134)."""
    run = runs.start("-c", BUSY.replace("{end}", end))
    out, err = run.communicate()
    assert (run.returncode, out) == (status, "done\n"), err
