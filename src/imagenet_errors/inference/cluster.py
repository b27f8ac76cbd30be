"""The Dask cluster of a run: one process a device on this machine, or one that a scheduler's address names."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
import torch
from distributed import Client, Nanny, Scheduler, SpecCluster

from imagenet_errors import processes
from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.files import read_json
from imagenet_errors.inference import predict
from imagenet_errors.inference.cluster_options import ClusterOptions
from imagenet_errors.inference.cluster_workers import DEVICE_VARIABLE, AnyOptions, Place, check_workers
from imagenet_errors.inference.job_queue import JobQueue

log = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
LOST_WORKERS = 2  # after so many lost workers a job is a failure
MOST_SECONDS_OF_SILENCE = 30  # looked at as often, so twice as long may pass
CONFIGURATION = {
    "distributed.scheduler.allowed-failures": LOST_WORKERS - 1,
    "distributed.scheduler.worker-ttl": "25s",  # looked at as often, so a silent worker is lost after 50 s at most
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.admin.large-graph-warning-threshold": "1GB",  # jobs that search for neighbours take arrays along
    "distributed.comm.timeouts.connect": "20s",
    "distributed.comm.timeouts.tcp": "25s",
    "distributed.worker.daemon": False,  # daemons may not start the processes that decode images
    "distributed.nanny.pre-spawn-environ": {},
}


@contextmanager
def open_client(where: ClusterOptions) -> Iterator[Client]:
    """A client of the cluster; what belongs to it ends with the block."""
    opened = (
        connected(where.scheduler, where.wait_for_workers)
        if where.scheduler
        else local_cluster(parse_devices(where.devices or ""))
    )
    with opened as client:
        if client.dashboard_link and find_spec("bokeh"):
            log.info(f"dashboard: {client.dashboard_link}")
        yield client


@contextmanager
def open_queue(where: ClusterOptions, place: Place, workers: int | None) -> Iterator[JobQueue]:
    """A queue for jobs on the cluster; what belongs to it ends with the block.

    Args:
        where: The cluster.
        place: Of the run.
        workers: Processes that decode images, for each worker; None for a number that fits its device.

    Raises:
        InputError: where no worker comes, or one cannot run jobs.
    """
    with place.marked(), open_client(where) as client:
        jobs = JobQueue(client, where.amounts, where.wait_for_workers)
        jobs.wait_for_workers()
        check_workers(client, place, workers)
        yield jobs


def parse_devices(text: str) -> list[str]:
    """The devices of `--devices`, one for each process: `all` GPUs, or names, `cpu*2` for two processes.

    Raises:
        InputError: where one is not here.
    """
    if text == "all":
        count = torch.cuda.device_count()
        if not count:
            raise InputError("--devices all: there is no GPU here; cpu*2 runs two processes on the CPU")
        return [f"cuda:{number}" for number in range(count)]
    devices = []
    for part in text.split(","):
        name, _, times = part.strip().partition("*")
        if not name or (times and not (times.isdecimal() and int(times))):
            raise InputError(f"--devices {text}: {part!r} is not a device such as cuda:0, cpu or cpu*2")
        devices += [name] * int(times or 1)
    for name in set(devices):
        check_device(name)
    return devices


def check_device(name: str) -> None:
    """Raises `InputError` where there is no such device; a GPU is not used for that."""
    if not name.startswith("cuda"):
        predict.choose_device(name)
    elif name.removeprefix("cuda:") not in map(str, range(torch.cuda.device_count())):
        raise InputError(f"--devices: {name} is not here, there are {torch.cuda.device_count()} GPUs")


def describe_workers(devices: list[str]) -> dict[str, dict[str, Any]]:
    """{name: environment} of the process for each device: what it computes on, and with how many threads."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    found, names = {}, Counter[str]()
    for device in devices:
        names[device] += 1
        environment = {DEVICE_VARIABLE: device, "CUDA_VISIBLE_DEVICES": ""}
        if device.startswith("cuda:"):
            environment = {DEVICE_VARIABLE: "cuda", "CUDA_VISIBLE_DEVICES": gpus[int(device.removeprefix("cuda:"))]}
        environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
        found[f"{device} ({names[device]})" if devices.count(device) > 1 else device] = environment
    return found


