"""Two runs at once, killed runs and killed workers leave what one undisturbed run makes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import count

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.helpers.archives import MODELS, evaluate, from_pandas, heavy, pack, put


def start(folder, *flags) -> subprocess.Popen:
    where = ("--artefacts_dir", folder, "--results_dir", folder / "results")
    command = [sys.executable, ROOT / "src" / "evaluation.py", *where, *(flags or ("--collect_results",))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def everything(folder) -> dict[str, bytes]:
    """{file: content}, but for locks and archive.json, which holds times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".locks" not in path.parts and path.name != "archive.json"
    }


@pytest.fixture(scope="module")
def undisturbed(few, tmp_path_factory) -> dict:
    """A folder with an archive of a dozen models and two unpacked, what a run makes of it, and in how many seconds."""
    folder = tmp_path_factory.mktemp("undisturbed") / "folder"
    pickles = {model: from_pandas(frame) for model, frame in few.items()}
    packed = {f"imagenet/m--{number:02}/errors_analysis.pkl": pickles[MODELS[number % 2]] for number in range(12)}
    for model, content in pickles.items():
        put(folder, model, content)
    pack(folder / "models-imagenet.tar.gz", packed)
    fresh = shutil.copytree(folder, folder.with_name("fresh"))
    begun = time.perf_counter()
    assert evaluate(folder, "--collect_results").returncode == 0
    return {"fresh": fresh, "files": everything(folder), "seconds": time.perf_counter() - begun}


@pytest.mark.heavy
def test_two_runs_at_once_give_the_result_of_one(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed["fresh"], tmp_path / "folder")
    runs = [start(folder) for _ in range(2)]
    for run in runs:
        _, stderr = run.communicate(timeout=60)
        assert run.returncode == 0, stderr
        assert "Traceback" not in stderr
    assert everything(folder) == undisturbed["files"]


@pytest.mark.parametrize("moment", [2, *heavy(0, 1, 3, 4, 5)])
def test_rerun_after_a_kill_gives_the_result_of_an_undisturbed_run(undisturbed, tmp_path, moment):
    """SIGKILL at some moment; the rerun makes what an undisturbed run makes, byte for byte."""
    folder = shutil.copytree(undisturbed["fresh"], tmp_path / "folder")
    run = start(folder)
    seconds = random.Random(moment).uniform(0.15, 0.7) * undisturbed["seconds"]
    if moment % 2:  # while files are being written
        deadline = time.perf_counter() + 30
        while time.perf_counter() < deadline and len(list(folder.glob("imagenet/*/*.parquet"))) < 2 * moment:
            time.sleep(0.001)
    else:
        time.sleep(seconds)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=30)
    for path in folder.glob("imagenet/*/*.parquet"):
        pq.read_table(path)
    done = evaluate(folder, "--collect_results")
    assert done.returncode == 0, done.stderr
    assert everything(folder) == undisturbed["files"]


@pytest.mark.heavy
def test_killed_worker_ends_in_a_message(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed["fresh"], tmp_path / "folder")
    run = start(folder)
    for _ in count():
        children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
        if children or run.poll() is not None:
            break
    if children:
        os.kill(int(children[0]), signal.SIGKILL)
    _, stderr = run.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert run.returncode in (0, 2)
    assert evaluate(folder, "--collect_results").returncode == 0
    assert everything(folder) == undisturbed["files"]
