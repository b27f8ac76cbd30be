"""From records to saved predictions, one model at a time; a model that fails is a row in failures.csv."""

import atexit
import gc
import logging
import socket
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch.nn import Module

from imagenet_errors import locks
from imagenet_errors.dataset.class_numberings import ClassNumbering, list_numberings
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.plausibility import find_fault
from imagenet_errors.dataset.samples import Samples, register_samples
from imagenet_errors.errors import InputError, ModelError, ProtectedFileError, describe_exception
from imagenet_errors.files import fingerprint, write_json
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.inference import own_functions, predict, zoo
from imagenet_errors.inference.batching import choose_batch_size, halve_until_it_fits
from imagenet_errors.inference.failures import FailureList
from imagenet_errors.inference.image_checks import check_images
from imagenet_errors.inference.image_sources import find_source
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.next_model import NextModel
from imagenet_errors.inference.pixel_cache import CacheLimits
from imagenet_errors.inference.preprocessing import OwnTransform, Preprocessing
from imagenet_errors.inference.weights import is_offline
from imagenet_errors.models import own_models, saved_predictions
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import Advance, open_progress

log = logging.getLogger(__name__)

AGREEMENT_IMAGES = 1000  # a share of 1 % that changes is then known to about 0.6 points, with 95 % confidence


