"""What is known of a dataset's archive, A/<dataset>/archive.json, so that it is read once."""

import json
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.files import check_schema, fingerprint, read_json, write_json
from imagenet_errors.paths import Artefacts

CONTENTS_SCHEMA = 2


def read_contents(artefacts: Artefacts, dataset: str) -> dict:
    """What is known of the archive: its size and time, and `models`: the sha256 of each model's pickle.

    Raises:
        InputError: where archive.json is missing, damaged, or an earlier version's.
    """
    path = artefacts.archive_contents(dataset)
    contents = read_json(path)
    if not isinstance(contents, dict):
        raise InputError(f"{path} is not a JSON object: remove it")
    check_schema(path, contents.get("schema_version"), CONTENTS_SCHEMA, "remove it")
    if contents.pop("fingerprint", None) != _fingerprint(contents):
        raise InputError(f"{path} is damaged or was written by an earlier version: remove it")
    return contents


def write_contents(artefacts: Artefacts, dataset: str, models: dict[str, str]) -> None:
    """Note what the archive, as it is now, holds: the sha256 of each model's pickle."""
    contents = _describe_state(artefacts.archive(dataset)) | {"models": dict(sorted(models.items()))}
    write_json(artefacts.archive_contents(dataset), contents | {"fingerprint": _fingerprint(contents)})


def _fingerprint(contents: dict) -> str:
    """Of all that archive.json holds besides."""
    return fingerprint(json.dumps(contents, sort_keys=True))


def is_of(contents: dict, archive: Path) -> bool:
    """Whether the contents are of this archive, as it is now."""
    return contents.items() >= _describe_state(archive).items()


def _describe_state(archive: Path) -> dict:
    """What changes when the archive does."""
    status = archive.stat()
    return {"schema_version": CONTENTS_SCHEMA, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
