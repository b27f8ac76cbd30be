"""The tables of models, made from the published facts and the registries of the libraries (by make_artefacts.py)."""

import torch

from imagenet_errors.errors import InputError, ModelError
from imagenet_errors.inference import zoo
from imagenet_errors.models import model_table, registry
from imagenet_errors.models.model_table import COLUMNS, ModelRecord
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


def paper_rows(published: list[dict[str, str]]) -> list[dict]:
    """models.csv: the published rows, and for torch.hub the weights' URL, where timm knows it.

    Raises:
        InputError: for a row that the installed libraries cannot build any more.
    """
    rows = []
    for row in published:
        row = row | {"model_id": row["model_dir_id"].replace("--", "/", 1)}
        if row["source"] == "torch.hub":
            row["weights"] = _url_of_hub_entry(row["builder"].partition(":")[2])
        rows.append({column: row[column] for column in COLUMNS})
        try:
            zoo.SOURCES[row["source"]].files(ModelRecord.from_row(rows[-1], {}))
        except (KeyError, ModelError) as error:
            raise InputError(f"{row['model_dir_id']} cannot be built: {error}") from None
    return rows


def _url_of_hub_entry(entry: str) -> str:
    import timm

    architecture, _, kind = entry.rpartition("_")
    try:
        return timm.get_pretrained_cfg(f"{architecture}.{TIMM_TAGS[kind]}", allow_unregistered=False).url
    except RuntimeError:
        return ""


def arch_rows(published: list[dict[str, str]]) -> list[dict]:
    """archs.csv: group and family of every architecture of the published rows."""
    columns = ("arch", "arch_group", "arch_family")
    distinct = sorted({tuple(row[column] for column in columns) for row in published})
    return [dict(zip(columns, values, strict=True)) for values in distinct]


def beyond_rows(artefacts: Artefacts) -> list[dict]:
    """models_beyond.csv: its rows that are written by hand, and what timm has beyond the paper, parameters counted."""
    by_hand = [
        record for record in model_table.load_records(artefacts, MODELS_BEYOND) if record.module != registry.TIMM_NEW
    ]
    new = registry.new_records(artefacts, model_table.load_records(artefacts, MODELS))
    counted = [record.to_row() | {"num_params": count_parameters(record)} for record in show_progress(new, "timm_new")]
    return [record.to_row() for record in by_hand] + counted


def count_parameters(record: ModelRecord) -> int:
    """Those that require gradients, of the architecture alone: without weights, and nearly always without memory."""
    try:
        with torch.device("meta"):
            return zoo.count_parameters(zoo.source(record).architecture(record))
    except (NotImplementedError, RuntimeError):  # torchvision's RegNets compute their widths with tensors
        return zoo.count_parameters(zoo.source(record).architecture(record))
