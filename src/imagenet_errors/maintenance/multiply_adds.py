"""How many multiply-adds every model needs for an image, counted without weights or memory (by make_artefacts.py)."""

from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from imagenet_errors.inference import zoo
from imagenet_errors.maintenance.model_tables import build_without_weights
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress


def make_rows(artefacts: Artefacts) -> list[dict[str, Any]]:
    """The rows of multiply_adds.csv, of all models in the tables that can be counted, at the size of their images.

    Those of convolutions, matrix products and attention count, in inference, as torch counts them.
    """
    count_once = cache(_count)
    rows = []
    for record in show_progress(load_records(artefacts), "multiply-adds"):
        try:
            side = zoo.get_loader(record).get_preprocessing(record).geometry.side
        except Exception:  # transformers' configuration files, which are not on this machine
            continue
        builder = record.builder.partition(".")[0] if record.source == "timm" else record.builder
        number = count_once(record.source, builder, record.weights, side)
        if number:
            rows.append({"model_id": record.model_id, "side": side, "multiply_adds": number})
    return rows


def _count(source: str, builder: str, weights: str, side: int) -> int | None:
    """Of an architecture; None where it does not run without memory."""
    record = ModelRecord("", "", source, builder, weights)
    model = build_without_weights(record).to("meta").eval().requires_grad_(False)
    try:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, side, side))
    except Exception:  # architectures that compute with values while they run
        return None
    return counter.get_total_flops() // 2
