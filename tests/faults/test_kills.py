"""Runs that are killed at any moment: the same command goes on, and leaves what an undisturbed run leaves."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress

import pytest

from tests.helpers.fault_runs import Task
from tests.helpers.warm import Fault
from tests.test_download_artefacts import CONTENTS, write_downloads

pytestmark = pytest.mark.heavy

pytest_plugins = ("tests.helpers.tiny_clip", "tests.helpers.fault_runs", "tests.helpers.http_server")
KILLS = 50  # of each task, at random moments
CALLS = 10  # of the file system that each task is killed at
STEPS = 8  # of a chain: in each the run comes so much farther
KILLED = {  # the tasks, and their share of KILLS
    "collect": 0.5,
    "collect_with_workers": 0.5,
    "embed": 1,
    "analyse": 1,
    "convert": 0.5,
    "convert_in_place": 0.5,
    "collect_tables": 1,
}


def moments(task: Task, number: int) -> list[tuple[float, bool]]:
    """When to kill, in seconds, one moment in each part of an undisturbed run; and whether to kill its workers too."""
    rng = random.Random(f"{task.name} {number}")
    return [((part + rng.random()) / number * task.seconds, rng.random() < 0.5) for part in range(number)]


def kill(task: Task, folder, seconds: float, with_workers: bool) -> int:
    """The exit status: -9, or another where the run was done by then. No worker is left."""
    run = task.start(folder)
    time.sleep(seconds)
    with suppress(ProcessLookupError):  # it has ended
        (os.killpg if with_workers else os.kill)(run, signal.SIGKILL)
    return task.warm.wait(run).status


def kill_and_rerun(task: Task, tmp_path, number: int) -> None:
    for count, (seconds, with_workers) in enumerate(moments(task, number)):
        folder = task.folder(tmp_path, str(count))
        while kill(task, folder, seconds, with_workers) != -signal.SIGKILL:  # it was done by then
            seconds *= 0.8
            shutil.rmtree(folder)
            folder = task.folder(tmp_path, str(count))
        task.check_whole(folder)
        task.check_rerun(folder)


@pytest.mark.parametrize("name", KILLED)
def test_run_killed_at_any_moment_is_continued(tasks, name, tmp_path):
    kill_and_rerun(tasks(name), tmp_path, int(KILLS * KILLED[name]))


@pytest.mark.parametrize("name", KILLED)
def test_run_killed_before_any_call_of_the_system_is_continued(tasks, name, tmp_path):
    """Right before a file is opened, renamed, removed or synchronised."""
    task = tasks(name)
    for call in task.calls(tmp_path, CALLS, removals=True):
        folder = task.folder(tmp_path, str(call))
        status = task.run(folder, Fault("kill_at_call", (str(folder), call))).status
        assert status in (-signal.SIGKILL, task.undisturbed[0])  # two workers may make a call more, or a call less
        task.check_whole(folder)
        task.check_rerun(folder)


def test_run_killed_while_it_removes_blocks_is_continued(tasks, tmp_path):
    task, parts = tasks("embed"), "train_clip_embeddings.parts"
    folder = task.folder(tmp_path)
    last = task.calls(tmp_path, 2, removals=True, below=parts)[-1]
    assert task.run(folder, Fault("kill_at_call", (str(folder / parts), last - 2))).status == -signal.SIGKILL
    assert (folder / "train_clip_embeddings.npz").exists()
    task.check_whole(folder)
    task.check_rerun(folder)


def chain(task: Task, folder) -> int:
    """Kill a run, and its reruns, ever later, until one is done; returns how many were killed."""
    for step in range(1, 10 * STEPS):  # a rerun has less to do
        status = kill(task, folder, step / STEPS * task.seconds, with_workers=step % 2 == 0)
        task.check_whole(folder)
        if status != -signal.SIGKILL:
            break
    task.check_rerun(folder)
    return step - 1


@pytest.mark.parametrize("name", KILLED)
def test_run_killed_again_and_again_ends(tasks, name, tmp_path):
    task = tasks(name)
    assert chain(task, task.folder(tmp_path)) > 1


def test_killed_download_is_continued(warm, server, tmp_path):
    """All files of a server on this machine, and its archive unpacked."""
    server.files, server.content = {f"/{what}": content for what, content in CONTENTS.items()}, None
    (tmp_path / "before").mkdir()
    write_downloads(tmp_path / "before", server)
    flags = ("--what", "all")
    task = Task(warm, "fetch", tmp_path / "before", "download_artefacts", flags, {"no_proxy": "*"})
    kill_and_rerun(task, tmp_path, KILLS)
