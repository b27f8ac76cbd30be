"""Where files live and how each is read and written: the only module that opens an artefact.

Every writer writes a temporary file beside the target and renames it, so a file that exists is complete. Every reader
checks what it reads and raises `InputError` with one line that names what is wrong, where, and what to do.
"""

import csv
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenet_errors.errors import InputError, NewerSchemaError

REPOSITORY = Path(__file__).resolve().parents[2]
NUM_CLASSES = 1000
SCHEMA_VERSION = 1  # of errors_analysis.parquet

# What lies in an artefacts folder: small data committed in the repository's own ...
WNIDS = "imagenet_wnet_id_to_target.json"
DESCRIPTIONS = "labels_map.json"
IMAGENET_A_WNIDS = "imagenet_a_synsets.txt"
CLOSURE = "wordnet_closure.tsv"
SUPERCLASSES = "superclasses.json"
SUPERCLASSES_LISTING = "superclasses.txt"
COOCCURRENCES = "cooccurrence_counts.csv"
NON_PROTOTYPICAL = "non_prototypical_files.txt"
SAMPLE_ANNOTATIONS = "sample/annotations.json"
ARCH_GROUPS = "arch_groups.csv"
MODELS = "models.csv"
# ... and what is downloaded.
ANNOTATIONS = "annotations/human_accuracy_v3.0.0.json"
MISTAKE_LISTS = ("annotations/vit3b_mistakes.json", "annotations/greedy_soups_mistakes.json")
WHERE_TO_GET = {
    ANNOTATIONS: "https://storage.googleapis.com/brain-car-datasets/imagenet-mistakes/human_accuracy_v3.0.0.json",
    **{
        name: f"https://raw.githubusercontent.com/google-research/imagenet-mistakes/main/metadata/{Path(name).name}"
        for name in MISTAKE_LISTS
    },
}


@dataclass(frozen=True)
class Dataset:
    """A dataset that models are run on.

    Attributes:
        name: Its folder below the artefacts folder.
        num_images: Images of the whole dataset.
        variable: Environment variable that names its folder of images, or None where we write the images ourselves.
        subfolder: Where below that folder the class folders lie.
    """

    name: str
    num_images: int
    variable: str | None = None
    subfolder: str = ""

    def extent(self, num_images: int) -> str:
        """How much of the dataset `num_images` images are, e.g. `383 of 50,000 images`."""
        return f"{num_images:,} of {self.num_images:,} images"


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("imagenet", 50_000, "IMAGENET_DIR", "val"),
        Dataset("imagenet-a", 7_500, "IMAGENET_A_DIR"),
        Dataset("sample", 7),
    )
}


@dataclass(frozen=True)
class Samples:
    """The images that every model of a dataset was run on, in order.

    Attributes:
        files: [N] str, `<WordNet id>/<file name>`, sorted by code point.
        targets: [N] int16 class ids.
    """

    files: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Artefacts:
    """The artefacts folder of a run, with the small data committed in the repository behind it."""

    root: Path

    def find(self, name: str) -> Path:
        """The file `name` of this folder or else of the repository's own. Raises `InputError` where neither has it."""
        for folder in (self.root, REPOSITORY / "artefacts"):
            if (folder / name).is_file():
                return folder / name
        source = f"download it from {WHERE_TO_GET[name]}" if name in WHERE_TO_GET else "restore it from the repository"
        raise InputError(f"{self.root / name} is missing: {source}")

    def dataset_dir(self, dataset: str) -> Path:
        return self.root / dataset

    def samples(self, dataset: str) -> Path:
        return self.root / dataset / "samples_info.npz"

    def predictions(self, dataset: str, model: str) -> Path:
        return self.root / dataset / model / "preds.npz"

    def metadata(self, dataset: str, model: str) -> Path:
        return self.root / dataset / model / "metadata.json"

    def analysis(self, dataset: str, model: str) -> Path:
        return self.root / dataset / model / "errors_analysis.parquet"

    def models(self, dataset: str) -> list[str]:
        """The `model_dir_id` of every model that the dataset's folder holds something of, sorted."""
        paths = (self.predictions, self.metadata, self.analysis)
        folders = sorted(path.name for path in self.dataset_dir(dataset).glob("*/"))
        return [model for model in folders if any(path(dataset, model).is_file() for path in paths)]


