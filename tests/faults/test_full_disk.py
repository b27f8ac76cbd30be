"""Disks that are full or fail, at every writer: what was there stays, nothing is half-written, one line says why.

A full disk is a small file system in memory, seen by the run alone; other failures are calls that the system refuses.
"""

import errno
import os

import pytest

from imagenet_errors.errors import ADVICE
from tests.helpers.fault_runs import TASKS, Task, is_temporary
from tests.helpers.warm import NO_NAMESPACE, Fault
from tests.test_download_artefacts import CONTENTS, write_downloads

pytestmark = pytest.mark.heavy

pytest_plugins = ("tests.helpers.tiny_clip", "tests.helpers.fault_runs", "tests.helpers.http_server")
PAGE = 4096
FILLINGS = 6  # of the disk for each task, from a page to nearly all that it needs
CALLS = 8  # of the file system that are refused in each task
NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def pages(task: Task) -> int:
    """How many more the task needs, roughly."""
    before = task.contents(task.before)
    new = [name for name, content in task.undisturbed[1].items() if content != before.get(name)]
    return sum(-(-len(task.undisturbed[1][name]) // PAGE) + 1 for name in new)


def check_told(outcome, folder, number: int) -> None:
    """Status 2, and a last line that names a file and says what to do."""
    last = outcome.stderr.splitlines()[-1]
    assert outcome.status == 2, outcome
    assert "Traceback" not in outcome.stderr
    assert ": error: " in last
    assert f"{folder}/" in last
    assert last.endswith(f"{os.strerror(number)}: {ADVICE[number]}")


def check_tidy(task: Task, folder) -> None:
    """Nothing temporary is left but what the next run goes on from."""
    left = [name for name in task.contents(folder) if is_temporary(name)]
    assert not [name for name in left if name.endswith(".tmp")]
    task.check_whole(folder)
    task.check_rerun(folder)


def fill(task: Task, tmp_path, room: int) -> bool:
    """Run it on a disk with so many pages left; returns whether that was enough."""
    folder, saved = task.folder(tmp_path, str(room)), tmp_path / f"{task.name} saved {room}"
    outcome = task.run(folder, Fault("without_reserve"), Fault("small_disk", (str(folder), room, str(saved))))
    if outcome.status == NO_NAMESPACE:
        pytest.skip("no file systems can be mounted here")
    if outcome.status != task.undisturbed[0]:
        check_told(outcome, folder, errno.ENOSPC)
    check_tidy(task, saved)
    return outcome.status == task.undisturbed[0]


@pytest.mark.parametrize("name", TASKS)
def test_full_disk_costs_nothing_that_was_there(tasks, name, tmp_path):
    task = tasks(name)
    rooms = sorted({max(1, part * pages(task) // FILLINGS) for part in range(FILLINGS)})
    enough = [fill(task, tmp_path, room) for room in rooms]
    assert not enough[0]


def refuse(task: Task, tmp_path, number: int, first: int) -> bool:
    """Have the system refuse a call, and all later ones unless the fault is a passing one; whether that was felt."""
    folder = task.folder(tmp_path, f"{number} {first}")
    fault = Fault("fail_calls", (str(folder), number, first, number == errno.EIO))
    outcome = task.run(folder, Fault("without_reserve"), fault)
    if outcome.status != task.undisturbed[0]:
        check_told(outcome, folder, number)
    check_tidy(task, folder)
    return outcome.status != task.undisturbed[0]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ["summary", "take"])
def test_every_refused_call_is_told(tasks, name, number, tmp_path):
    """Each in turn; the last is a folder that cannot be synchronised, as on some file systems."""
    task = tasks(name)
    felt = [refuse(task, tmp_path, number, call) for call in task.calls(tmp_path, 1000, removals=False)]
    assert felt.count(True) > 3
    assert not felt[-1]


@pytest.mark.parametrize("name", TASKS)
def test_refused_call_costs_nothing_that_was_there(tasks, name, tmp_path):
    """One call after another, and farther and farther on; the errors take turns."""
    task = tasks(name)
    if name == "collect_again":
        task = task.but(replaced=tuple(key for key in task.undisturbed[1] if key.endswith("preds.npz")))
    calls = task.calls(tmp_path, CALLS, removals=False)
    felt = [refuse(task, tmp_path, NUMBERS[count % len(NUMBERS)], call) for count, call in enumerate(calls)]
    assert sum(felt) > 2


@pytest.mark.parametrize("room", [1, 2, 3, 4])
def test_download_that_fills_the_disk_is_continued(warm, server, tmp_path, room):
    server.files, server.content = {f"/{what}": content for what, content in CONTENTS.items()}, None
    (tmp_path / "before").mkdir()
    write_downloads(tmp_path / "before", server)
    flags = ("--what", "my_logits")
    fill(Task(warm, "fetch", tmp_path / "before", "download_artefacts", flags, {"no_proxy": "*"}), tmp_path, room)
