"""The run that flags ask for: in this process, or on a cluster."""

from argparse import Namespace
from typing import TYPE_CHECKING

from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.inference.cluster_options import ClusterOptions
from imagenet_errors.inference.runner import Collector, Options
from imagenet_errors.paths import Artefacts

if TYPE_CHECKING:
    from imagenet_errors.inference.cluster_run import ClusterCollector


def prepare(artefacts: Artefacts, dataset: Dataset, flags: Namespace) -> "Collector | ClusterCollector":
    """A run over a dataset by the flags of collect_predictions.py. Raises `InputError` as `Collector.prepare`."""
    options = Options.from_flags(flags)
    where = ClusterOptions.from_flags(flags)
    if not where.is_used:
        return Collector.prepare(artefacts, dataset, options)
    from imagenet_errors.inference.cluster_run import ClusterCollector  # it needs Dask

    return ClusterCollector(artefacts, dataset, options, where)
