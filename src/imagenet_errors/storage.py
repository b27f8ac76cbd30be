"""Where artefacts and results live, and what each must hold: nothing else opens one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imagenet_errors import locks
from imagenet_errors.errors import InputError, UntouchableError
from imagenet_errors.files import as_texts, check_schema, fingerprint, read_csv, read_json, read_npz, write_npz

REPOSITORY = Path(__file__).resolve().parents[2]
NUM_CLASSES = 1000
REFERENCE_MODELS = ("greedysoups", "vit3b")  # of Vasudevan et al. 2022; not among the paper's 962
GROUPS = ("all", "organism", "artifact", "other")  # of images, a stats table each
ERROR_COLUMNS = (  # of the stats tables, in the published order
    "num_collapsed_mappings",
    "num_ambiguous",
    "num_same_superclass",
    "num_common_co_occ",
    "num_non_prototypical",
    "num_OOV_clip",
    "num_not_classified",
)
PREDICTIONS_SCHEMA = 1  # of preds.npz
MOST_BYTES = 200  # in the name of a model's folder
METADATA_NUMBERS = (
    "num_params",
    "top1_val_acc",
    "top1_val_acc_subset_200",
    "multi_label_val_acc",
    "preds_comp_time",
)

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
ARCHS = "archs.csv"
MODELS = "models.csv"
MODELS_BEYOND = "models_beyond.csv"
WEIGHT_TAGS = "weight_tags.csv"
FIGURES = "figures.csv"
# ... what compute_clip_embeddings.py writes ...
TRAIN_EMBEDDINGS = "train_clip_embeddings.npz"
TEXT_EMBEDDINGS = "clip_text_embeddings.npz"
# ... and what is downloaded.
PUBLISHED_MODELS = "published/models.csv"
ANNOTATIONS = "annotations/human_accuracy_v3.0.0.json"
MISTAKE_LISTS = ("annotations/vit3b_mistakes.json", "annotations/greedy_soups_mistakes.json")
DOWNLOADS = "downloads.csv"  # says from where
DOWNLOAD_COLUMNS = ["name", "what", "url", "path", "sha256", "description"]


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
        return f"{num_images:,} of {max(num_images, self.num_images):,} images"


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

    @cached_property
    def fingerprint(self) -> str:
        """What predictions say they are of."""
        return fingerprint(self.files.tolist(), self.targets)


@dataclass(frozen=True)
class Artefacts:
    """The artefacts folder of a run, with the small data committed in the repository behind it."""

    root: Path

    def has(self, name: str) -> bool:
        """Whether this folder or else the repository's own holds the file `name`."""
        return any((folder / name).is_file() for folder in (self.root, REPOSITORY / "artefacts"))

    def find(self, name: str) -> Path:
        """The file `name` of this folder or else of the repository's own. Raises `InputError` where neither has it."""
        for folder in (self.root, REPOSITORY / "artefacts"):
            if (folder / name).is_file():
                return folder / name
        raise InputError(f"{self.root / name} is missing: {self._how_to_get(name)}")

    def _how_to_get(self, name: str) -> str:
        rows = [] if name == DOWNLOADS else read_csv(self.find(DOWNLOADS), DOWNLOAD_COLUMNS)
        for row in rows:
            if row["path"] == name:
                return f"get it with download_artefacts.py --what {row['what']}, or from {row['url']}"
        return "restore it from the repository"

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

    def archived(self, dataset: str, model: str) -> Path:
        return self.root / dataset / model / "errors_analysis.pkl"

    def archive(self, dataset: str) -> Path:
        """The archive of all models' analyses, which need not be unpacked."""
        return self.root / f"models-{dataset}.tar.gz"

    def archive_contents(self, dataset: str) -> Path:
        """What is known of that archive, so that it is read once."""
        return self.root / dataset / "archive.json"

    def failures(self, dataset: str) -> Path:
        return self.root / dataset / "failures.csv"

    def downloads_done(self) -> Path:
        return self.root / "downloads_done.csv"

    def weights(self) -> Path:
        return self.root / "weights.csv"

    def image_embeddings(self, dataset: str) -> Path:
        return self.root / dataset / "clip_image_embeddings.npz"

    def neighbours(self, dataset: str) -> Path:
        return self.root / dataset / "valid_clip_knn.npz"

    def models(self, dataset: str) -> list[str]:
        """The `model_dir_id` of every model that the dataset's folder holds something of, sorted.

        Raises:
            InputError: where the name of its folder would break the lines of tables and lists.
        """
        paths = (self.predictions, self.metadata, self.analysis, self.archived)
        folders = sorted(path.name for path in self.dataset_dir(dataset).glob("*/"))
        models = [model for model in folders if any(path(dataset, model).is_file() for path in paths)]
        odd = next((model for model in models if not model.isprintable()), None)
        if odd is not None:
            raise InputError(f"{self.dataset_dir(dataset)} has a model's folder named {odd!r}: rename it")
        return models


