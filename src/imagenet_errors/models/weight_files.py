"""Which files hold a model's weights, and which of them are in the caches of the libraries; nothing here downloads.

The caches are Hugging Face's (`HF_HOME`) and torch's (`TORCH_HOME`).
"""

import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlparse

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv
from imagenet_errors.paths import WEIGHT_FILES, Artefacts

COLUMNS = ["model_id", "location", "address", "file_names"]
SEPARATOR = "; "  # of file_names


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
        """As `huggingface_hub.try_to_load_from_cache`, whose import takes 0.3 s."""
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}"
        main = folder / "refs" / "main"
        snapshot = folder / "snapshots" / (main.read_text() if main.is_file() else "main")
        return next((snapshot / name for name in self.names if (snapshot / name).is_file()), None)


@dataclass(frozen=True)
class UrlFile:
    """A file in the `checkpoints/` of torch.hub."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def host(self) -> str:
        return "{0.scheme}://{0.netloc}".format(urlparse(self.url))

    @property
    def path(self) -> Path:
        return torch_hub_dir() / "checkpoints" / Path(urlparse(self.url).path).name

    def cached(self) -> Path | None:
        return self.path if self.path.is_file() else None


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
        branches = (torch_hub_dir() / f"{folder}_{branch}" for branch in ("main", "master"))
        return next((path for path in branches if (path / "hubconf.py").is_file()), None)


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
        folders = (spec and spec.submodule_search_locations) or []
        return next((path for folder in folders for path in (Path(folder) / "models").glob("*.pth")), None)


WeightFile = HubFile | UrlFile | HubCode | PackageFile
LOCATIONS = {"hub": HubFile, "url": UrlFile, "code": HubCode, "package": PackageFile}


def torch_hub_dir() -> Path:
    """`torch.hub.get_dir()`, without importing torch."""
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    return Path(os.getenv("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub"


def missing(files: Iterable[WeightFile]) -> list[WeightFile]:
    """Those that are not on this machine."""
    return [file for file in files if file.cached() is None]


def read_weight_files(artefacts: Artefacts) -> dict[str, list[WeightFile]]:
    """{model id: the files it needs} of the models in weight_files.csv, which make_artefacts.py writes.

    A row is one file. Its columns:
        model_id: As in models.csv and models_beyond.csv.
        location: `hub` (Hugging Face), `url`, `code` (a GitHub repository for torch.hub) or `package` (of Python).
        address: Name of the repository or package, or the URL.
        file_names: On the hub: the names that the file may have there; the first that exists is used.

    Raises:
        InputError: for a table that is missing or damaged.
    """
    path = artefacts.find(WEIGHT_FILES)
    files: dict[str, list[WeightFile]] = {}
    for row in read_csv(path, COLUMNS):
        names = [tuple(row["file_names"].split(SEPARATOR))] if row["file_names"] else []
        try:
            file = LOCATIONS[row["location"]](row["address"], *names)
        except (KeyError, TypeError):
            raise InputError(
                f"{path}: the row of {row['model_id']} is damaged: restore it from the repository"
            ) from None
        files.setdefault(row["model_id"], []).append(file)
    return files


def to_row(model_id: str, file: WeightFile) -> dict[str, str]:
    """The row of a file in weight_files.csv."""
    location = next(name for name, file_type in LOCATIONS.items() if isinstance(file, file_type))
    address, *names = astuple(file)
    return {
        "model_id": model_id,
        "location": location,
        "address": address,
        "file_names": SEPARATOR.join(names[0] if names else ()),
    }
