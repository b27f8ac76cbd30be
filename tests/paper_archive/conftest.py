"""The archive of two models, and a small one with 300 images of each."""

import gzip
import tarfile

import numpy as np
import pandas as pd
import pytest

from tests.helpers.archives import COLUMNS, MODELS, from_pandas, plain_rows, put, simulate_archive
from tests.helpers.plain_facts import plain_group_classes
from tests.helpers.quick_runs import committed_superclasses, proposers, quick  # noqa: F401
from tests.helpers.shared_predictions import SHARED


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The shared one, or one of two simulated models where it is absent."""
    if SHARED.is_dir():
        return SHARED / "archives" / "models-imagenet.tar.gz"
    return simulate_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def unpacked(archive, tmp_path_factory):
    """The archive unpacked, nothing else. Do not write to it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def pickles(unpacked) -> dict[str, bytes]:
    """{model: its pickle}."""
    return {model: (unpacked / "imagenet" / model / "errors_analysis.pkl").read_bytes() for model in MODELS}


@pytest.fixture(scope="session")
def frames(unpacked) -> dict[str, pd.DataFrame]:
    """{model: its frame}, as pandas reads them."""
    return {model: pd.read_pickle(unpacked / "imagenet" / model / "errors_analysis.pkl") for model in MODELS}


@pytest.fixture(scope="session")
def images(frames) -> dict[str, list[tuple]]:
    """{model: its `plain_rows`}."""
    return {model: plain_rows(frame) for model, frame in frames.items()}


@pytest.fixture(scope="session")
def group_classes() -> dict[str, set[int]]:
    return plain_group_classes()


@pytest.fixture(scope="session")
def few(frames) -> dict[str, pd.DataFrame]:
    """The same 300 images of both models, of every type."""
    chosen = set(range(0, 20_000, 90))
    for frame in frames.values():
        chosen |= set(np.flatnonzero(~frame.error_types.map(str).duplicated()).tolist()[:3])
        for name in COLUMNS:
            chosen |= set(np.flatnonzero(frame.error_types.map(lambda texts, name=name: texts[0] == name))[:5].tolist())
        notes = frame.error_types.map(lambda texts: texts[0])
        chosen |= set(np.flatnonzero(~notes.duplicated()).tolist())
    rows = sorted(chosen)
    return {model: frame.iloc[rows] for model, frame in frames.items()}


@pytest.fixture
def small_archives(tmp_path, few):
    """A folder with the two models' 300 images."""
    for model, frame in few.items():
        put(tmp_path, model, frame)
    return tmp_path


@pytest.fixture
def collect(quick, tmp_path):  # noqa: F811
    def run(*flags):
        flags = flags or ("--collect_results",)
        return quick("evaluation", "--artefacts_dir", tmp_path, "--results_dir", tmp_path / "results", *flags)

    return run


@pytest.fixture
def contents(few) -> dict[str, bytes]:
    """A dozen small analyses for an archive, ten of them of one model."""
    pickles = {model: from_pandas(frame) for model, frame in few.items()}
    pickles |= {f"m--{number:02}": pickles[MODELS[0]] for number in range(10)}
    return {f"imagenet/{model}/errors_analysis.pkl": content for model, content in sorted(pickles.items())}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tar.gz"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    return folder


@pytest.fixture
def put_tar(path):
    return lambda content: path.write_bytes(gzip.compress(content, mtime=0))
