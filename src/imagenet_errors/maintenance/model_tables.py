"""The tables of models, made from the published facts and the registries of the libraries (by make_artefacts.py)."""

from collections.abc import Sequence

import torch
from torch.nn import Module

from imagenet_errors.errors import InputError, ModelError
from imagenet_errors.inference import timm_models, zoo
from imagenet_errors.models import weight_files
from imagenet_errors.models.model_table import COLUMNS, ModelRecord, load_records
from imagenet_errors.paths import MODELS, MODELS_BEYOND, Artefacts
from imagenet_errors.progress import show_progress

PUBLISHED_COLUMNS = [
    "model_dir_id",
    "module",
    "source",
    "builder",
    "weights",
    "arch",
    "arch_group",
    "arch_family",
    "training_data",
    "extra_annotations",
    "num_params",
]
# The tags under which timm has the weights of the two torch.hub repositories.
TIMM_TAGS = {"ssl": "fb_ssl_yfcc100m_ft_in1k", "swsl": "fb_swsl_ig1b_ft_in1k", "wsl": "fb_wsl_ig1b_ft_in1k"}


def make_paper_rows(published: list[dict[str, str]]) -> list[dict]:
    """models.csv: the published rows, and for torch.hub the URL of the weights where timm knows it.

    Raises:
        InputError: for a row that the installed libraries do not know.
    """
    rows = []
    for row in published:
        row = row | {"model_id": row["model_dir_id"].replace("--", "/", 1)}
        if row["source"] == "torch.hub":
            row["weights"] = _url_of_hub_entry(row["builder"].partition(":")[2])
        rows.append({column: row[column] for column in COLUMNS})
        try:
            _list_files(ModelRecord.from_row(rows[-1], {}))
        except ModelError as error:
            raise InputError(f"{row['model_dir_id']} cannot be built: {error}") from None
    return rows


def _url_of_hub_entry(entry: str) -> str:
    architecture, _, tag = entry.rpartition("_")
    try:
        return str(timm_models.get_config(f"{architecture}.{TIMM_TAGS[tag]}").url)
    except ModelError:
        return ""


def make_arch_rows(published: list[dict[str, str]]) -> list[dict]:
    """archs.csv: group and family of every architecture of the published rows."""
    columns = ("arch", "arch_group", "arch_family")
    distinct = sorted({tuple(row[column] for column in columns) for row in published})
    return [dict(zip(columns, values, strict=True)) for values in distinct]


def make_beyond_rows(artefacts: Artefacts) -> list[dict]:
    """models_beyond.csv: its rows that are written by hand, and what timm has beyond the paper, parameters counted."""
    by_hand = [record for record in load_records(artefacts, MODELS_BEYOND) if record.module != timm_models.MODULE]
    new = timm_models.find_new_weights(artefacts, load_records(artefacts, MODELS))
    counted = [record.to_row() | {"num_params": count_parameters(record)} for record in show_progress(new, "timm_new")]
    return [record.to_row() for record in by_hand] + counted


def make_weight_file_rows(artefacts: Artefacts) -> list[dict]:
    """weight_files.csv: the files that hold the weights of every model in the tables."""
    return [
        weight_files.to_row(record.model_id, file) for record in load_records(artefacts) for file in _list_files(record)
    ]


def _list_files(record: ModelRecord) -> Sequence[weight_files.WeightFile]:
    return zoo.get_loader(record).list_files(record)


def count_parameters(record: ModelRecord) -> int:
    """Those that require gradients, of the architecture alone."""
    return zoo.count_parameters(build_without_weights(record))


def build_without_weights(record: ModelRecord) -> Module:
    """The architecture, nearly always without memory."""
    build = zoo.get_loader(record).build_architecture
    try:
        with torch.device("meta"):
            return build(record)
    except (NotImplementedError, RuntimeError):  # torchvision's RegNets compute their widths with tensors
        return build(record)
