"""Folders that cannot be written: what needs no writing works, all else says so in one line."""

import errno
import shutil

import pytest

from imagenet_errors import locks
from tests.faults.test_full_disk import check_told
from tests.helpers.fault_runs import TASKS
from tests.helpers.warm import NO_NAMESPACE, Fault

pytestmark = pytest.mark.heavy

pytest_plugins = ("tests.helpers.tiny_clip", "tests.helpers.fault_runs")
FINISHED = {  # tasks that can be repeated where nothing can be written, and the flag that has results go elsewhere
    "collect": (),
    "embed": (),
    "collect_tables": ("--results_dir",),
    "analyse": (),
    "convert": (),
    "convert_in_place": (),
    "unpack": (),
    "take": (),
    "note_weights": (),
}


def run_read_only(task, folder, where):
    outcome = task.run(folder, Fault("read_only", (str(where),)))
    if outcome.status == NO_NAMESPACE:
        pytest.skip("no file systems can be mounted here")
    return outcome


@pytest.mark.parametrize("name", TASKS)
def test_read_only_folder_is_told_in_one_line(tasks, name, tmp_path):
    task = tasks(name)
    folder = task.folder(tmp_path)
    check_told(run_read_only(task, folder, folder), folder, errno.EROFS)
    assert task.contents(folder) == task.contents(task.before)


@pytest.mark.parametrize("name", FINISHED)
def test_finished_work_is_kept_in_a_read_only_folder(tasks, name, tmp_path):
    """Without locks, too."""
    task = tasks(name)
    folder = task.folder(tmp_path)
    assert task.run(folder).status == task.undisturbed[0]
    for results in FINISHED[name]:
        task = task.but(flags=(*task.flags, results, tmp_path / "elsewhere"))
    shutil.rmtree(folder / locks.FOLDER, ignore_errors=True)
    before = task.contents(folder)
    outcome = run_read_only(task, folder, folder)
    assert outcome.status == task.undisturbed[0], outcome
    assert task.contents(folder) == before
    if FINISHED[name]:
        assert list((tmp_path / "elsewhere").rglob("*.png"))


@pytest.mark.parametrize("name", ["collect_tables"])
def test_read_only_results_cost_no_analyses(tasks, name, tmp_path):
    task = tasks(name)
    folder = task.folder(tmp_path)
    results = folder / "results"
    results.mkdir()
    check_told(run_read_only(task, folder, results), results, errno.EROFS)
    assert len(list(folder.rglob("errors_analysis.parquet"))) == 3
    assert not list(results.iterdir())
    task.check_rerun(folder)


@pytest.mark.parametrize("flag", ["--verify", "--list"])
def test_verify_and_list_write_nothing(tasks, flag, tmp_path):
    task = tasks("take")
    folder = task.folder(tmp_path)
    task.run(folder)
    before = task.contents(folder)
    outcome = run_read_only(task.but(flags=(flag,)), folder, folder)
    assert outcome.status in (0, 1)
    assert "Traceback" not in outcome.stderr
    assert "annotations/vit3b_mistakes.json" in outcome.stdout or flag == "--verify"
    assert task.contents(folder) == before
