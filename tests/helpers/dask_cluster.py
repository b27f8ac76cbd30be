"""A Dask scheduler and workers as processes of their own, as a user starts them, or all in the process of a test.

Test modules get the fixture through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster

from tests.helpers.processes import wait_for

SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "25s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "25s",
    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
    "OMP_NUM_THREADS": "1",
}


class Cluster:
    """A scheduler, and the workers that `add_worker` starts.

    Args:
        runs: Starts processes.
        folder: For the scheduler's file and what workers keep.
        host: The address of the scheduler.
        prefix: Of its command, e.g. to run it in a network namespace.
    """

    def __init__(self, runs, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()):
        self.runs, self.folder, self.file = runs, folder, folder / "scheduler.json"
        where = ("--host", host, "--port", 0, "--scheduler-file", self.file, "--no-dashboard")
        self.scheduler = runs.start("-m", "distributed.cli.dask_scheduler", *where, prefix=prefix, **SETTINGS)
        wait_for(self.file.exists)

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    def add_worker(self, *flags: str, prefix: tuple[str, ...] = (), **environment: str):
        """A worker of one thread without a nanny, so that its process is the one that runs jobs."""
        where = ("--scheduler-file", self.file, "--no-nanny", "--no-dashboard", "--local-directory", self.folder)
        command = ("-m", "distributed.cli.dask_worker", *where, "--nthreads", 1, *flags)
        return self.runs.start(*command, prefix=prefix, **SETTINGS | environment)


TIMES = {"preds_comp_time"}


def read_results(artefacts):
    """{model: (arrays, metadata without times)} of the sample."""
    found = {}
    for path in sorted((artefacts / "sample").glob("*/preds.npz")):
        with np.load(path) as archive:
            arrays = {name: (archive[name].dtype.str, archive[name].tobytes()) for name in archive}
        metadata = json.loads((path.parent / "metadata.json").read_text())
        found[path.parent.name] = arrays, {key: metadata[key] for key in metadata.keys() - TIMES}
    return found


@pytest.fixture
def dask_cluster(runs, tmp_path):
    """`dask_cluster()` starts a scheduler."""
    folder = tmp_path / "dask"
    folder.mkdir()
    return lambda **where: Cluster(runs, folder, **where)


@pytest.fixture
def in_this_process():
    """A cluster within this process: `in_this_process(nthreads=2)` gives its address."""
    with ExitStack() as stack:

        def start(n_workers=1, **worker):
            flags = {"threads_per_worker": 1} | worker
            settings = {
                "n_workers": n_workers,
                "processes": False,
                "protocol": "tcp",
                "dashboard_address": "127.0.0.1:0",
            }
            return stack.enter_context(LocalCluster(**settings, **flags)).scheduler_address

        yield start
