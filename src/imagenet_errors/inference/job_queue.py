"""Jobs on a Dask cluster: submission, results, lost workers, the end.

No more jobs are submitted than the workers can run at once, so that they run in the order in which they are given, and
that a lost worker has one job, the one that it ran: no other is suspected of having ended it.
"""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker

from imagenet_errors.errors import InputError, ModelError, describe_exception, describe_os_error

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 2  # at the workers, while no job ends
CONTINUE = "start it, and repeat the command to continue: finished work is kept"


@dataclass(frozen=True)
class Job:
    """What a worker is to do.

    Attributes:
        name: For messages, e.g. that of the model.
        key: What it computes: jobs of the same key are the same. Its part before the first hyphen names their kind.
        function: What the worker calls.
        arguments: With what.
    """

    name: str
    key: str
    function: Callable
    arguments: tuple


class JobQueue:
    """The jobs of one run.

    Args:
        client: Of the cluster.
        resources: {name: amount} that each job takes of its worker.
        seconds_to_wait: For a worker, at the start and when all are lost.
    """

    def __init__(self, client: Client, resources: Mapping[str, float], seconds_to_wait: float):
        self.client, self.resources, self.seconds_to_wait = client, dict(resources), seconds_to_wait
        self.running: dict[str, tuple[Job, Future]] = {}  # by key
        self.ended: queue.Queue[Future] = queue.Queue()
        self.workers: list[dict] = []  # as they were at the last look
        self.last_look = self.last_worker = time.monotonic()

    def wait_for_workers(self) -> None:
        """Raises `InputError` where no worker comes, or none has the resources."""
        while not self.workers:
            self._check_connection()
            time.sleep(0.1)
        if not count_at_once(self.workers, self.resources):
            has = sorted({describe_resources(worker["resources"]) for worker in self.workers})
            raise InputError(
                f"no worker has {describe_resources(self.resources)}, they have {' | '.join(has)}: start them with"
                " --resources"
            )

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """Yields every job with what it returned, in the order in which they end.

        For a job that was running on too many lost workers, that is the `ModelError` that says so.

        Raises:
            InputError: where the cluster is lost, or a job raises anything.
        """
        waiting = deque(jobs)
        with self._told_of_lost_workers():
            while waiting or self.running:
                self._submit(waiting)
                try:
                    future = self.ended.get(timeout=SECONDS_BETWEEN_LOOKS)
                except queue.Empty:
                    continue
                job, _ = self.running.pop(str(future.key))
                self._submit(waiting)  # before its result is fetched: no worker waits for that
                result = self._get_result(job, future)
                future.release()  # else it runs again, if the worker that keeps its result is lost
                yield job, result

    def _check_connection(self) -> None:
        """Look at the workers.

        Raises:
            InputError: where the scheduler is lost, or there has been no worker for the stated time.
        """
        self.last_look = time.monotonic()
        if self.client.status != "running":  # it would connect again, but to a scheduler that has dropped the jobs
            raise InputError(f"the connection to the scheduler is lost, {CONTINUE}")
        self.workers = list(self.client.scheduler_info(n_workers=-1)["workers"].values())
        if self.workers:
            self.last_worker = self.last_look
        elif self.last_look - self.last_worker > self.seconds_to_wait:
            raise InputError(
                f"no worker has been connected for {self.seconds_to_wait:g} s (--wait_for_workers), {CONTINUE}"
            )

    def _submit(self, waiting: deque[Job]) -> None:
        """Submit as many jobs as the workers are free for; one where there is no worker now."""
        if time.monotonic() - self.last_look > SECONDS_BETWEEN_LOOKS:
            self._check_connection()
        while waiting and len(self.running) < max(1, count_at_once(self.workers, self.resources)):
            job = waiting.popleft()
            future = self.client.submit(job.function, *job.arguments, key=job.key, resources=self.resources or None)
            self.running[job.key] = job, future
            future.add_done_callback(self.ended.put)

    def _get_result(self, job: Job, future: Future) -> Any:
        try:
            return future.result()
        except InputError:
            raise
        except KilledWorker as error:
            lost = error.allowed_failures + 1
            return ModelError(f"{lost} workers were lost while they ran it, perhaps for lack of memory")
        except CancelledError:
            self._check_connection()
            raise InputError(f"the cluster cancelled {job.name}: repeat the command to continue") from None
        except OSError as error:
            raise InputError(f"{job.name}, on a worker: {describe_os_error(error)}") from error
        except Exception as error:
            raise InputError(f"{job.name}: its worker fails ({describe_exception(error)})") from error

    @contextmanager
    def _told_of_lost_workers(self) -> Iterator[None]:
        """Log which workers are lost meanwhile; at the end cancel the jobs that are left."""
        self.client.subscribe_topic("all", self._tell_of_lost_worker)
        try:
            yield
        finally:
            if self.client.status == "running":
                self.client.unsubscribe_topic("all")
                self.client.cancel([future for _, future in self.running.values()], force=True)

    def _tell_of_lost_worker(self, event: tuple[float, Any]) -> None:
        _, what = event
        if not isinstance(what, dict) or what.get("action") != "remove-worker" or what["expected"]:
            return
        for key in what["processing-tasks"]:
            if key in self.running:
                log.warning(f"{self.running[key][0].name}: its worker {what['worker']} is lost")


def count_at_once(workers: Iterable[dict], resources: Mapping[str, float]) -> int:
    """How many jobs the workers can run at once, as many as threads and resources allow each.

    Args:
        workers: As `Client.scheduler_info` describes them.
        resources: {name: amount} that a job takes.
    """
    return sum(
        int(min([worker["nthreads"], *(worker["resources"].get(name, 0) // each for name, each in resources.items())]))
        for worker in workers
    )


def describe_resources(resources: Mapping[str, float]) -> str:
    """`GPU=1, MEMORY=8`, or `nothing`."""
    return ", ".join(f"{name}={amount:g}" for name, amount in sorted(resources.items())) or "nothing"