def stats_table(results_dir: Path, dataset: str, group: str) -> Path:
    return results_dir / f"stats-{dataset}" / f"non_problematic_stats_{group}.csv"


def common_errors_list(results_dir: Path, dataset: str, error_type: str) -> Path:
    folder = "common_error_samples" + ("" if dataset == "imagenet" else f"-{dataset}")
    return results_dir / folder / f"most_common_{error_type}.txt"


def error_types_picture(results_dir: Path, dataset: str) -> Path:
    return results_dir / "figures" / dataset / "error_types.png"


def model_dir_id(model_id: str) -> str:
    return model_id.replace("/", "--")


# --- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` once it is completely written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def write_json(path: Path, value) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, columns: list[str], rows: list[dict], delimiter: str = ",") -> None:
    """Write the named columns of a table: floats with all their digits, None as empty, lists as Python prints them."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([row[column] for column in columns] for row in rows)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def write_parquet(path: Path, table, metadata: dict) -> None:
    """Write an Arrow table; `metadata` (anything JSON holds) goes into the file's own metadata."""
    from pyarrow import parquet

    table = table.replace_schema_metadata({key: json.dumps(value) for key, value in metadata.items()})
    with atomic_write(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")


# --- reading ---------------------------------------------------------------------------------------------------------


def _unique_keys(pairs: list) -> dict:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in unique if keys.count(key) > 1)
        raise ValueError(f"{duplicate!r} stands twice")
    return unique


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}): fetch it again") from None


