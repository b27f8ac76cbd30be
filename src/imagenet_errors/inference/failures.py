"""failures.csv: the models whose last run failed. The processes that work on one folder share it."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagenet_errors import locks
from imagenet_errors.files import read_csv, read_text, write_csv
from imagenet_errors.paths import Artefacts

COLUMNS = ["model_id", "reason", "time", "conditions"]
COLUMNS_OF_VERSION_1 = ["model_id", "reason"]


@dataclass(frozen=True)
class Failure:
    """A row of failures.csv.

    Attributes:
        reason: In one line.
        time: When, in UTC.
        conditions: A hash of the machine and the flags of the run.
    """

    reason: str
    time: str = ""
    conditions: str = ""


def read_failures(path: Path) -> dict[str, Failure]:
    """{model id: failure}, empty where there is no such file. Raises `InputError` for a damaged one."""
    if not path.exists():
        return {}
    is_version_1 = read_text(path).partition("\n")[0].split(",") == COLUMNS_OF_VERSION_1
    rows = read_csv(path, COLUMNS_OF_VERSION_1 if is_version_1 else COLUMNS)
    return {row.pop("model_id"): Failure(**row) for row in rows}


class FailureList:
    """The failures of one dataset's models, as one run sees and changes them.

    Args:
        artefacts: The folder.
        dataset: Of the images.
        conditions: A hash of the machine and the flags of this run.
    """

    def __init__(self, artefacts: Artefacts, dataset: str, conditions: str):
        self.path, self.conditions = artefacts.failures(dataset), conditions
        self.root, self.lock = artefacts.root, f"{dataset}/failures.csv"
        self.before = read_failures(self.path)

    def find_new(self, model_id: str) -> str | None:
        """Why the model failed in another process, under the same conditions, since this run began; else None."""
        failure = read_failures(self.path).get(model_id)
        is_new = failure is not None and failure != self.before.get(model_id)
        return failure.reason if failure and is_new and failure.conditions == self.conditions else None

    def update(self, model_id: str, reason: str | None) -> None:
        """Write why the model failed, or with None that it did not; the rows of other models stay."""
        known = read_failures(self.path).get(model_id)
        if known is None and reason is None:
            return
        if known and known.reason == reason and not os.access(self.path.parent, os.W_OK):  # it only lacks our time
            return
        with locks.locked(self.root, self.lock):
            failures = read_failures(self.path)
            failures.pop(model_id, None)
            if reason is not None:
                failures[model_id] = Failure(reason, datetime.now(UTC).isoformat(), self.conditions)
            rows = [{"model_id": key} | vars(failure) for key, failure in failures.items()]
            write_csv(self.path, COLUMNS, rows)


class FailureListOfClient(FailureList):
    """On a worker of a cluster, which gives failures to its client: that one alone reads and changes the list."""

    def find_new(self, model_id: str) -> None:
        return None

    def update(self, model_id: str, reason: str | None) -> None:
        return None
