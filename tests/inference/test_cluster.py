"""Models as jobs of a Dask cluster: the same predictions as in one process, each stored once, failures told once."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from distributed import Client

from imagenet_errors.inference import cluster_run, cluster_workers
from imagenet_errors.inference.cluster import local_cluster
from imagenet_errors.inference.job_queue import Job, JobQueue
from tests.conftest import ROOT, refused, run_script
from tests.helpers.dask_cluster import read_results
from tests.helpers.processes import processes_of, wait_for
from tests.helpers.saved_models import failures

pytest_plugins = (
    "tests.helpers.own_functions",
    "tests.helpers.processes",
    "tests.helpers.slow_models",
    "tests.helpers.dask_cluster",
)


def told(done):
    """The lines of results, without seconds, sorted."""
    return sorted(line.split(",")[0] for line in done.stdout.splitlines())


@pytest.fixture
def collect(tmp_path):
    """Run in processes of their own, with one thread each: sums over several threads may differ in the last bit."""

    def run(folder, *flags):
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path / folder, "--workers", 0, *flags)
        return run_script("collect_predictions", *flags, OMP_NUM_THREADS=1)

    return run


def test_processes_of_devices_are_reached_from_this_machine_alone(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)  # multiprocessing asks for it
    with local_cluster(["cpu"]) as client:
        client.wait_for_workers(1)
        this = psutil.Process()
        sockets = [one for process in (this, *this.children(recursive=True)) for one in process.net_connections("inet")]
    assert {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.heavy
def test_devices_give_the_predictions_of_one_process(collect, own, tmp_path):
    models = ("--model", "lite0", "lite1", *own("good", "nan", "unbuildable"))
    alone, together = collect("alone", *models), collect("together", *models, "--devices", "cpu*2")
    assert alone.returncode == together.returncode == 1, together.stderr
    assert read_results(tmp_path / "alone").keys() == {
        "own--own.good",
        *(f"efficientnet_lite--lite{i}" for i in (0, 1)),
    }
    assert read_results(tmp_path / "together") == read_results(tmp_path / "alone")
    assert failures(tmp_path / "together") == failures(tmp_path / "alone")
    assert together.stderr.count("not predicted, it gives not-a-number") == 1
    assert "Traceback" not in together.stderr
    assert told(together) == told(alone)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--devices", "cpu*2", "--scheduler", "tcp://127.0.0.1:1"), "give one of them"),
        (("--resources", "GPU=1"), "go with --scheduler"),
        (("--no_shared_files",), "go with --scheduler"),
        (("--scheduler", "tcp://127.0.0.1:1", "--resources", "GPU"), "write NAME=AMOUNT"),
        (("--devices", "cpu*x"), "is not a device"),
        (("--devices", "cpu", "--device", "cpu"), "give --devices alone"),
        (("--devices", "cuda:99"), "cuda:99 is not here"),
        (("--scheduler", "nowhere.json"), "nowhere.json is missing"),
        (("--scheduler", "10.0.0.1:8786"), "--scheduler takes tcp://HOST:PORT, or the scheduler's file"),
        (
            ("--scheduler", "http://10.0.0.1:8786"),
            "--scheduler http://10.0.0.1:8786: ValueError: unknown address scheme",
        ),
        (
            ("--scheduler", "tcp://127.0.0.1:1", "--wait_for_workers", "1"),
            "tcp://127.0.0.1:1 does not answer within 1 s",
        ),
    ],
)
def test_cluster_that_cannot_be_is_refused_in_one_line(call, tmp_path, flags, words):
    assert refused(call("collect_predictions", "--dataset", "sample", "--artefacts_dir", tmp_path, *flags), words)


@pytest.mark.heavy
def test_job_of_a_killed_worker_runs_again(models, dask_cluster, tmp_path):
    """No model is lost, none is stored twice; the two images and one thread give the predictions of one process."""
    cluster = dask_cluster()
    workers = {str(worker.pid): worker for worker in (cluster.add_worker(), cluster.add_worker())}
    for name in "ab":
        models.hold(name)
    run = models(*"abcd", flags=("--scheduler", cluster.file))
    wait_for(lambda: {name for name, _ in models.log()} == {"a", "b"})
    (killed,) = (process for name, process in models.log() if name == "a")
    workers[killed].kill()
    for name in "ab":
        models.release(name)
    stdout, stderr = run.communicate(timeout=300)
    assert run.returncode == 0, stderr
    assert stderr.count("own/own.a: its worker") == stderr.count(" is lost") == 1
    assert [name for name, _ in models.log()].count("a") == 2
    assert sorted(line.split(":")[0] for line in stdout.splitlines()) == [f"own/own.{name}" for name in "abcd"]
    alone = models(*"abcd", artefacts=tmp_path / "alone")
    assert alone.wait() == 0
    assert read_results(models.artefacts) == read_results(tmp_path / "alone")
    assert len(read_results(models.artefacts)) == 4


KILLER = """
import os, signal
def killer():
    with open(__file__ + ".log", "a") as log:
        log.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.heavy
