"""The flags that say on which devices or machines jobs are run: of models, or of blocks of images."""

import re
from argparse import Namespace
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.util import find_spec

from imagenet_errors.errors import InputError

AMOUNT = re.compile(r"[^=]+=(?=.*[1-9])\d+(\.\d+)?")  # NAME=AMOUNT above 0


@dataclass(frozen=True)
class ClusterOptions:
    """Where jobs run, and what they ask of a worker: flags of the scripts.

    Attributes:
        devices: Of this machine, a process each, as `parse_devices` takes them; or
        scheduler: the address of a Dask scheduler, or the file that it wrote.
        resources: `NAME=AMOUNT` that a job takes of its worker.
        no_shared_files: Whether workers have images of their own, and give their results back.
        wait_for_workers: Seconds for a worker to come, at the start and when all are lost.
    """

    devices: str | None = None
    scheduler: str | None = None
    resources: tuple[str, ...] = ()
    no_shared_files: bool = False
    wait_for_workers: int = 60

    def __post_init__(self) -> None:
        """Raises `InputError` for flags that are malformed or do not go together, and where Dask is missing."""
        if self.devices and self.scheduler:
            raise InputError("--devices is for this machine, --scheduler for a cluster: give one of them")
        if (self.resources or self.no_shared_files) and not self.scheduler:
            raise InputError("--resources and --no_shared_files go with --scheduler")
        if not all(map(AMOUNT.fullmatch, self.resources)):
            raise InputError(f"--resources {' '.join(self.resources)}: write NAME=AMOUNT, e.g. GPU=1")
        if self.is_used and not find_spec("distributed"):
            raise InputError("--devices and --scheduler need Dask: pip install -r requirements-dask.txt")

    @classmethod
    def from_flags(cls, flags: Namespace) -> "ClusterOptions":
        """Those of a script."""
        return cls(**{flag.name: getattr(flags, flag.name) for flag in fields(cls)})

    @property
    def is_used(self) -> bool:
        """Whether there is a cluster."""
        return bool(self.devices or self.scheduler)

    @cached_property
    def amounts(self) -> dict[str, float]:
        """{name of the resource: amount}."""
        pairs = (text.partition("=") for text in self.resources)
        return {name: float(amount) for name, _, amount in pairs}
