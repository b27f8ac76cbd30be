"""One row per model of the paper's overview: models_summary.csv."""

from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.models.architectures import Architecture, read_architectures
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts

COLUMNS = ["idx", "model_id", "source", "arch", "arch_group", "arch_family", "dataset", "extra_annotations"]


def summarise_records(records: list[ModelRecord], archs: dict[str, Architecture]) -> list[dict]:
    """The rows of models in models.csv."""
    return _sort_and_number(
        [
            _make_row(
                record.model_id, record.source, record.arch, record.training_data, list(record.extra_annotations), archs
            )
            for record in records
        ]
    )


def summarise_collected(artefacts: Artefacts) -> list[dict]:
    """The rows of the models with a folder in `A/imagenet`, from their metadata."""
    archs, rows = read_architectures(artefacts), []
    for model in artefacts.models("imagenet"):
        known = read_metadata(artefacts.metadata("imagenet", model))
        model_id, source = known.get("model_id") or model.replace("--", "/", 1), known.get("source") or "unknown"
        rows.append(
            _make_row(model_id, source, known["arch"], known["training_data"], known["extra_annotations"], archs)
        )
        rows[-1]["arch_family"] = known["arch_family"]
    return _sort_and_number(rows)


def _make_row(
    model_id: str, source: str, arch: str, training_data: str, extra: list[str], archs: dict[str, Architecture]
) -> dict:
    """A row without its number; the model without its publisher, the corpus without its size."""
    return {
        "model_id": model_id.partition("/")[2] or model_id,
        "source": source,
        "arch": arch,
        "arch_group": archs.get(arch, Architecture()).group,
        "arch_family": archs.get(arch, Architecture()).family,
        "dataset": training_data.partition(" (")[0],
        "extra_annotations": extra,
    }


def _sort_and_number(rows: list[dict]) -> list[dict]:
    """Sorted by family, group, architecture and model, and numbered from 1."""
    keys = ("arch_family", "arch_group", "arch", "model_id")
    ordered = sorted(rows, key=lambda row: " | ".join(row[key] for key in keys))
    return [{"idx": number} | row for number, row in enumerate(ordered, start=1)]