def test_model_that_kills_its_workers_is_a_failure_after_two(collect, own, tmp_path):
    models = own("good", "killer")
    own.file.write_text(own.file.read_text() + KILLER)
    done = collect("a", "--model", *models, "--devices", "cpu*2")
    assert done.returncode == 1, done.stderr
    reason = "2 workers were lost while they ran it, perhaps for lack of memory"
    assert failures(tmp_path / "a") == {"own/own.killer": reason}
    assert done.stderr.count(f"own/own.killer: not predicted, {reason}") == 1
    assert (tmp_path / "own.py.log").read_text() == "xx"
    assert read_results(tmp_path / "a").keys() == {"own--own.good"}


@pytest.mark.heavy
def test_workers_without_shared_files_give_back_the_same(collect, dask_cluster, own, tmp_path):
    cluster, models = dask_cluster(), ("--model", *own("good", "nan"), "lite0")
    cluster.add_worker()
    flags = ("--scheduler", cluster.address, "--no_shared_files")
    alone, away = collect("alone", *models), collect("away", *models, *flags)
    assert away.returncode == 1, away.stderr
    assert read_results(tmp_path / "away") == read_results(tmp_path / "alone")
    assert failures(tmp_path / "away") == failures(tmp_path / "alone")
    assert told(away) == told(alone)
    again = collect("away", *models, *flags)
    assert "efficientnet_lite/lite0: kept, it has valid predictions" in again.stderr


@pytest.mark.parametrize(
    ("worker", "flags", "words"),
    [
        ({"n_workers": 0}, ("--wait_for_workers", 1), "no worker has been connected for 1 s"),
        ({}, ("--resources", "GPU=1"), "no worker has GPU=1, they have nothing: start them with --resources"),
        (
            {"resources": {"GPU": 1, "MEMORY": 8}},
            ("--resources", "GPU=2"),
            "no worker has GPU=2, they have GPU=1, MEMORY=8",
        ),
        ({"threads_per_worker": 2}, (), "runs 2 jobs at once: start it with --nthreads 1"),
    ],
)
def test_cluster_that_cannot_run_the_jobs_is_refused(call, in_this_process, tmp_path, worker, flags, words):
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, *flags, "--workers", 0)
    assert refused(call("collect_predictions", *flags, "--scheduler", in_this_process(**worker)), words)
    assert not list(tmp_path.rglob("preds.npz"))


def test_worker_with_another_version_is_refused(call, in_this_process, tmp_path, monkeypatch):
    ours = cluster_workers.list_versions()
    monkeypatch.setattr(cluster_run, "list_versions", lambda: (("imagenet_errors", "9 (01234567)"), *ours[1:]))
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--workers", 0, "--scheduler", in_this_process())
    outcome = call("collect_predictions", *flags)
    assert refused(outcome, f"has imagenet_errors {ours[0][1]}, and this machine 9 (01234567): install the same")