def freeze_libraries() -> None:
    """Have the collection of garbage before every model not visit the objects of torch and timm."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # else nanobind reports them as leaks


class LockedByOtherProcessError(Exception):
    """Another process is predicting with this model; the message names the process."""


class FailedInOtherProcessError(Exception):
    """Another process found this model failing since this run began; the message is the reason."""


@dataclass(frozen=True)
class Options:
    """How models are run: the flags of collect_predictions.py.

    Attributes:
        batch_size: Images per batch, at first: it is halved for a model that runs out of memory. None for as many as
            pay on the device.
        workers: Processes that decode images; None for a number that fits the device.
        device: Name of the device; None for the best there is.
        limit: Only the first so many images.
        amp: Half precision and TF32.
        compile: Run what torch.compile makes of a network.
        agreement: Compare top-1 with that of plain float32 on some images.
        use_test_size: timm's test size instead of its train size.
        cache_dir: A folder to keep decoded pixels in; None for the artefacts folder.
        cache_gb: The most gigabytes of them; 0 keeps none.
        save_probs: Save all 1000 probabilities per image as well.
    """

    batch_size: int | None = 32
    workers: int | None = None
    device: str | None = None
    limit: int | None = None
    amp: bool = False
    compile: bool = False
    agreement: bool = False
    use_test_size: bool = False
    cache_dir: Path | None = None
    cache_gb: float = 50.0
    save_probs: bool = False

    @classmethod
    def from_flags(cls, flags: Namespace) -> "Options":
        """Those of collect_predictions.py."""
        return cls(**{field.name: getattr(flags, field.name) for field in fields(cls)})

    def get_cache_limits(self, artefacts: Artefacts) -> CacheLimits | None:
        """Of the pixels that are kept; None to keep none. Raises `InputError` where there is no such folder."""
        if self.cache_dir and not self.cache_dir.is_dir():
            raise InputError(f"{self.cache_dir} is not a folder: --cache_dir takes one on a fast disk")
        return CacheLimits(self.cache_dir or artefacts.root, self.cache_gb) if self.cache_gb else None


@dataclass
class Collector:
    """A run over one dataset.

    Attributes:
        artefacts: Where predictions go.
        dataset: Of the images.
        samples: The images of the run.
        images: Their pixels.
        device: Where to compute.
        subset: Class ids among which a second accuracy is taken, or None.
        options: How models are run.
        failure_list: The failures of all processes.
        failures: {model id: reason} of this run.
        following: The models that come after the present one, as far as they are known.
    """

    artefacts: Artefacts
    dataset: Dataset
    samples: Samples
    images: Images
    device: torch.device
    subset: list[int] | None
    options: Options
    failure_list: FailureList
    failures: dict[str, str] = field(default_factory=dict)
    following: Sequence[ModelRecord] = ()

    @cached_property
    def _next_model(self) -> NextModel:
        builds = self.device.type != "cpu" and not self.options.compile  # which works in the same Python process
        return NextModel(builds, self.options.use_test_size)

    @cached_property
    def _numberings(self) -> list[ClassNumbering]:
        return list_numberings(self.artefacts)

    @cached_property
    def _readable_images(self) -> Images:
        """The images, checked when the first model is to be run. Raises `InputError` where some cannot be read."""
        check_images(self.artefacts, self.dataset.name, self.images.stored)
        return self.images

    @classmethod
    def prepare(cls, artefacts: Artefacts, dataset: Dataset, options: Options) -> "Collector":
        """Find the images of the run, and register them as those of the dataset's folder.

        Raises:
            InputError: where there are no images, others are registered, or a flag does not fit this machine.
        """
        if options.agreement and not (options.amp or options.compile):
            raise InputError("--agreement compares --amp or --compile with plain float32: name one of them")
        limits = options.get_cache_limits(artefacts)
        device = predict.choose_device(options.device)
        whole = find_source(artefacts, dataset)
        source = whole.first(options.limit)
        samples, class_ids = source.samples, sorted(set(whole.samples.targets.tolist()))
        register_samples(artefacts, dataset.name, samples)
        log.info(f"{dataset.name}: {dataset.extent(len(samples.files))} in {source.root}")
        workers = predict.default_workers(device) if options.workers is None else options.workers
        conditions = fingerprint(socket.gethostname(), str(device), options, is_offline(), samples.fingerprint)
        return cls(
            artefacts,
            dataset,
            samples,
            Images(source.stored, workers, limits, pin_memory=device.type == "cuda"),
            device,
            class_ids if dataset.name == "imagenet-a" else None,
            options,
            FailureList(artefacts, dataset.name, conditions),
        )

    def run(self, records: Sequence[ModelRecord]) -> Iterator[str]:
        """Predict and save, unless that is done; yields a line for every new result.

        Models of one geometry follow each other, those of most multiply-adds first. A model that another process is
        predicting with comes last: then its end is waited for, and it is run here if it was not finished there.

        Raises:
            InputError: for an image that cannot be read, or a killed worker: no other model could be run either.
        """
        freeze_libraries()
        locked: list[ModelRecord] = []
        with open_progress("models", len(records)) as advance:
            groups = zoo.group_in_order(self.artefacts, records, self.options.use_test_size).values()
            waiting = (self._list_waiting([record for record, _ in group], advance) for group in groups)
            for group, group_after in pairwise(chain(filter(None, waiting), [[]])):
                with self.images.shared_by(len(group)):
                    for number, record in enumerate(group, 1):
                        self.following = [*group[number:], *group_after[:1]]
                        try:
                            yield from self._try(record, wait=False)
                            advance(1)
                        except LockedByOtherProcessError as error:
                            log.info(f"{record.model_id}: {error}, so it comes last")
                            locked.append(record)
            self.following = ()
            for record in locked:
                yield from self._try(record, wait=True)
                advance(1)

    def _list_waiting(self, records: list[ModelRecord], advance: Advance) -> list[ModelRecord]:
        """Those without valid predictions; the others are told as done."""
        waiting = [record for record in records if not self.is_kept(record)]
        advance(len(records) - len(waiting))
        return waiting

    def run_one(self, record: ModelRecord) -> list[str]:
        """The same for one model; another process that is predicting with it is waited for."""
        return self._try(record, wait=True)

    def is_kept(self, record: ModelRecord) -> bool:
        """Whether there are valid predictions; those of a model that must be built to know it are looked at later."""
        try:
            if record.module == own_models.MODULE or not self._is_up_to_date(record, self._made_with):
                return False
        except ProtectedFileError:  # told when it is to be run
            return False
        log.info(f"{record.model_id}: kept, it has valid predictions")
        self.failure_list.update(record.model_id, None)
        return True

    @property
    def _made_with(self) -> dict[str, bool | str]:
        """What the metadata say of how every model is run."""
        return {name: getattr(self.options, name) for name in ("amp", "compile", "use_test_size")}

    def _try(self, record: ModelRecord, wait: bool) -> list[str]:
        try:
            self._check_other_processes(record)
            lines = self._collect(record, wait)
        except FailedInOtherProcessError as error:
            self.failures[record.model_id] = str(error)
            log.info(f"{record.model_id}: not predicted, {error} (found by another process since this run began)")
            return []
        except (ModelError, ProtectedFileError) as error:
            self.failures[record.model_id] = str(error)
            log.info(f"{record.model_id}: not predicted, {error}")
            lines = []
        except RuntimeError as error:
            raise InputError(f"decoding images fails ({describe_exception(error)}): try fewer --workers") from error
        self.failure_list.update(record.model_id, self.failures.get(record.model_id))
        return lines

    def _check_other_processes(self, record: ModelRecord) -> None:
        """Raises `FailedInOtherProcessError` where the model need not be tried again."""
        reason = self.failure_list.find_new(record.model_id)
        if reason is not None:
            raise FailedInOtherProcessError(reason)

    def _collect(self, record: ModelRecord, wait: bool) -> list[str]:
        made_with, built = self._made_with, None
        if record.module == own_models.MODULE:
            built = zoo.build(record, self.options.use_test_size)
            made_with["weights_fingerprint"] = own_functions.fingerprint_of(record, *built, self.device)
            chosen = zoo.find_choice(record)
            if chosen:
                made_with["checkpoint_key"] = chosen
                log.info(f"{record.model_id}: of the raw and EMA weights in {record.weights}, {chosen} is used")
        kept = f"{record.model_id}: kept, it has valid predictions"
        if self._is_up_to_date(record, made_with):  # without a lock: the folder may be read-only
            log.info(kept)
            return []
        root, name = self.artefacts.root, self._name_lock(record)
        with locks.locked(root, name) if wait else locks.if_free(root, name) as is_ours:
            if not is_ours:
                raise LockedByOtherProcessError(f"locked by {locks.read_holder(root, name)}")
            if self._keep(record, made_with):
                log.info(kept)
                return []
            self._check_other_processes(record)
            return [self._make(record, built, made_with)]

    def _name_lock(self, record: ModelRecord) -> str:
        return f"{self.dataset.name}/{record.dir_id}"

    def _is_to_run(self, record: ModelRecord) -> bool:
        """Whether a model is to be run here, as far as other processes have got with it."""
        try:
            with locks.if_free(self.artefacts.root, self._name_lock(record)) as is_free:
                is_done = self._is_up_to_date(record, self._made_with) or self.failure_list.find_new(record.model_id)
                return is_free and not is_done
        except ProtectedFileError:  # told when it is to be run
            return False

    def _read_valid_metadata(self, record: ModelRecord, made_with: dict, level: int) -> dict | None:
        """The metadata of valid predictions; what is wrong with others is logged at this level."""
        try:
            return saved_predictions.read_valid_metadata(
                self.artefacts, self.dataset.name, record, self.samples, self.options.save_probs, made_with
            )
        except ProtectedFileError:
            raise
        except InputError as error:
            log.log(level, f"{record.model_id}: predicted again because {error}")
            return None

    def _is_up_to_date(self, record: ModelRecord, made_with: dict) -> bool:
        """Whether there is nothing to write; what is wrong is logged later, under the lock."""
        known = self._read_valid_metadata(record, made_with, logging.DEBUG)
        return known is not None and known == known | saved_predictions.describe_model(record)

    def _keep(self, record: ModelRecord, made_with: dict) -> bool:
        """Whether the predictions are valid; the descriptive part of their metadata is brought up to date."""
        known = self._read_valid_metadata(record, made_with, logging.INFO)
        if known is None:
            return False
        if known != (refreshed := known | saved_predictions.describe_model(record)):
            write_json(self.artefacts.metadata(self.dataset.name, record.dir_id), refreshed)
        return True

    def _make(self, record: ModelRecord, built: zoo.Built | None, made_with: dict) -> str:
        images = self._readable_images
        gc.collect()  # the memory of the network before this one
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        model, preprocessing = built or self._next_model.take(record)
        network = cast(Module, torch.compile(model)) if self.options.compile else model
        batch_size = self.options.batch_size or choose_batch_size(
            self.artefacts, record, model, preprocessing, self.device, self.options.amp
        )
        following = next(filter(self._is_to_run, self.following), None)
        if following:
            self._next_model.start(following, running=record)
        predictions, batch_size = self._predict(record, network, preprocessing, images, batch_size)
        if self.options.agreement:
            made_with = made_with | self._measure_agreement(record, model, preprocessing, predictions, batch_size)
        metadata = saved_predictions.write_predictions(
            self.artefacts,
            self.dataset.name,
            record,
            self.samples,
            predictions,
            zoo.count_parameters(model) or None,  # a callable's are not known
            batch_size,
            made_with,
        )
        fault = find_fault(predictions.top1, self.samples, self._numberings, self.dataset.name)
        if fault:
            log.warning(
                f"{record.model_id}: its predictions have {fault}: check its weights and the order of its classes"
            )
        return (
            f"{record.model_id}: top-1 {metadata['top1_val_acc']:.2f} % on"
            f" {self.dataset.extent(len(self.samples.files))}, {predictions.seconds:.1f} s on {self.device}"
        )

    def _measure_agreement(
        self,
        record: ModelRecord,
        model: Module,
        preprocessing: Preprocessing | OwnTransform,
        predictions: Predictions,
        batch_size: int,
    ) -> dict[str, float]:
        """On how many images, spread over all, the top-1 was compared with that of plain float32; percent the same."""
        num_images = len(self.samples.files)
        rows = np.linspace(0, num_images - 1, min(num_images, AGREEMENT_IMAGES)).astype(int)
        images = Images([self.images.stored[row] for row in rows], self.images.workers)
        description = f"{record.model_id} in float32"
        run = partial(predict.predict, model, preprocessing, images, device=self.device, description=description)
        plain, _ = halve_until_it_fits(run, batch_size, record.model_id, self.device)
        percent = 100 * float(np.mean(plain.top1 == predictions.top1[rows]))
        log.info(f"{record.model_id}: {percent:.2f} % of top-1 are those of float32, on {len(rows):,} images")
        return {"float32_agreement": percent, "float32_agreement_images": len(rows)}

    def _predict(
        self,
        record: ModelRecord,
        model: Module,
        preprocessing: Preprocessing | OwnTransform,
        images: Images,
        batch_size: int,
    ) -> tuple[Predictions, int]:
        """The predictions, and the batch size that fitted into memory."""
        run = partial(
            predict.predict,
            model,
            preprocessing,
            images,
            device=self.device,
            amp=self.options.amp,
            subset=self.subset,
            save_probs=self.options.save_probs,
            description=record.model_id,
        )
        return halve_until_it_fits(run, min(batch_size, len(self.samples.files)), record.model_id, self.device)