@dataclass(frozen=True)
class Arch:
    """What the paper says of an architecture (artefacts/archs.csv).

    Attributes:
        group: For its figures, e.g. `ResNet`.
        family: `cnn`, `transformer`, `mlp` or `hybrid`.
    """

    group: str = "unknown"
    family: str = "unknown"


def read_archs(artefacts: Artefacts) -> dict[str, Arch]:
    """{arch: Arch} of the paper's architectures; any other is `Arch()`."""
    rows = read_csv(artefacts.find(ARCHS), ["arch", "arch_group", "arch_family"])
    return {row["arch"]: Arch(row["arch_group"], row["arch_family"]) for row in rows}


def stats_table(results_dir: Path, dataset: str, group: str) -> Path:
    return results_dir / f"stats-{dataset}" / f"non_problematic_stats_{group}.csv"


def common_errors_list(results_dir: Path, dataset: str, error_type: str) -> Path:
    folder = "common_error_samples" + ("" if dataset == "imagenet" else f"-{dataset}")
    return results_dir / folder / f"most_common_{error_type}.txt"


def made_from(table: Path) -> Path:
    """What the tables or lists in a folder were made from."""
    return table.parent / "made_from.json"


def figures_dir(results_dir: Path, dataset: str) -> Path:
    return results_dir / "figures" / dataset


def expert_table(results_dir: Path, dataset: str, name: str) -> Path:
    return results_dir / f"stats-{dataset}" / f"expert_{name}.csv"


def models_summary(results_dir: Path) -> Path:
    return results_dir / "models_summary.csv"


def error_types_picture(results_dir: Path, dataset: str) -> Path:
    return figures_dir(results_dir, dataset) / "error_types.png"


def model_dir_id(model_id: str) -> str:
    """The name of a model's folder. Raises `InputError` for an id that makes none."""
    name = model_id.replace("/", "--")
    if not (name.strip() and name.isprintable()) or name[0] == "." or "\\" in name or len(name.encode()) > MOST_BYTES:
        raise InputError(f"{model_id[:300]!r} is no name of a folder: give the model another, e.g. me/my-resnet50")
    return name


def class_ids(values: np.ndarray, where: str) -> np.ndarray:
    """`values` as int16 class ids. Raises `InputError` where they are no integers of 0 to 999."""
    values = np.asarray(values)
    if values.size and not (
        np.issubdtype(values.dtype, np.integer) and 0 <= values.min() <= values.max() < NUM_CLASSES
    ):
        wrong = values[(values < 0) | (values >= NUM_CLASSES)] if np.issubdtype(values.dtype, np.number) else values
        example = f" ({wrong.flat[0]})" if wrong.size else ""
        raise InputError(
            f"{where} holds something that is no class id of 0 to {NUM_CLASSES - 1}{example}: predict again"
        )
    return values.astype(np.int16)


def read_samples(artefacts: Artefacts, dataset: str) -> Samples:
    path = artefacts.samples(dataset)
    arrays = read_npz(path, "sample_files", "targets")
    files, targets = arrays["sample_files"], class_ids(arrays["targets"], str(path))
    if files.shape != targets.shape or files.ndim != 1 or not len(files):
        raise InputError(f"{path} holds {files.shape} files and {targets.shape} targets: predict again")
    files = as_texts(files, path, "predict again")
    if len(np.unique(files)) < len(files):
        raise InputError(f"{path} lists a file twice: predict again")
    return Samples(files, targets)


def claim_samples(artefacts: Artefacts, dataset: str, samples: Samples, say: Callable[[str], None]) -> None:
    """Write the images of this dataset folder, unless it holds predictions for others: that is refused."""
    if not _are_claimed(artefacts, dataset, samples):
        with claimed(artefacts, dataset, samples, say):
            pass


