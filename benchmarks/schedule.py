"""How well jobs fill the workers of a cluster: fake jobs, which sleep, of the lengths of the paper's 962 models.

The submission is that of a real run. The lengths are the estimates by which a run is ordered, each changed by a random
factor, because estimates are wrong; they are scaled so that every run takes about SECONDS.
"""

import os
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from imagenet_errors.models.model_table import load_records
from imagenet_errors.paths import MODELS, REPOSITORY, Artefacts

if TYPE_CHECKING:  # the workers import this file, and need no torch
    from imagenet_errors.inference.job_order import Planned

NUM_WORKERS = 8
SECONDS = 120.0  # of a run without any loss: sum of lengths / NUM_WORKERS
SPREAD = 0.3  # of the logarithm of true over estimated lengths
STRAGGLERS, FACTOR = 0.02, 3.0  # the share of jobs that take this many times as long
MOST = 1.1  # times the lower bound


def draw_lengths(planned: "list[Planned]", straggling: float) -> np.ndarray:
    """[M] seconds that each job takes."""
    generator = np.random.default_rng(0)
    lengths = np.array([job.length for job in planned]) * np.exp(generator.normal(0, SPREAD, len(planned)))
    lengths[generator.random(len(planned)) < straggling] *= FACTOR
    return lengths * SECONDS * NUM_WORKERS / lengths.sum()


def run(planned: "list[Planned]", lengths: np.ndarray, kills: int) -> float:
    """Seconds until all jobs have run, while this many workers are killed on the way; lost jobs run again."""
    from imagenet_errors.inference.cluster import local_cluster
    from imagenet_errors.inference.job_queue import Job, JobQueue

    with local_cluster(["cpu"] * NUM_WORKERS) as client:
        jobs = JobQueue(client, {}, 60)
        jobs.wait_for_workers()
        client.wait_for_workers(NUM_WORKERS)
        pids = list(client.run(os.getpid).values())
        timers = [
            threading.Timer(SECONDS * (number + 1) / (kills + 1), partial(os.kill, pids[number], signal.SIGKILL))
            for number in range(kills)
        ]
        start = time.perf_counter()
        for timer in timers:
            timer.start()
        done = [
            job.name
            for job, _ in jobs.run(
                Job(each.record.model_id, f"sleep-{each.record.model_id}", time.sleep, (length,))
                for each, length in zip(planned, lengths.tolist(), strict=True)
            )
        ]
        seconds = time.perf_counter() - start
    assert sorted(done) == sorted(each.record.model_id for each in planned), "a job is lost, or ran twice"
    return seconds


def main() -> None:
    from imagenet_errors.inference.job_order import plan

    artefacts = Artefacts(REPOSITORY / "artefacts")
    planned = plan(artefacts, load_records(artefacts, MODELS), use_test_size=False, seconds={})
    assert all(np.isfinite(job.length) for job in planned)
    print(f"{len(planned)} jobs on {NUM_WORKERS} workers; lower bound = max(sum / workers, longest job)")
    for name, straggling, kills in (("plain", 0, 0), ("stragglers", STRAGGLERS, 0), ("a worker killed", 0, 1)):
        lengths = draw_lengths(planned, straggling)
        bound = max(lengths.sum() / NUM_WORKERS, lengths.max())
        seconds = run(planned, lengths, kills)
        print(f"{name}: longest {lengths.max():.1f} s, bound {bound:.1f} s, took {seconds:.1f} s")
        print(f"  {seconds / bound:.3f} times the bound")
        assert seconds <= MOST * bound


if __name__ == "__main__":
    main()
