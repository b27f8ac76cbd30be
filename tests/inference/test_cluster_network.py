"""Models on workers in another network namespace, whose link goes down and up."""

import time

import pytest

from tests.helpers.dask_cluster import read_results
from tests.helpers.processes import wait_for

pytest_plugins = (
    "tests.helpers.dask_cluster",
    "tests.helpers.networks",
    "tests.helpers.processes",
    "tests.helpers.slow_models",
)


@pytest.mark.heavy
@pytest.mark.parametrize("flags", [(), ("--no_shared_files",)], ids=["shared files", "own files"])
def test_cut_connection_is_noticed_within_a_minute_and_loses_no_model(models, dask_cluster, link, tmp_path, flags):
    """The far worker is cut off while it runs a model, which the near one runs again; later both are there."""
    cluster = dask_cluster(host=link.ADDRESS, prefix=link.near)
    workers = {str(cluster.add_worker(prefix=prefix).pid): prefix for prefix in (link.near, link.far)}
    for name in "ab":
        models.hold(name)
    run = models(*"abcd", flags=("--scheduler", cluster.file, *flags), prefix=link.near)
    wait_for(lambda: {name for name, _ in models.log()} == {"a", "b"})
    at = {workers[process]: name for name, process in models.log()}
    link.set("down")
    start = time.monotonic()
    models.release(at[link.near])
    lines = iter(run.stderr.readline, "")
    lost = next(line for line in lines if "is lost" in line)
    print(f"noticed after {time.monotonic() - start:.0f} s")
    assert time.monotonic() - start < 60
    assert lost.startswith(f"own/own.{at[link.far]}: its worker tcp://10.231.7.2:")
    link.set("up")
    models.release(at[link.far])
    stdout, stderr = run.communicate(timeout=300)
    assert run.returncode == 0, stderr
    told = [line.split(":")[0] for line in stdout.splitlines()]
    assert len(told) == len(set(told))
    alone = models(*"abcd", artefacts=tmp_path / "alone")
    assert alone.wait() == 0
    assert read_results(models.artefacts) == read_results(tmp_path / "alone")
    assert len(read_results(models.artefacts)) == 4
