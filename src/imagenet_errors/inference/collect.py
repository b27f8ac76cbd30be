"""From records to stored predictions, one model at a time; a model that fails is a row in failures.csv."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from imagenet_errors.errors import InputError, ModelError, one_line
from imagenet_errors.files import read_csv, write_csv
from imagenet_errors.inference import own, predict, stored, zoo
from imagenet_errors.inference.catalogue import ModelRecord
from imagenet_errors.inference.datasets import Images
from imagenet_errors.storage import Artefacts, Dataset, Samples

FAILURE_COLUMNS = ["model_id", "reason"]


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
        say: Takes remarks, one line each.
        progress: Wraps (batches, name of the model).
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
    say: Callable[[str], None]
    progress: Callable
    failures: dict[str, str] = field(default_factory=dict)

    def collect(self, record: ModelRecord) -> str | None:
        """Predict and store, unless that is done; returns the result in a line, or None where there is no new one.

        Raises:
            InputError: for an image that cannot be read, or a killed worker: no other model could be run either.
        """
        try:
            line = self._collect(record)
        except ModelError as error:
            self.failures[record.model_id] = str(error)
            self.say(f"{record.model_id}: not predicted, {error}")
            line = None
        except RuntimeError as error:
            raise InputError(f"decoding images fails ({one_line(error)}): try fewer --workers") from error
        self._write_failures(record.model_id)
        return line

    def _collect(self, record: ModelRecord) -> str | None:
        made_with = {"amp": self.amp, "use_test_size": self.use_test_size}
        built = None
        if record.module == own.MODULE:
            built = zoo.build(record, self.use_test_size)
            made_with["weights_fingerprint"] = own.fingerprint_of(record, built[0])
        if self._is_kept(record, made_with):
            self.say(f"{record.model_id}: kept, it has valid predictions")
            return None
        gc.collect()  # the memory of the network before this one
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        model, preprocessing = built or zoo.build(record, self.use_test_size)
        predictions, batch_size = self._predict(record, model, preprocessing)
        metadata = stored.store(
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

    def _is_kept(self, record: ModelRecord, made_with: dict) -> bool:
        num_samples = len(self.samples.files)
        try:
            return stored.keep(self.artefacts, self.dataset.name, record, num_samples, self.save_probs, made_with)
        except InputError as error:
            self.say(f"{record.model_id}: predicted again, for {error}")
            return False

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
                    progress=lambda batches: self.progress(batches, record.model_id),
                )
                return predictions, batch_size
            except predict.OutOfMemoryError as error:
                if batch_size == 1:
                    raise ModelError(f"{error} with a single image on {self.device}") from None
            batch_size //= 2
            self.say(f"{record.model_id}: out of memory, trying again with --batch_size {batch_size}")

    def _write_failures(self, model_id: str) -> None:
        """Bring the row of one model up to date; those of other runs stay."""
        path = self.artefacts.failures(self.dataset.name)
        before = {row["model_id"]: row["reason"] for row in read_csv(path, FAILURE_COLUMNS)} if path.exists() else {}
        after = {model: reason for model, reason in before.items() if model != model_id}
        if model_id in self.failures:
            after[model_id] = self.failures[model_id]
        if after != before:
            write_csv(path, FAILURE_COLUMNS, [{"model_id": key, "reason": value} for key, value in after.items()])