@contextmanager
def claimed(artefacts: Artefacts, dataset: str, samples: Samples, say: Callable[[str], None]) -> Iterator[None]:
    """As `claim_samples`; until it is left, no other process claims the folder for other images."""
    with locks.locked(artefacts.root, f"{dataset}/samples_info.npz", say):
        if not _are_claimed(artefacts, dataset, samples):
            write_npz(artefacts.samples(dataset), sample_files=samples.files, targets=samples.targets)
        yield


def _are_claimed(artefacts: Artefacts, dataset: str, samples: Samples) -> bool:
    """Whether the folder lists these images. Raises `InputError` where it has predictions for others."""
    path = artefacts.samples(dataset)
    predicted = [model for model in artefacts.models(dataset) if artefacts.predictions(dataset, model).exists()]
    try:
        known = read_samples(artefacts, dataset)
    except UntouchableError:
        raise
    except InputError as error:
        if not predicted:
            return False
        raise InputError(
            f"{error}; it said which images {predicted[0]} has predictions for: restore it, or use another"
            " --artefacts_dir"
        ) from None
    if predicted and not np.array_equal(known.files, samples.files):
        others = "in another order" if np.array_equal(np.sort(known.files), samples.files) else "not the same"
        raise InputError(
            f"{path} lists {len(known.files):,} images, and these {len(samples.files):,} are {others}: every model"
            " of a dataset must see the same images, sorted by class folder and name; use another --artefacts_dir"
        )
    return known.fingerprint == samples.fingerprint


def read_top1(path: Path, samples: Samples) -> np.ndarray:
    """The top-1 class ids, [N] int16. Raises `InputError` where the file is not that."""
    arrays = read_npz(path, "top1", optional=("schema_version", "samples"))
    if "schema_version" in arrays:
        check_schema(path, arrays["schema_version"].tolist(), PREDICTIONS_SCHEMA, "predict again")
    top1, num_samples, of = arrays["top1"], len(samples.files), arrays.get("samples")
    if top1.shape != (num_samples,) or (of is not None and of.tolist() != samples.fingerprint):
        raise InputError(
            f"{path} holds {top1.shape} predictions for {num_samples:,} images:"
            " they are of other images than samples_info.npz lists, predict again"
        )
    return class_ids(top1, str(path))


def check_predictions(path: Path, samples: Samples, probs: bool) -> np.ndarray:
    """Read all of a preds.npz; returns top-1. Raises `InputError` as `read_top1`, or for want of `probs`."""
    top1, num_samples = read_top1(path, samples), len(samples.files)
    shapes = {"top5": (num_samples, 5), "top5_probs": (num_samples, 5), "probs": (num_samples, NUM_CLASSES)}
    for name, array in read_npz(path, *["probs"] * probs, optional=("top5", "top5_probs")).items():
        if array.shape != shapes[name]:
            raise InputError(f"{path}: {name} has the shape {array.shape}, not {shapes[name]}: predict again")
        if not (np.issubdtype(array.dtype, np.number) and np.isfinite(array).all()):
            raise InputError(f"{path}: {name} holds something that is no number: predict again")
    return top1


def read_metadata(path: Path) -> dict:
    """A model's metadata. What nobody knows is `unknown` (text), None (numbers) or [] (extra_annotations).

    A missing file is metadata that nobody knows.
    """
    metadata = read_json(path) if path.exists() else {}
    if not isinstance(metadata, dict):
        raise InputError(f"{path} is no JSON object: predict again")
    texts = {key: metadata.get(key) or "unknown" for key in ("arch", "arch_family", "training_data")}
    extra = metadata.get("extra_annotations") or []
    if not isinstance(extra, list):
        raise InputError(f"{path}: extra_annotations is {extra!r}, not a list of texts: correct it")
    others = [metadata[key] for key in ("model_id", "source") if metadata.get(key) is not None]
    for text in (*texts.values(), *extra, *others):
        if not isinstance(text, str) or not text.isprintable():
            raise InputError(f"{path} holds {text!r} where a line of text is due: correct it")
    numbers = {key: metadata.get(key) for key in METADATA_NUMBERS}
    for key, value in numbers.items():
        if value is not None and not (type(value) in (int, float) and 0 <= value < 1e12):
            raise InputError(f"{path}: {key} is {value!r}, not a sensible number: correct it")
    return metadata | texts | numbers | {"extra_annotations": extra}