def read_json(path: Path):
    """Read a JSON file; a key that stands twice in an object is an error."""
    try:
        return json.loads(read_text(path), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is malformed JSON ({error}): correct it or fetch it again") from None


def read_json_objects(path: Path) -> dict:
    """Read one JSON object, or one object per line, as one dictionary; a key that stands twice is an error."""
    text = read_text(path)
    try:
        try:
            parts = [json.loads(text, object_pairs_hook=list)]
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            parts = [json.loads(line, object_pairs_hook=list) for line in text.splitlines() if line.strip()]
        if not all(isinstance(part, list) and all(isinstance(pair, tuple) for pair in part) for part in parts):
            raise ValueError("an object is expected")
        return _unique_keys([pair for part in parts for pair in part])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is malformed JSON ({error}): correct it or fetch it again") from None


def read_csv(path: Path, columns: list[str], delimiter: str = ",") -> list[dict[str, str]]:
    """Read a table whose header must be exactly `columns`."""
    reader = csv.DictReader(read_text(path).splitlines(), delimiter=delimiter)
    if reader.fieldnames != columns:
        raise InputError(f"{path} has the columns {reader.fieldnames}, not {columns}: restore it from the repository")
    rows = list(reader)
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(f"{path} line {line} does not have {len(columns)} cells: restore it from the repository")
    return rows


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """Read the named arrays of an archive. Raises `InputError` where it is missing, truncated or lacks one of them."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise InputError(f"{path} lacks the array {missing[0]!r}: delete it and predict again")
            return [archive[name] for name in names]
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run src/collect_predictions.py") from None
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it and predict again") from None


def class_ids(values: np.ndarray, where: str) -> np.ndarray:
    """`values` as int16 class ids. Raises `InputError` where they are no integers of 0 to 999."""
    values = np.asarray(values)
    if values.size and not (
        np.issubdtype(values.dtype, np.integer) and 0 <= values.min() <= values.max() < NUM_CLASSES
    ):
        wrong = values[(values < 0) | (values >= NUM_CLASSES)] if np.issubdtype(values.dtype, np.number) else values
        example = f" ({wrong.flat[0]})" if wrong.size else ""
        raise InputError(f"{where} holds something that is no class id of 0 to {NUM_CLASSES - 1}{example}")
    return values.astype(np.int16)


def read_samples(artefacts: Artefacts, dataset: str) -> Samples:
    path = artefacts.samples(dataset)
    files, targets = read_npz(path, "sample_files", "targets")
    if files.shape != targets.shape or files.ndim != 1 or not len(files):
        raise InputError(f"{path} holds {files.shape} files and {targets.shape} targets: delete it and predict again")
    return Samples(files.astype(str), class_ids(targets, str(path)))


def claim_samples(artefacts: Artefacts, dataset: str, samples: Samples) -> None:
    """Write the images of this dataset folder, or check that they are the ones it holds predictions for."""
    path = artefacts.samples(dataset)
    if not path.exists():
        write_npz(path, sample_files=samples.files, targets=samples.targets)
        return
    known = read_samples(artefacts, dataset)
    if not np.array_equal(known.files, samples.files):
        raise InputError(
            f"{path} lists {len(known.files):,} images, and these {len(samples.files):,} are not the same: every model"
            " of a dataset must see the same images, so use another --artefacts_dir or the same images and --limit"
        )


def read_top1(path: Path, num_samples: int) -> np.ndarray:
    """The top-1 class ids, [num_samples] int16. Raises `InputError` where the file is not that."""
    (top1,) = read_npz(path, "top1")
    if top1.shape != (num_samples,):
        raise InputError(
            f"{path} holds {top1.shape} predictions for {num_samples:,} images:"
            " they are of other images than samples_info.npz lists, predict again"
        )
    return class_ids(top1, str(path))


def check_predictions(path: Path, num_samples: int, probs: bool) -> None:
    """Read all of a preds.npz. Raises `InputError` where it is damaged, of other images, or lacks wanted `probs`."""
    read_top1(path, num_samples)
    with np.load(path) as archive:
        names = [name for name in ("top5", "top5_probs") if name in archive]
    for name, values in zip(names + ["probs"] * probs, read_npz(path, *names, *["probs"] * probs), strict=True):
        if len(values) != num_samples:
            raise InputError(f"{path}: {name} has {len(values):,} rows for {num_samples:,} images: predict again")


def read_metadata(path: Path) -> dict:
    """A model's metadata. What nobody knows is `unknown` (text), None (numbers) or [] (extra_annotations).

    A missing file is metadata that nobody knows.
    """
    metadata = read_json(path) if path.exists() else {}
    if not isinstance(metadata, dict):
        raise InputError(f"{path} is no JSON object: delete the folder and predict again")
    texts = {key: metadata.get(key) or "unknown" for key in ("arch", "arch_family", "training_data")}
    numbers = {key: metadata.get(key) for key in ("num_params", "top1_val_acc", "top1_val_acc_subset_200")}
    numbers["multi_label_val_acc"] = metadata.get("multi_label_val_acc")
    for key, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{path}: {key} is {value!r}, not a number: correct it")
    extra = metadata.get("extra_annotations") or []
    if not isinstance(extra, list) or not all(isinstance(entry, str) for entry in extra):
        raise InputError(f"{path}: extra_annotations is {extra!r}, not a list of texts: correct it")
    return metadata | texts | numbers | {"extra_annotations": extra}


def read_parquet_metadata(path: Path) -> dict:
    """What `write_parquet` was given as metadata. Raises `InputError` for a damaged file or, its kind, a newer one."""
    import pyarrow
    from pyarrow import parquet

    try:
        stored = parquet.read_metadata(path).metadata or {}
        metadata = {key.decode(): json.loads(value) for key, value in stored.items() if key != b"ARROW:schema"}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): run --perform_error_analysis again") from None
    if metadata.get("schema_version", 0) > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path} has schema {metadata['schema_version']}, newer than {SCHEMA_VERSION}: update this repository"
        )
    return metadata


def read_parquet(path: Path, columns: list[str]):
    """The named columns as an Arrow table."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(path, columns=columns, partitioning=None)
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): run --perform_error_analysis again") from None


def fingerprint(*parts) -> str:
    """A short hash of arrays and texts: equal for equal contents, whatever the machine."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()[:16]
