"""Coverage-guided fuzzing of one reader, from valid files.

`python tests/helpers/fuzz.py READER ARTEFACTS FOLDER SECONDS` needs atheris (requirements-fuzz.txt) and what analysis
needs. Where formats have checksums, what is fuzzed is packed anew: random bytes would hardly get beyond these.
"""

import gzip
import io
import resource
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["imagenet_errors"]):
    from imagenet_errors.dataset.classes import load_classes
    from imagenet_errors.dataset.multi_labels import annotations_from_json
    from imagenet_errors.dataset.samples import Samples, read_samples
    from imagenet_errors.dataset.wordnet import load_wordnet
    from imagenet_errors.errors import InputError
    from imagenet_errors.files import read_csv, read_json, read_json_objects
    from imagenet_errors.formats import embeddings, error_analyses, image_tables
    from imagenet_errors.formats.metadata import read_metadata
    from imagenet_errors.formats.predictions import check_predictions
    from imagenet_errors.models.architectures import read_architectures
    from imagenet_errors.paper_archive import archive_contents, pickled_frames, tar_reader
    from imagenet_errors.paper_archive.analysis_frames import Reader
    from imagenet_errors.paths import REPOSITORY, Artefacts

MEMORY = 4 << 30  # with the fuzzer itself; convert.py allows its workers 2 GB
ARRAYS = (
    "sample_files",
    "targets",
    "top1",
    "top5",
    "top5_probs",
    "probs",
    "embeddings",
    "prompts",
    "topk_train_targets",
)
COMMITTED = Artefacts(REPOSITORY / "artefacts")
CLASSES = load_classes(COMMITTED)
READER = Reader(CLASSES, frozenset())


def read_pickle(content: bytes, path: Path) -> None:
    with suppress(InputError):
        pickled_frames.read_frame(content, path)
    READER.read(content, path)


def read_archive(content: bytes, path: Path) -> None:
    path.write_bytes(gzip.compress(content, 1))
    for member in tar_reader.read_members(path, tar_reader.Limits(member=1 << 20, total=1 << 24)):
        member.file.read()


def read_annotations(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for reader in (read_json_objects, read_metadata, lambda _: archive_contents.read_contents(Files(path), "imagenet")):
        with suppress(InputError):
            reader(path)
    annotations_from_json(read_json(path), str(path), CLASSES, "")


def read_tables(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for reader in (
        lambda: read_architectures(Files(path)),
        lambda: load_wordnet(Files(path), CLASSES),
        lambda: read_csv(path, ["model_id", "reason"]),
    ):
        with suppress(InputError):
            reader()


def read_arrays(content: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ARRAYS:
            archive.writestr(f"{name}.npy", content)
    for reader in (
        lambda: read_samples(Files(path), "imagenet"),
        lambda: check_predictions(path, Samples([0] * 9, [0] * 9), True),
        lambda: embeddings.read_embeddings(path, "prompts"),
        lambda: embeddings.read_neighbours(path, 9),
    ):
        with suppress(InputError):
            reader()


def read_analysis(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with suppress(InputError):
        image_tables.read(path)
    error_analyses.read(path, "a model")


class Files:
    """Artefacts of which every file is the one that is fuzzed."""

    def __init__(self, path: Path):
        self.path = path

    def find(self, _) -> Path:
        return self.path

    def samples(self, _) -> Path:
        return self.path

    archive_contents = samples


def arrays_in(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


def seeds(name: str, root: Path) -> list[bytes]:
    """Valid contents, from a folder that holds one of each."""
    if name == "archives":
        return [gzip.decompress((root / "models-imagenet.tar.gz").read_bytes()), small_archive()]
    if name == "arrays":
        models = ("imagenet/samples_info.npz", "imagenet/me--plain/preds.npz", "imagenet/clip_image_embeddings.npz")
        return [array for model in models for array in arrays_in(root / model)]
    patterns = {
        "pickles": ["imagenet/*/errors_analysis.pkl"],
        "annotations": ["annotations/*.json", "imagenet/*/metadata.json", "imagenet/archive.json"],
        "tables": ["archs.csv", "sample/failures.csv", "weights.csv"],
        "parquet": ["imagenet/*/errors_analysis.parquet", "imagenet/images-*.parquet"],
    }
    return [path.read_bytes() for pattern in patterns[name] for path in sorted(root.glob(pattern))]


def small_archive() -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("imagenet/me/metadata.json", f"imagenet/{'x' * 120}/metadata.json", "imagenet/ü/metadata.json"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "pickles": read_pickle,
    "archives": read_archive,
    "annotations": read_annotations,
    "tables": read_tables,
    "arrays": read_arrays,
    "parquet": read_analysis,
}


def main() -> None:
    name, root, folder, seconds = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    corpus, path = folder / "corpus", folder / "fuzzed"
    corpus.mkdir()
    for number, content in enumerate(seeds(name, root)):
        (corpus / str(number)).write_bytes(content)

    def test_one(content: bytes) -> None:
        with suppress(InputError):
            READERS[name](content, path)

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # or a size of 2**40 in a pickle is tried
    limits = ("-rss_limit_mb=0", "-malloc_limit_mb=0", "-timeout=20", "-max_len=20000", f"-artifact_prefix={folder}/")
    flags = [sys.argv[0], f"-max_total_time={seconds}", "-seed=1", *limits, str(corpus)]
    atheris.Setup(flags, test_one, enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
