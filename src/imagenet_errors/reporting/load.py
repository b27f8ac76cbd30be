"""The models that a report is on: of an artefacts folder, or of files of predictions."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from imagenet_errors.analysis.analysed_models import AnalysedModel, analyse_files, analyse_predictions
from imagenet_errors.analysis.context import DatasetContext, load_context
from imagenet_errors.analysis.explain import find_model
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.importing.importer import Imported, Importer
from imagenet_errors.models import own_models

log = logging.getLogger(__name__)

FLAG = re.compile(r"(?<!\w)--(file_column|class_column|order|label_offset|classes|force)\b")  # of import_predictions.py


def load_models(
    importer: Importer, named: Sequence[str | list[Path]], open_world: str
) -> tuple[DatasetContext, list[AnalysedModel]]:
    """Models with their errors; those of the artefacts folder are analysed and stored where that is not done.

    Args:
        importer: Reads files for the dataset.
        named: Models of the folder, or files of predictions: a name of one file, or a list of one model's files.
        open_world: As for `load_context`.

    Raises:
        InputError: where one is neither, or is given twice; as the importer and the analysis do.
    """
    sources = _find_sources(importer, named)
    imported = {name: _read(importer, files) for name, files in sources.items() if files}
    for name, read in imported.items():
        log.info(f"{name}: {importer.describe(read)}")
    samples = importer.samples if imported else None
    context = load_context(importer.artefacts, importer.dataset.name, open_world=open_world, samples=samples)
    context.report()
    folders = {name: find_model(context, name) for name, files in sources.items() if not files}
    stored = analyse_files([ModelFiles(context, folder) for folder in folders.values()]) if folders else []
    analysed = dict(zip(folders, stored, strict=True))
    for name, read in imported.items():
        analysed[name] = analyse_predictions(context, name, read.predictions)
    return context, [analysed[name] for name in sources]


def _read(importer: Importer, files: list[Path]) -> Imported:
    """A model's predictions. Raises `InputError` as the importer does, and says whose the flags are that it names."""
    try:
        return importer.read(files)
    except InputError as error:
        if not FLAG.search(str(error)):
            raise
        advice = "these are flags of import_predictions.py: import the predictions with it, then name the model"
        raise type(error)(f"{error} ({advice})") from None


def _find_sources(importer: Importer, named: Sequence[str | list[Path]]) -> dict[str, list[Path]]:
    """{name of a model: its files; none for a model of the folder}, in the given order."""
    folder, known = (
        importer.artefacts.dataset_dir(importer.dataset.name),
        importer.artefacts.models(importer.dataset.name),
    )
    sources: dict[str, list[Path]] = {}
    for one in named:
        if isinstance(one, str) and one.replace("/", "--") not in known:
            if not Path(one).is_file():
                unknown = f": {describe_unknown('model', one, known)}" if known else " has no models"
                raise InputError(f"{folder}{unknown}; for predictions in a file give its path, and {one} is none")
            one = [Path(one)]
        name = one if isinstance(one, str) else own_models.from_predictions(one[0]).model_id
        if name in sources:
            raise InputError(f"{name} is given twice: name different models, or files of different names")
        sources[name] = [] if isinstance(one, str) else one
    return sources
