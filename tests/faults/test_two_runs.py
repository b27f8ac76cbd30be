"""Two runs of one command that begin at the same moment: both end well, and leave what one would have left."""

import re

import pytest

from tests.helpers.fault_runs import Task
from tests.helpers.warm import Fault
from tests.test_download_artefacts import CONTENTS, write_downloads

pytestmark = pytest.mark.heavy

pytest_plugins = ("tests.helpers.tiny_clip", "tests.helpers.fault_runs", "tests.helpers.http_server")
PAIRS = 5  # of each task
NAMES = (
    *("collect", "collect_with_workers", "collect_again", "embed", "analyse", "convert", "convert_in_place"),
    *("collect_tables", "compare", "export", "unpack", "take", "note_weights", "summary", "committed"),
)


def run_both(task: Task, tmp_path, number: int = 0) -> list:
    """Two runs that wait for each other to begin; returns what became of them."""
    folder, begin = task.folder(tmp_path, str(number)), tmp_path / f"begin {task.name} {number}"
    runs = [task.start(folder, Fault("wait_for", (str(begin),))) for _ in range(2)]
    begin.touch()
    ends = [task.warm.wait(run) for run in runs]
    for end in ends:
        assert "Traceback" not in end.stderr
    together, alone = task.contents(folder), task.undisturbed[1]
    assert not {name for name in together | alone if together.get(name) != alone.get(name)}
    return ends


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_leave_what_one_leaves(tasks, name, tmp_path):
    task = tasks(name)
    for number in range(PAIRS):
        ends = run_both(task, tmp_path, number)
        assert [end.status for end in ends] == [task.undisturbed[0]] * 2, ends


def test_two_runs_share_the_models(tasks, tmp_path):
    ends = run_both(tasks("analyse"), tmp_path)
    assert [end.status for end in ends] == [0, 0]
    analysed = [re.search(r"(\d+) analysed", end.stderr) for end in ends]
    assert sum(int(found[1]) for found in analysed if found) == 3


def test_two_downloads_of_a_file_do_not_mix(warm, server, tmp_path):
    """One of them fetches a file; the other says who is at it, or finds it there."""
    server.files, server.content = {f"/{what}": content for what, content in CONTENTS.items()}, None
    (tmp_path / "before").mkdir()
    write_downloads(tmp_path / "before", server)
    flags = ("--what", "annotations", "mistakes", "tables", "logits")
    task = Task(warm, "fetch", tmp_path / "before", "download_artefacts", flags, {"no_proxy": "*"})
    for count in range(PAIRS):
        folder, begin = task.folder(tmp_path, str(count)), tmp_path / f"begin {count}"
        runs = [task.start(folder, Fault("wait_for", (str(begin),))) for _ in range(2)]
        begin.touch()
        for end in [warm.wait(run) for run in runs]:
            assert "Traceback" not in end.stderr
            assert end.status == 0 or "is being written by another process: wait until it has finished" in end.stderr
        task.check_rerun(folder)
