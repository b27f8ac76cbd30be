"""From records to stored predictions, one model at a time; a model that fails is a row in failures.csv."""

import gc
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from imagenet_errors import locks
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError, ModelError, ProtectedFileError, describe_exception
from imagenet_errors.files import read_csv, write_csv, write_json
from imagenet_errors.inference import own_models, predict, saved_predictions, zoo
from imagenet_errors.inference.images import Images
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts

log = logging.getLogger(__name__)

FAILURE_COLUMNS = ["model_id", "reason"]


class TakenError(Exception):
    """Another process works at a model; says which."""


@dataclass
class Collector:
    """A run over one dataset.

    Attributes:
        artefacts: Where predictions go.
        dataset: What the images are of.
        samples: The images of the run.
        images: Their pixels.
        device: Where to compute.
        batch_size: Images per batch, at first: it is halved for a model that runs out of memory.
        subset: Class ids among which a second accuracy is taken.
        save_probs, amp, use_test_size: As the flags of collect_predictions.py.
        failures: {model id: reason} of this run.
    """

    artefacts: Artefacts
    dataset: Dataset
    samples: Samples
    images: Images
    device: torch.device
    batch_size: int
    subset: list[int] | None
    save_probs: bool
    amp: bool
    use_test_size: bool
    failures: dict[str, str] = field(default_factory=dict)

    def run(self, records: Iterable[ModelRecord]) -> Iterator[str]:
        """Predict and store, unless that is done; yields every new result in a line.

        What another process is at comes last: then it is waited for, and is done, or is done here if that one failed.

        Raises:
            InputError: for an image that cannot be read, or a killed worker: no other model could be run either.
        """
        taken = []
        for record in records:
            try:
                yield from self._try(record, wait=False)
            except TakenError as error:
                log.info(f"{record.model_id}: {error} works at it, so it comes last")
                taken.append(record)
        for record in taken:
            yield from self._try(record, wait=True)

    def _try(self, record: ModelRecord, wait: bool) -> list[str]:
        try:
            lines = self._collect(record, wait)
        except (ModelError, ProtectedFileError) as error:
            self.failures[record.model_id] = str(error)
            log.info(f"{record.model_id}: not predicted, {error}")
            lines = []
        except RuntimeError as error:
            raise InputError(f"decoding images fails ({describe_exception(error)}): try fewer --workers") from error
        self._write_failures(record.model_id)
        return lines

    def _collect(self, record: ModelRecord, wait: bool) -> list[str]:
        made_with = {"amp": self.amp, "use_test_size": self.use_test_size}
        built = None
        if record.module == own_models.MODULE:
            built = zoo.build(record, self.use_test_size)
            made_with["weights_fingerprint"] = own_models.fingerprint_of(record, built[0])
        kept = f"{record.model_id}: kept, it has valid predictions"
        if self._is_up_to_date(record, made_with):  # without a lock: the folder may be read-only
            log.info(kept)
            return []
        root, name = self.artefacts.root, f"{self.dataset.name}/{record.dir_id}"
        with locks.locked(root, name) if wait else locks.if_free(root, name) as mine:
            if not mine:
                raise TakenError(locks.read_holder(root, name))
            if self._keep(record, made_with):
                log.info(kept)
                return []
            return [self._make(record, built, made_with)]

    def _known_metadata(self, record: ModelRecord, made_with: dict, level: int) -> dict | None:
        """Those of valid predictions; what is wrong with others is logged at this level."""
        try:
            return saved_predictions.known_metadata(
                self.artefacts, self.dataset.name, record, self.samples, self.save_probs, made_with
            )
        except ProtectedFileError:
            raise
        except InputError as error:
            log.log(level, f"{record.model_id}: predicted again, for {error}")
            return None

    def _is_up_to_date(self, record: ModelRecord, made_with: dict) -> bool:
        """Whether there is nothing to write; what is wrong is said once nobody else is at it."""
        known = self._known_metadata(record, made_with, logging.DEBUG)
        return known is not None and known == known | saved_predictions.description(record)

    def _keep(self, record: ModelRecord, made_with: dict) -> bool:
        """Whether the predictions are valid; the descriptive part of their metadata is brought up to date."""
        known = self._known_metadata(record, made_with, logging.INFO)
        if known is None:
            return False
        if known != (refreshed := known | saved_predictions.description(record)):
            write_json(self.artefacts.metadata(self.dataset.name, record.dir_id), refreshed)
        return True

    def _make(self, record: ModelRecord, built: tuple | None, made_with: dict) -> str:
        gc.collect()  # the memory of the network before this one
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        model, preprocessing = built or zoo.build(record, self.use_test_size)
        predictions, batch_size = self._predict(record, model, preprocessing)
        metadata = saved_predictions.store(
            self.artefacts,
            self.dataset.name,
            record,
            self.samples,
            predictions,
            zoo.count_parameters(model),
            batch_size,
            made_with,
        )
        return (
            f"{record.model_id}: top-1 {metadata['top1_val_acc']:.2f} % on"
            f" {self.dataset.extent(len(self.samples.files))}, {predictions.seconds:.1f} s on {self.device}"
        )

    def _predict(self, record: ModelRecord, model, preprocessing) -> tuple[predict.Predictions, int]:
        """The predictions, and the batch size that fitted into memory."""
        batch_size = min(self.batch_size, len(self.samples.files))
        while True:
            try:
                predictions = predict.predict(
                    model,
                    preprocessing,
                    self.images,
                    batch_size=batch_size,
                    device=self.device,
                    amp=self.amp,
                    subset=self.subset,
                    save_probs=self.save_probs,
                    description=record.model_id,
                )
                return predictions, batch_size
            except predict.OutOfMemoryError as error:
                if batch_size == 1:
                    raise ModelError(f"{error} with a single image on {self.device}") from None
            batch_size //= 2
            log.info(f"{record.model_id}: out of memory, trying again with --batch_size {batch_size}")

    def _write_failures(self, model_id: str) -> None:
        """Bring the row of one model up to date; those of other runs stay."""
        path, reason = self.artefacts.failures(self.dataset.name), self.failures.get(model_id)
        if _read_failures(path).get(model_id) == reason:
            return
        with locks.locked(self.artefacts.root, f"{self.dataset.name}/failures.csv"):
            rows = _read_failures(path)
            rows.pop(model_id, None)
            rows |= {model_id: reason} if reason else {}
            write_csv(path, FAILURE_COLUMNS, [{"model_id": key, "reason": value} for key, value in rows.items()])


def _read_failures(path: Path) -> dict[str, str]:
    """{model id: reason}."""
    return {row["model_id"]: row["reason"] for row in read_csv(path, FAILURE_COLUMNS)} if path.exists() else {}
