"""A run of models on a Dask cluster: one job a model; this process keeps the list of failures."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.errors import ModelError
from imagenet_errors.inference import job_order
from imagenet_errors.inference.cluster import open_queue, share_machine
from imagenet_errors.inference.cluster_options import ClusterOptions
from imagenet_errors.inference.cluster_workers import Place, list_versions
from imagenet_errors.inference.job_queue import Job
from imagenet_errors.inference.jobs import Outcome, Run, forget, make_key, run_job
from imagenet_errors.inference.runner import Collector, Options
from imagenet_errors.models import own_models, saved_predictions
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import open_progress

log = logging.getLogger(__name__)


class ClusterCollector:
    """A run over one dataset, on a cluster; used as `Collector` is.

    Args:
        artefacts: Where predictions go.
        dataset: Of the images.
        options: How models are run on a worker.
        where: The cluster.

    Raises:
        InputError: as `Collector.prepare`.
    """

    def __init__(self, artefacts: Artefacts, dataset: Dataset, options: Options, where: ClusterOptions):
        options = share_machine(options, where)
        if options.cache_dir:
            options = replace(options, cache_dir=options.cache_dir.absolute())
        self.artefacts, self.dataset, self.options, self.where = artefacts, dataset, options, where
        on_client = replace(options, device="cpu", cache_gb=0, cache_dir=None)
        self.collector = Collector.prepare(artefacts, dataset, on_client)
        self.failures = self.collector.failures
        self.description = Run(
            place=Place.of_client(artefacts, dataset, where, list_versions()),
            samples=self.collector.samples.fingerprint,
            options=options,
            owner=os.getpid() if where.devices else None,
        )

    def run(self, records: Sequence[ModelRecord]) -> Iterator[str]:
        """Predict and save, unless that is done; yields a line for every new result.

        Raises:
            InputError: where the cluster cannot run these jobs, is lost, or a worker finds what would end a run here.
        """
        missing = [record for record in records if not self.collector.is_kept(record)]
        if not missing:
            return
        seconds = job_order.read_seconds(self.artefacts, self.dataset.name, missing)
        plan = job_order.plan(self.artefacts, missing, self.options.use_test_size, seconds)
        with (
            open_progress("models", len(records), len(records) - len(missing)) as advance,
            self._pixels_removed(plan) as note_end,
            open_queue(self.where, self.description.place, self.options.workers) as jobs,
        ):
            planned = {each.record.model_id: each for each in plan}
            for job, outcome in jobs.run(map(self._make_job, plan)):
                yield from self._take(planned[job.name].record, outcome)
                note_end(planned[job.name])
                advance(1)
            jobs.client.run(forget, on_error="ignore")

    @contextmanager
    def _pixels_removed(self, plan: list[job_order.Planned]) -> Iterator[Callable[[job_order.Planned], None]]:
        """Remove the pixels that processes of this machine share: with the last model that sees them, and at the end.

        Yields:
            What is to be told of every model whose job has ended.
        """
        limits = self.options.get_cache_limits(self.artefacts) if self.where.devices else None
        if limits is None:
            yield lambda planned: None
            return
        limits, left = replace(limits, owner=self.description.owner), Counter(each.sees for each in plan)

        def note_end(planned: job_order.Planned) -> None:
            left[planned.sees] -= 1
            if not left[planned.sees] and not isinstance(planned.sees, str):
                limits.remove_shared(planned.sees)

        limits.remove_shared()
        try:
            yield note_end
        finally:
            limits.remove_shared()

    def _make_job(self, planned: job_order.Planned) -> Job:
        record = own_models.with_absolute_paths(planned.record)
        arguments = self.description, record, planned.shares_pixels
        return Job(record.model_id, make_key(self.description, record), run_job, arguments)

    def _take(self, record: ModelRecord, outcome: Outcome | ModelError) -> list[str]:
        """Note what became of a job, and store what it gave back; returns the lines for the user."""
        if isinstance(outcome, ModelError):
            message = f"{record.model_id}: not predicted, {outcome}"
            outcome = Outcome([], [(logging.INFO, message)], failure=str(outcome))
        for level, message in outcome.messages:
            log.log(level, message)
        if outcome.files:
            samples = self.collector.samples
            saved_predictions.store_files(self.artefacts, self.dataset.name, record, samples, *outcome.files)
        if outcome.failure is not None:
            self.failures[record.model_id] = outcome.failure
        self.collector.failure_list.update(record.model_id, outcome.failure)
        return outcome.lines