def test_scheduler_of_an_old_file_is_refused_with_the_name_of_the_file(call, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://127.0.0.1:1"}')
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--scheduler", file, "--wait_for_workers", 1)
    assert refused(call("collect_predictions", *flags), f"tcp://127.0.0.1:1, which {file} names, does not answer")


def test_worker_of_another_python_is_refused(call, in_this_process, tmp_path, monkeypatch):
    first, _, *others = cluster_workers.list_versions()
    monkeypatch.setattr(cluster_run, "list_versions", lambda: (first, ("Python", "2.7"), *others))
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--workers", 0, "--scheduler", in_this_process())
    here = ".".join(map(str, sys.version_info[:2]))
    assert refused(call("collect_predictions", *flags), f"has Python {here}, and this machine 2.7: install the same")


def test_finished_job_is_not_kept_by_its_worker(in_this_process):
    """Else it would run again, if the worker is lost while others run."""
    with Client(in_this_process()) as client:
        queue = JobQueue(client, {}, seconds_to_wait=10)
        queue.wait_for_workers()
        ended = queue.run([Job("a", "key-a", int, ()), Job("b", "key-b", time.sleep, (1,))])
        assert next(ended)[1] == 0
        wait_for(lambda: "key-a" not in client.who_has(), 10)
        assert next(ended)[0].name == "b"


@pytest.mark.heavy
def test_worker_that_sees_another_artefacts_folder_is_refused(models, dask_cluster):
    """Else it would store results where this machine never sees them. Its folder is an empty file system in memory."""
    models.artefacts.mkdir()
    hidden = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {models.artefacts} && exec "$@"', "sh")
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    cluster = dask_cluster()
    cluster.add_worker(prefix=hidden)
    run = models("a", flags=("--scheduler", cluster.file))
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 2
    assert f"has another folder {models.artefacts} than this machine" in stderr.splitlines()[-1]
    run = models("a", flags=("--scheduler", cluster.file, "--no_shared_files"))
    assert run.wait(timeout=120) == 0
    assert read_results(models.artefacts).keys() == {"own--own.a"}


@pytest.mark.heavy
def test_relative_paths_hold_for_a_worker_in_another_folder(models, runs, dask_cluster, tmp_path):
    cluster = dask_cluster()
    cluster.add_worker(prefix=("env", "-C", "/"))
    file, cache, artefacts = (
        os.path.relpath(path, ROOT) for path in (models.folder / "own.py", tmp_path, tmp_path / "a")
    )
    flags = ("--dataset", "sample", "--limit", 2, "--workers", 0, "--cache_dir", cache, "--artefacts_dir", artefacts)
    script = ROOT / "src" / "collect_predictions.py"
    run = runs.start(script, *flags, "--model", f"{file}:a", "--scheduler", os.path.relpath(cluster.file, ROOT))
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 0, stderr
    assert read_results(tmp_path / "a").keys() == {"own--own.a"}


def test_images_that_one_run_names_are_forgotten_by_the_next(monkeypatch):
    monkeypatch.setattr(cluster_workers, "REPLACED", {})
    monkeypatch.delenv("IMAGENET_A_DIR", raising=False)
    monkeypatch.setenv("IMAGENET_DIR", "own")
    cluster_workers.name_images({"IMAGENET_DIR": "shared", "IMAGENET_A_DIR": "shared"})
    assert os.environ["IMAGENET_DIR"] == os.environ["IMAGENET_A_DIR"] == "shared"
    cluster_workers.name_images({})
    assert os.environ["IMAGENET_DIR"] == "own"
    assert "IMAGENET_A_DIR" not in os.environ


def test_scheduler_without_this_package_is_refused(call, in_this_process, tmp_path, monkeypatch):
    monkeypatch.setattr("imagenet_errors.inference.cluster.get_settings", "no function")
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--scheduler", in_this_process())
    assert refused(call("collect_predictions", *flags), "cannot import this package", "install it")


def test_settings_of_a_scheduler_that_notices_losses_late_are_named(call, in_this_process, own, tmp_path):
    """Dask's own settings: five minutes, and four workers."""
    flags = ("--dataset", "sample", "--workers", 0, "--model", *own("good"), "--artefacts_dir", tmp_path / "a")
    stderr = call("collect_predictions", *flags, "--scheduler", in_this_process()).stderr
    assert "a silent worker after 300 to 600 s: set DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=25s" in stderr
    assert "a job to 4 workers, if each is lost: set DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=1" in stderr


def test_cluster_gives_the_predictions_of_one_process(call, in_this_process, own, tmp_path):
    """Failures as well; a second run keeps what the first has stored."""
    address = in_this_process(resources={"GPU": 1})
    where = {"alone": ("--device", "cpu"), "away": ("--scheduler", address, "--resources", "GPU=1")}
    flags = ("--dataset", "sample", "--workers", 0, "--model", *own("good", "short"), "lite0", "--limit", 2)
    for folder, added in where.items():
        outcome = call("collect_predictions", *flags, "--artefacts_dir", tmp_path / folder, *added)
        assert outcome.status == 1, outcome
        assert failures(tmp_path / folder) == {"own/own.short": "it gives (2, 999) for 2 images, not 1000 each"}
    assert read_results(tmp_path / "away").keys() == {"efficientnet_lite--lite0", "own--own.good"}
    assert read_results(tmp_path / "away") == read_results(tmp_path / "alone")
    again = call("collect_predictions", *flags, "--artefacts_dir", tmp_path / "away", *where["away"])
    assert again.stderr.count("kept, it has valid predictions") == 2


@pytest.mark.heavy
@pytest.mark.parametrize("where", ["devices", "scheduler"])
def test_ctrl_c_keeps_finished_work_and_leaves_no_process(models, dask_cluster, where):
    if where == "scheduler":
        cluster = dask_cluster()
        cluster.add_worker()
    flags = ("--devices", "cpu") if where == "devices" else ("--scheduler", cluster.file)
    models.hold("b")
    run = models("a", "b", "c", flags=flags)
    wait_for(lambda: "b" in {name for name, _ in models.log()})
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert stderr.splitlines()[-1].endswith("interrupt: finished work is kept, repeat the command to continue")
    assert "Traceback" not in stderr
    wait_for(lambda: not processes_of(run.pid), 20)
    models.release("b")
    assert "own--own.a" in read_results(models.artefacts)
    assert not list(models.artefacts.rglob("*.tmp"))
    again = models("a", "b", "c", flags=flags)
    assert again.wait(timeout=120) == 0
    assert read_results(models.artefacts).keys() == {f"own--own.{name}" for name in "abc"}
    names = [name for name, _ in models.log()]
    assert [names.count(name) for name in "abc"] == [1, 2 if where == "devices" else 1, 1]  # a running job goes on


@pytest.mark.heavy
def test_lost_scheduler_ends_the_run_in_one_line(models, dask_cluster):
    cluster = dask_cluster()
    cluster.add_worker()
    models.hold("b")
    run = models("a", "b", flags=("--scheduler", cluster.address))
    wait_for(lambda: "b" in {name for name, _ in models.log()})
    cluster.scheduler.kill()
    start = time.monotonic()
    _, stderr = run.communicate(timeout=120)
    assert time.monotonic() - start < 60
    assert run.returncode == 2
    assert "Traceback" not in stderr
    assert "the connection to the scheduler is lost, start it, and repeat the command" in stderr.splitlines()[-1]
    assert read_results(models.artefacts).keys() == {"own--own.a"}
