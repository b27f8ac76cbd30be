"""Where artefacts and results lie."""

from dataclasses import dataclass
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_RESULTS_DIR = REPOSITORY / "results"
PUBLISHED_TABLES = REPOSITORY / "artefacts" / "published"  # the paper's stats tables: the reference
MOST_BYTES = 200  # in the name of a model's folder

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
VALIDATION_LABELS = "validation_labels.csv"
MULTI_LABELS = "multi_labels.csv"
REAL_LABELS = "real_labels.csv"
LABEL_SETS = "label_sets.csv"
WEIGHT_FILES = "weight_files.csv"
MULTIPLY_ADDS = "multiply_adds.csv"
FIGURES = "figures.csv"
# ... what compute_clip_embeddings.py writes ...
TRAIN_EMBEDDINGS = "train_clip_embeddings.npz"
TEXT_EMBEDDINGS = "clip_text_embeddings.npz"
# ... and what is downloaded.
PUBLISHED_MODELS = "published/models.csv"
ANNOTATIONS = "annotations/human_accuracy_v3.0.0.json"
MISTAKE_LISTS = ("annotations/vit3b_mistakes.json", "annotations/greedy_soups_mistakes.json")
ARCHIVED_DATASETS = ("imagenet", "imagenet-a")  # of the paper's archive
DOWNLOADS = "downloads.csv"  # says from where
DOWNLOAD_COLUMNS = ["name", "what", "url", "path", "sha256", "description"]
DOWNLOADED_COLUMNS = ["file", "url", "sha256", "bytes"]  # of downloads_done.csv


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

    def require_models(self, dataset: str) -> None:
        """Raises `InputError` where no model has files in a dataset's folder."""
        if self.models(dataset):
            return
        if self.archive(dataset).is_file():
            script = f"download_artefacts.py --convert_archives --dataset {dataset}"
            raise InputError(f"{self.archive(dataset)} is not converted: run {script}")
        scripts = "run import_predictions.py or collect_predictions.py"
        if dataset in ARCHIVED_DATASETS:
            scripts += ", or download_artefacts.py --what archive, or --from_file FILE if you have the archive"
        raise InputError(f"{self.dataset_dir(dataset)} has no predictions and no archived analyses: {scripts}")

    def dataset_dir(self, dataset: str) -> Path:
        return self.root / dataset

    def samples(self, dataset: str) -> Path:
        return self.root / dataset / "samples_info.npz"

    def checked_images(self, dataset: str) -> Path:
        return self.root / dataset / "checked_images.npz"

    def copied_images(self, dataset: str) -> Path:
        """The images of a compressed archive, as a tar archive."""
        return self.root / dataset / "copied_images.tar"

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

    def open_world_outcomes(self, dataset: str) -> Path:
        """What archived analyses tell of the open-world test."""
        return self.root / dataset / "open_world_outcomes.parquet"

    def failures(self, dataset: str) -> Path:
        return self.root / dataset / "failures.csv"

    def downloads_done(self) -> Path:
        return self.root / "downloads_done.csv"

    def batch_sizes(self) -> Path:
        return self.root / "batch_sizes.csv"

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


def figures_page(results_dir: Path) -> Path:
    return results_dir / "figures" / "index.html"


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
        raise InputError(
            f"{model_id[:300]!r} cannot be the name of a folder: give the model another, e.g. me/my-resnet50"
        )
    return name
