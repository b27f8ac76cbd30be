"""A clock that is set back, or was wrong when files were written, has no effect.

The tests set the times of all files and the time that Python tells.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import time

import pytest

from imagenet_errors import files, locks
from imagenet_errors.download import download_file
from imagenet_errors.inference import predict
from imagenet_errors.plots import error_bars
from tests.helpers.http_server import CONTENT
from tests.helpers.one_of_each import collect, evaluate, files_of

pytest_plugins = ("tests.helpers.one_of_each", "tests.helpers.http_server", "tests.helpers.tiny_clip")
YEAR = 365 * 24 * 3600
CLOCKS = [pytest.param(0, id="1970"), pytest.param(YEAR, id="in a year", marks=pytest.mark.heavy)]


@pytest.fixture(params=CLOCKS)
def clock(request, monkeypatch):
    """`clock(folder)` sets the clock, and the times of all files in the folder."""
    shift, begin = request.param, time.time()

    def now() -> float:
        return begin + shift if shift else 0.0

    def change(folder):
        for path in [folder, *folder.rglob("*")]:
            os.utime(path, (now(), now()), follow_symlinks=False)
        monkeypatch.setattr(time, "time", now)
        monkeypatch.setattr(time, "time_ns", lambda: int(now() * 1e9))

    return change


@pytest.fixture
def world(one_of_each, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "imagenet_errors")
    monkeypatch.setattr(error_bars, "draw", lambda *_: None)
    shutil.copytree(one_of_each, tmp_path / "world")
    return tmp_path / "world"


def test_finished_work_is_kept(world, clock, caplog):
    """Analyses, predictions and conversions are kept, and the tables are the same."""
    before = files_of(world)
    clock(world)
    evaluate(world)
    collect(world)
    assert "4 kept" in caplog.text
    assert "kept, it has valid predictions" in caplog.text
    after = files_of(world)
    assert {name for name in after if after[name] != before.get(name)} <= {"artefacts/imagenet/archive.json"}


def test_stale_analysis_is_recomputed_though_it_is_younger(world, clock, caplog):
    """Times decide nothing: contents do."""
    path = world / "artefacts" / "superclasses.json"
    path.write_text(path.read_text().rstrip().removesuffix("}") + ', "another": [["fish"]]}')
    clock(world)
    os.utime(path, (0, 0))
    evaluate(world)
    assert "2 kept" in caplog.text
    assert caplog.text.count("analysed again because its inputs have changed") == 2


def test_another_archive_of_an_older_time_is_read(world, clock, caplog):
    """As a copy that keeps times would be: its size or its time differ."""
    clock(world)
    archive = world / "artefacts" / "models-imagenet.tar.gz"
    os.utime(archive, (archive.stat().st_atime, archive.stat().st_mtime - 7))
    shutil.rmtree(world / "artefacts" / "imagenet" / "old--one")
    evaluate(world)
    assert "1 archived analyses converted" in caplog.text


def test_leftovers_of_the_future_are_removed(tmp_path, clock):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".a.txt.{os.uname().nodename}.{dead.pid}.tmp"
    left.touch()
    clock(tmp_path)
    files.write_text(tmp_path / "a.txt", "whole")
    assert not left.exists()


def test_lock_file_of_the_future_is_free(tmp_path, clock):
    with locks.locked(tmp_path, "imagenet/me"):
        pass
    clock(tmp_path)
    with locks.if_free(tmp_path, "imagenet/me") as mine:
        assert mine


def test_blocks_of_the_future_are_kept(embed, embedded, clock):
    embedded.stop_at = 2
    assert embed("--block", 8, what=["images"]).status == 130
    clock(embed.folder)
    done = list(embedded)
    embedded.clear()
    embedded.stop_at = None
    assert embed("--block", 8, what=["images"]).status == 0
    assert len(done) == 2
    assert not {file for block in done for file in block} & {file for block in embedded for file in block}


def test_download_of_the_future_is_continued(server, waits, tmp_path, clock):
    server.headers, server.breaks_at = {"ETag": '"1"'}, 100_000
    waits.then = lambda: clock(tmp_path)
    download_file(server.url, tmp_path / "file")
    assert server.asked == [None, "bytes=100000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_run_time_is_positive_when_the_clock_is_set_back(world, clock, monkeypatch):
    """The clock is set back while a model runs."""
    metadata = world / "artefacts" / "sample" / "own--own.build" / "metadata.json"
    metadata.unlink()
    whole = predict.take_top_predictions
    monkeypatch.setattr(predict, "take_top_predictions", lambda *arguments: clock(world) or whole(*arguments))
    collect(world)
    assert 0 < json.loads(metadata.read_text())["preds_comp_time"] < 60
