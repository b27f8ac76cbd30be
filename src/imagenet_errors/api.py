"""The library in Python: predictions in, error types, a profile and a comparison out. Nothing is written.

A mistake in what is given raises `imagenet_errors.errors.InputError`, whose message is one line. How predictions are
read is logged by the logger `imagenet_errors`, at level INFO.

Example:
    >>> from imagenet_errors import classify_errors, compare, load_predictions, profile
    >>> from imagenet_errors.simulation import simulate_predictions
    >>> predictions = load_predictions(simulate_predictions(accuracy=80, seed=0), name="simulated")
    >>> errors = classify_errors(predictions)
    >>> errors
    ClassifiedErrors(name='simulated', dataset='imagenet', extent='50,000 of 50,000 images')
    >>> print(profile(errors).sentences[0])
    Missing multi-label errors are 13.3 points below the 150 models nearest in MLA; 150 of them make more.
    >>> other = classify_errors(simulate_predictions(accuracy=81, seed=1))
    >>> differences = compare(errors, other).to_frame()
    >>> print(differences[["share", "first", "second", "difference", "low", "high"]].head(3).round(1).to_string())
                      share  first  second  difference  low  high
    0         top1_accuracy   80.2    81.4         1.2  0.4   2.0
    1  multi_label_accuracy   82.2    83.3         1.1  0.3   1.9
    2         class_overlap    0.9     0.8        -0.2 -0.6   0.2
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
from numpy.typing import ArrayLike

from imagenet_errors.analysis import compare as comparison
from imagenet_errors.analysis.analysed_models import AnalysedModel, analyse_predictions
from imagenet_errors.analysis.compare import Comparison
from imagenet_errors.analysis.context import DatasetContext, load_context
from imagenet_errors.analysis.profile import Profile, make_profile
from imagenet_errors.analysis.reference import DATASETS as REFERENCE_DATASETS
from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.label_sets import STANDARD, find_label_set
from imagenet_errors.dataset.plausibility import CLASS_FOLDER, FILE_NUMBER
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.formats.predictions import NO_PREDICTION, Predictions
from imagenet_errors.importing.importer import Imported, Importer, Options
from imagenet_errors.importing.in_memory import open_in_memory
from imagenet_errors.inference.tensor_files import read_tensors
from imagenet_errors.models.own_models import from_predictions
from imagenet_errors.paths import PUBLISHED_TABLES, REPOSITORY, Artefacts, model_dir_id

if TYPE_CHECKING:
    import pandas as pd

FilePath: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = Union[FilePath, Sequence[FilePath], ArrayLike, "pd.DataFrame"]
Files: TypeAlias = frozenset[tuple[Path, int, int]]

OPEN_WORLD = ("auto", "clip", "archive", "skip")
FLAG = re.compile(
    r"(?<!\w)--(artefacts_dir|file_column|class_column|order|label_offset|classes|force)\b"
    r"(?: (class_folder|file_number|text|imagenet-a|-?\d+)\b)?"
)


@dataclass(frozen=True, eq=False)
class ModelPredictions:
    """One model's predictions for images of a dataset: what `load_predictions` gives.

    Attributes:
        name: Of the model.
        dataset: `imagenet`, `imagenet-a` or `sample`.
        top1_accuracy: Percent, of the predicted images.
        source: What was read.
        artefacts: Where the dataset's images and labels are read.
        samples: The N images of the dataset.
        predictions: For these, or for M of them.
    """

    name: str
    dataset: str
    top1_accuracy: float
    source: str
    artefacts: Artefacts = field(repr=False)
    samples: Samples = field(repr=False)
    predictions: Predictions = field(repr=False)

    def to_frame(self) -> "pd.DataFrame":
        """A row for each of the M predicted images, sorted by class folder, then file name.

        Its columns are `file` (`<WordNet id>/<file name>`), `label` (the original one) and `prediction` (int16 class
        ids).
        """
        import pandas as pd

        rows = slice(None) if self.predictions.rows is None else self.predictions.rows
        return pd.DataFrame(
            {
                "file": self.samples.files[rows],
                "label": self.samples.targets[rows],
                "prediction": self.predictions.top1,
            }
        )


@dataclass(frozen=True, eq=False)
class ClassifiedErrors:
    """The error types of one model: what `classify_errors` gives.

    Attributes:
        name: Of the model.
        dataset: `imagenet`, `imagenet-a` or `sample`.
        extent: How much of the dataset the predictions cover, e.g. `50,000 of 50,000 images`.
        context: What is known of the dataset, its n annotated images among it.
        model: The errors on these images.
    """

    name: str
    dataset: str
    extent: str
    context: DatasetContext = field(repr=False)
    model: AnalysedModel = field(repr=False)

    @property
    def error_types(self) -> np.ndarray:
        """[n] str, a name of `error_types.ERROR_TYPES` for each annotated image; empty where it has no prediction."""
        return np.array([*(one.name for one in ERROR_TYPES), ""])[self.model.analysis.error_types]

    def to_frame(self) -> "pd.DataFrame":
        """A row for each annotated image with a prediction, sorted by class folder, then file name.

        Its columns are `file` (`<WordNet id>/<file name>`), `label` (the original one) and `prediction` (int16 class
        ids), `error_type` (a name of `error_types.ERROR_TYPES`; `correct` is one), `is_provisional` (whether the
        open-world test could still change the type) and `is_problematic` (such images are not counted).
        """
        import pandas as pd

        images, analysis = self.context.images, self.model.analysis
        frame = pd.DataFrame(
            {
                "file": images.files,
                "label": images.targets,
                "prediction": analysis.top1,
                "error_type": self.error_types,
                "is_provisional": analysis.provisional,
                "is_problematic": images.problematic,
            }
        )
        return frame[analysis.top1 != NO_PREDICTION].reset_index(drop=True)


def load_predictions(
    source: Source,
    dataset: str = "imagenet",
    artefacts_dir: FilePath | None = None,
    *,
    name: str | None = None,
    files: Iterable[FilePath] | None = None,
    file_column: str | None = None,
    class_column: str | None = None,
    order: str | None = None,
    label_offset: int = 0,
    classes: FilePath | None = None,
    force: bool = False,
) -> ModelPredictions:
    """Read one model's predictions for images of a dataset, or some of them, as import_predictions.py does.

    Args:
        source: A file, or several that hold a part each (docs/prediction_files.md); a DataFrame with a row an image; or
            an array of class ids or WordNet ids [N], lists of these [N, k], the best first, or float scores [N, 1000].
        dataset: `imagenet`, `imagenet-a` or `sample`.
        artefacts_dir: A folder that may hold annotations, embeddings and the list of images; None for `artefacts/`.
        name: Of the model; None for that of the first file, or `model`.
        files: [N] names of the images in the rows of an array; None where there is a row for each image of the dataset.
        file_column: The column (of a file of arrays the array) of image names; None for one with a usual name.
        class_column: That of predictions; None for one with a usual name.
        order: Of rows without names: `file_number` or `class_folder` (and then file name); None to find it by accuracy.
        label_offset: Added to class ids, e.g. -1 where they count from 1.
        classes: How class ids are numbered: None for sorted WordNet ids; `text`, `imagenet-a`, or a file of them.
        force: Whether an accuracy on ImageNet below 0.5 % is accepted.

    Raises:
        InputError: for what cannot be read, or cannot be predictions of these images and classes.

    Example:
        >>> load_predictions(np.array([58]), files=["ILSVRC2012_val_00000001.JPEG"])
        ModelPredictions(name='model', dataset='imagenet', top1_accuracy=0.0, source='model (the array)')
    """
    class_order = None if classes is None else os.fspath(classes)
    columns = file_column, class_column
    options = Options(order, label_offset, class_order, *columns, force=force, read_tensors=read_tensors)
    importer = _find_importer(artefacts_dir, dataset, options)
    with _flags_as_arguments():
        name, read = _read(importer, source, name, files)
        samples = importer.samples
    return ModelPredictions(name, dataset, read.accuracy, read.source, importer.artefacts, samples, read.predictions)


def _read(
    importer: Importer, source: Source, name: str | None, files: Iterable[FilePath] | None
) -> tuple[str, Imported]:
    """The name of the model, and its predictions."""
    paths = _list_paths(source)
    name = model_dir_id(name or (from_predictions(paths[0]).model_id if paths else "model"))
    if paths and files is not None:
        raise InputError(f"{paths[0]} holds its image names itself: give files with an array alone")
    if paths:
        return name, importer.read(paths)
    columns = importer.options.file_column, importer.options.class_column
    return name, importer.interpret([open_in_memory(source, name, files, *columns)])


def _find_importer(artefacts_dir: FilePath | None, dataset: str, options: Options) -> Importer:
    _check("dataset", dataset, DATASETS)
    if options.order is not None:
        _check("order", options.order, (CLASS_FOLDER, FILE_NUMBER))
    artefacts = Artefacts(REPOSITORY / "artefacts" if artefacts_dir is None else Path(artefacts_dir))
    return _open_importer(artefacts, dataset, options, _list_files(artefacts, dataset, options.classes))


@lru_cache(maxsize=2)
def _open_importer(artefacts: Artefacts, dataset: str, options: Options, files: Files) -> Importer:
    """It reads the images of the dataset once for all models, while `_list_files` stays the same."""
    return Importer(artefacts, DATASETS[dataset], options)


@lru_cache(maxsize=2)
def _open_context(
    artefacts: Artefacts, dataset: str, open_world: str, samples: Samples, files: Files
) -> DatasetContext:
    """Read once for all models, while `_list_files` stays the same."""
    return load_context(artefacts, dataset, open_world=open_world, samples=samples)


def _list_files(artefacts: Artefacts, dataset: str, classes: str | None = None) -> Files:
    """Path, time and size of all that is read of an artefacts folder, but for predictions, and of a class order."""
    folders = (artefacts.root, artefacts.root / "annotations", artefacts.dataset_dir(dataset))
    paths = [path for folder in folders for path in folder.glob("*")] + ([Path(classes)] if classes else [])
    found = set()
    for path in paths:
        with suppress(OSError):  # it is gone: another process replaces its files
            found.add((path, path.stat().st_mtime_ns, path.stat().st_size))
    return frozenset(found)


def _list_paths(source: Source) -> list[Path]:
    """The files that a source names; none for an array or a DataFrame."""
    if isinstance(source, str | os.PathLike):
        return [Path(source)]
    if isinstance(source, list | tuple) and all(isinstance(one, str | os.PathLike) for one in source):
        return [Path(one) for one in source]
    return []


def classify_errors(predictions: ModelPredictions | Source, open_world: str = "auto") -> ClassifiedErrors:
    """Give each top-1 error on the annotated images of the dataset its type, as evaluation.py does.

    Args:
        predictions: What `load_predictions` gives, or what it takes: `classify_errors(x)` is
            `classify_errors(load_predictions(x))`.
        open_world: `clip` runs the open-world test, `archive` takes what an archive tells of it, `skip` skips it;
            `auto` runs it where the artefacts folder holds its files, else takes the official archive's outcomes where
            they are there. Where it is skipped there are no out-of-vocabulary errors, and the types after it are
            provisional; so are those of errors whose outcome is not known.

    Raises:
        InputError: as `load_predictions`; where no predicted image is annotated, or a file of the folder is damaged.

    Example:
        >>> from imagenet_errors.simulation import simulate_predictions
        >>> errors = classify_errors(simulate_predictions(accuracy=80, seed=0))
        >>> errors.to_frame().error_type.value_counts().head(3).to_dict()
        {'correct': 15394, 'fine_grained': 1903, 'model_failure': 1866}
    """
    _check("choice of open_world", open_world, OPEN_WORLD)
    read = predictions if isinstance(predictions, ModelPredictions) else load_predictions(predictions)
    with _flags_as_arguments():
        files = _list_files(read.artefacts, read.dataset)
        context = _open_context(read.artefacts, read.dataset, open_world, read.samples, files)
        model = analyse_predictions(context, read.name, read.predictions)
    return ClassifiedErrors(read.name, read.dataset, model.extent, context, model)


def profile(errors: ClassifiedErrors, reference: FilePath | None = None, labels: str = STANDARD) -> Profile:
    """How a model fails: its error types with intervals, and how unusual each is among models of its accuracy.

    Args:
        errors: What `classify_errors` gives.
        reference: A folder of stats tables to compare with; by default the paper's published ones.
        labels: Whose the error types are by, a name in `artefacts/label_sets.csv`: `multi_label`, `real` or `original`;
            the last two have no place among others.

    Returns:
        A record with `sentences` (what stands out, most unusual first), the accuracies, and `to_frame()`: a row for
        each group of images and error type, in the columns of report.py's CSV (docs/file_formats.md); shares are
        percent.

    Raises:
        InputError: where the folder has no such tables, or there are no such labels.

    Example:
        >>> from imagenet_errors.simulation import simulate_predictions
        >>> mine = profile(classify_errors(simulate_predictions(accuracy=80, seed=0)))
        >>> print(mine.to_frame()[["group", "error_type", "count", "share", "expected"]].head(3).round(1).to_string())
          group           error_type  count  share  expected
        0   all        class_overlap     35    0.9       2.3
        1   all  missing_multi_label    343    9.3      22.6
        2   all         fine_grained   1541   46.4      36.9
    """
    folder = PUBLISHED_TABLES if reference is None else Path(reference)
    tables = load_reference(errors.dataset, folder) if errors.dataset in REFERENCE_DATASETS else None
    return make_profile(errors.context, errors.model, tables, find_label_set(errors.context.artefacts, labels))


def compare(first: ClassifiedErrors, second: ClassifiedErrors) -> Comparison:
    """Two models next to each other, on the unproblematic images that both have predictions for.

    Args:
        first: What `classify_errors` gives.
        second: The same of another model, which is looked at as the successor of the first.

    Returns:
        A record with the images `fixed` and `broken`, `consistency` (Cohen's kappa, McNemar's test), `transitions`
        between error types, `list_classes()`, `list_images()`, and `to_frame()`: a row for each accuracy and share,
        with its `first` and `second` value in percent and their `difference`, second less first, in points, with its
        95 % interval (paired bootstrap over images).

    Raises:
        InputError: where the models are not of the same images, or none of these is unproblematic.

    Example:
        >>> from imagenet_errors.simulation import simulate_predictions
        >>> first, second = (classify_errors(simulate_predictions(80, seed)) for seed in (0, 1))
        >>> comparison = compare(first, second)
        >>> comparison.fixed, comparison.broken
        (2930, 2902)
    """
    one, other = ((errors.context.inputs.images, errors.context.inputs.relations) for errors in (first, second))
    if one != other:
        raise InputError(
            f"{first.name} and {second.name} are not classified with the same images, labels and superclasses: load"
            " both for the same dataset and artefacts_dir"
        )
    return comparison.compare(first.context.counted_images, first.model.analysis, second.model.analysis)


def _check(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise InputError(describe_unknown(what, name, names))


@contextmanager
def _flags_as_arguments() -> Iterator[None]:
    """Have errors name arguments of `load_predictions` where the importer names flags of import_predictions.py."""
    try:
        yield
    except InputError as error:
        text = FLAG.sub(_name_argument, str(error))
        if text == str(error):
            raise
        text = re.sub(r"(=\S+) (?=\w+=)", r"\1, ", text)
        raise type(error)(f"{text} (arguments of load_predictions)") from None


def _name_argument(flag: re.Match[str]) -> str:
    """`--order file_number` as `order='file_number'`."""
    name, value = flag.groups()
    if name == "force":
        return "force=True"
    if value is None:
        return name
    return f"{name}={value}" if name == "label_offset" else f"{name}={value!r}"
