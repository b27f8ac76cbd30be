"""The run that flags ask for: in this process, or on a cluster."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.inference.cluster_options import ClusterOptions
from imagenet_errors.inference.embedder import Embedder, EmbeddingOptions
from imagenet_errors.inference.runner import Collector, Options
from imagenet_errors.paths import Artefacts

if TYPE_CHECKING:
    from imagenet_errors.inference.cluster_embedder import ClusterEmbedder
    from imagenet_errors.inference.cluster_run import ClusterCollector


def prepare(artefacts: Artefacts, dataset: Dataset, flags: Namespace) -> "Collector | ClusterCollector":
    """A run over a dataset by the flags of collect_predictions.py. Raises `InputError` as `Collector.prepare`."""
    options = Options.from_flags(flags)
    where = ClusterOptions.from_flags(flags)
    if not where.is_used:
        return Collector.prepare(artefacts, dataset, options)
    from imagenet_errors.inference.cluster_run import ClusterCollector  # it needs Dask

    return ClusterCollector(artefacts, dataset, options, where)


@contextmanager
def open_embedder(artefacts: Artefacts, dataset: Dataset, flags: Namespace) -> "Iterator[Embedder | ClusterEmbedder]":
    """What embeds by the flags of compute_clip_embeddings.py; its cluster, where it has one, ends with the block.

    Raises:
        InputError: as `Embedder` and `ClusterEmbedder`.
    """
    options, where = EmbeddingOptions.from_flags(flags), ClusterOptions.from_flags(flags)
    if not where.is_used:
        yield Embedder(artefacts, dataset, options)
        return
    from imagenet_errors.inference.cluster_embedder import ClusterEmbedder  # it needs Dask

    with ExitStack() as opened:
        yield ClusterEmbedder(artefacts, dataset, options, where, opened)
