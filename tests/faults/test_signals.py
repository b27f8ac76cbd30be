"""Signals and killed workers: one line, the documented status, no process and no temporary file is left."""

import os
import signal

import pytest

from imagenet_errors import processes, signals
from imagenet_errors.errors import InputError
from tests.conftest import ROOT
from tests.helpers.processes import processes_of, wait_for

pytest_plugins = ("tests.helpers.processes", "tests.helpers.slow_models")
SCRIPTS = sorted(path.stem for path in (ROOT / "src").glob("*.py"))


def check_stopped(run, number: int) -> str:
    """The run ends with its line and status, and leaves no process; returns what it printed to standard error."""
    out, err = run.communicate()
    assert run.returncode == 128 + number, err
    last = err.splitlines()[-1]
    assert ".py: error: " in last
    assert last.endswith("finished work is kept, repeat the command to continue")
    assert "Traceback" not in out + err
    wait_for(lambda: not processes_of(run.pid))
    return err


@pytest.mark.parametrize(
    ("script", "number"),
    [
        ("evaluation", signal.SIGINT),
        *(pytest.param(script, number, marks=pytest.mark.heavy) for script in SCRIPTS for number in signals.SIGNALS),
    ],
)
def test_signal_while_imports_run_is_one_line(runs, script, number):
    """After each module that is imported, from our first one on, until the script itself begins."""
    first = "| imagenet_errors\n"
    for skipped in (0, 5, 20, 60, 100, 150):
        run = runs.start("-X", "importtime", ROOT / "src" / f"{script}.py", "--help")
        while (line := run.stderr.readline()) and not line.endswith(first):
            pass
        assert line
        for _ in range(skipped):
            run.stderr.readline()
        run.send_signal(number)
        if run.wait() != 0:  # it may have printed its help by then
            check_stopped(run, number)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.killpg), (signal.SIGHUP, os.kill)],
    ids=["Ctrl-C", "SIGTERM to all", "SIGHUP to one"],
)
def test_stopped_predictions_are_continued(models, number, send):
    models.hold("b")
    run = models("a", "b", "c", workers=2, dataset=("--dataset", "sample"))
    wait_for(lambda: len(models.log()) == 2)  # it is at b
    send(run.pid, number)
    check_stopped(run, number)
    assert not list(models.artefacts.rglob("*.tmp"))
    models.release("b")
    again = models("a", "b", "c", dataset=("--dataset", "sample"))
    _, err = again.communicate()
    assert again.returncode == 0
    assert "own.a: kept" in err


@pytest.mark.heavy
def test_stopped_figures_are_not_half_written(runs, tmp_path):
    flags = ("--results_dir", tmp_path, "--stats_dir", ROOT, "--format", "png", "--jobs", 2)
    run = runs.start(ROOT / "src" / "utils_plot.py", *flags)
    wait_for(lambda: list(tmp_path.rglob("*.png")))
    os.killpg(run.pid, signal.SIGINT)
    assert check_stopped(run, signal.SIGINT).splitlines()[-1].startswith("utils_plot.py: error: interrupt")
    assert not list(tmp_path.rglob("*.tmp"))


def test_workers_end_with_a_killed_run(runs, tmp_path):
    code = (
        "import time; from imagenet_errors import processes\n"
        "with processes.pool(2) as workers:\n"
        f"    workers.submit(open, {str(tmp_path / 'begun')!r}, 'w').exception()\n"
        "    [workers.submit(time.sleep, 600) for _ in range(2)][0].result()"
    )
    run = runs.start("-c", code)
    wait_for((tmp_path / "begun").exists)
    assert len(processes_of(run.pid)) == 3
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    wait_for(lambda: not processes_of(run.pid))


def test_killed_worker_of_a_pool_is_an_input_error():
    with pytest.raises(InputError, match="try fewer --jobs"), processes.pool(2) as workers:
        workers.submit(os._exit, 1).result()


def test_ignored_signal_stays_ignored():
    """As SIGHUP is under nohup."""
    before = {number: signal.getsignal(number) for number in (*signals.SIGNALS, signal.SIGCHLD)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signals.stop_on_signals()
        with pytest.raises(signals.Stopped):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