def share_machine(options: AnyOptions, where: ClusterOptions) -> AnyOptions:
    """How jobs run in each of several processes: with a part of the processes that decode; else as they are.

    Raises:
        InputError: where both `--devices` and `--device` are given, or a device is not here.
    """
    if not where.devices:
        return options
    if options.device:
        raise InputError("--device is for one process: give --devices alone")
    devices, workers = parse_devices(where.devices), options.workers
    if workers is None:
        of_all = predict.default_workers(torch.device(devices[0]))
        workers = max(1, of_all // len(devices)) if devices[0] != "cpu" else of_all // len(devices)
    return replace(options, workers=workers)


def silence_libraries() -> None:
    """Lost connections and workers are told in our own lines, not in tracebacks of these libraries."""
    for name in ("tornado", "asyncio", *logging.root.manager.loggerDict):
        if name.startswith(("distributed", "tornado", "asyncio")):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def local_cluster(devices: list[str]) -> Iterator[Client]:
    """A cluster of one process for each device, which ends with the block."""
    silence_libraries()
    here_alone = {"host": LOCALHOST, "dashboard_address": f"{LOCALHOST}:0"}  # who reaches a port can run code
    nanny = {**here_alone, "nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL, "dashboard": False}
    workers = {
        name: {"cls": Nanny, "options": {**nanny, "env": environment}}
        for name, environment in describe_workers(devices).items()
    }
    scheduler = {
        "cls": Scheduler,
        "options": {**here_alone, "port": 0, "dashboard": True},
    }
    with dask.config.set(CONFIGURATION):
        with processes.signals_blocked():
            cluster = SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL)
            client = Client(cluster)
        with cluster, client:
            yield client


def find_address(scheduler: str) -> str:
    """The address in a scheduler's file, or the address itself. Raises `InputError` for neither."""
    if "://" in scheduler:
        return scheduler
    if not Path(scheduler).exists():
        raise InputError(f"{scheduler} is missing: --scheduler takes tcp://HOST:PORT, or the scheduler's file")
    content = read_json(Path(scheduler))
    if not isinstance(content, dict) or not isinstance(content.get("address"), str):
        raise InputError(f"{scheduler} is not a file of dask scheduler --scheduler-file: it has no address")
    return content["address"]


@contextmanager
def connected(scheduler: str, seconds: float) -> Iterator[Client]:
    """A client of another's cluster.

    Args:
        scheduler: Its address, or the file that it wrote.
        seconds: To wait for its answer.

    Raises:
        InputError: where it does not answer.
    """
    address = find_address(scheduler)
    silence_libraries()
    with dask.config.set(CONFIGURATION):
        try:
            with processes.signals_blocked():
                client = Client(address, timeout=seconds)
        except ValueError as error:
            raise InputError(f"--scheduler {address}: {describe_exception(error)}") from error
        except OSError as error:
            named = "" if address == scheduler else f", which {scheduler} names,"
            raise InputError(
                f"the scheduler {address}{named} does not answer within {seconds:g} s: start it, or correct --scheduler"
            ) from error
        with client:
            try:
                settings = client.run_on_scheduler(get_settings)
            except Exception as error:
                raise InputError(
                    f"the scheduler {address} cannot import this package ({describe_exception(error)}): install it"
                ) from error
            warn_of_settings(*settings)
            yield client


def get_settings(dask_scheduler: Scheduler) -> tuple[float | None, int]:
    """Of a scheduler: seconds after which a silent worker is lost, and lost workers that a job survives."""
    return dask_scheduler.worker_ttl, dask_scheduler.allowed_failures


def warn_of_settings(worker_ttl: float | None, allowed_failures: int) -> None:
    """Log what a scheduler is better told where it is started."""
    if worker_ttl is None or worker_ttl > MOST_SECONDS_OF_SILENCE:
        after = "never" if worker_ttl is None else f"after {worker_ttl:g} to {2 * worker_ttl:g} s"
        log.warning(
            f"the scheduler notices a silent worker {after}: set DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=25s where it"
            " is started"
        )
    if allowed_failures >= LOST_WORKERS:
        log.warning(
            f"the scheduler gives a job to {allowed_failures + 1} workers, if each is lost: set"
            f" DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES={LOST_WORKERS - 1} where it is started"
        )
