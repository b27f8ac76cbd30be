"""The model that runs next: its weights are downloaded, and it is built, while another runs."""

from contextlib import suppress
from threading import Thread

from imagenet_errors.errors import ModelError
from imagenet_errors.inference import zoo
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.processes import BACKGROUND

# Building these changes nothing but random numbers, which their networks do not draw when they predict. A user's
# function may do anything, and transformers changes PyTorch's default dtype for all threads while it loads.
BUILT_BESIDE = ("timm", "torchvision.models", "torch.hub", "package")
FETCHED_BESIDE = (*BUILT_BESIDE, "huggingface")


class NextModel:
    """A thread that gets one model ready. There are at most two models at a time: this one, and that which runs.

    What fails in the thread is done again, and told, where the model's turn comes. The end of the run does not wait
    for the thread (`processes.BACKGROUND`).

    Args:
        builds: Whether models are built beside another, too. On a CPU that would take cores from the network.
        use_test_size: As the flag.
    """

    def __init__(self, builds: bool, use_test_size: bool):
        self.builds, self.use_test_size = builds, use_test_size
        self.record: ModelRecord | None = None
        self.built: list[zoo.Built] = []  # that one, once it is built
        self.thread = Thread()

    def start(self, record: ModelRecord, running: ModelRecord) -> None:
        """Begin with a model while `running` runs, unless one of the two must be alone."""
        if self.thread.is_alive() or not {record.source, running.source} <= set(FETCHED_BESIDE):
            return
        self.record, self.built = record, []
        self.thread = Thread(target=self._prepare, args=(record, self.built), name=BACKGROUND, daemon=True)
        self.thread.start()

    def _prepare(self, record: ModelRecord, built: list[zoo.Built]) -> None:
        with suppress(ModelError):
            zoo.fetch(record)
            if self.builds and record.source in BUILT_BESIDE:
                built.append(zoo.build(record, self.use_test_size))

    def take(self, record: ModelRecord) -> zoo.Built:
        """The network of a model whose turn has come, and its preprocessing. Raises `ModelError` as `zoo.build`."""
        if self.record == record:
            self.thread.join()
        built, self.record, self.built = self.built if self.record == record else [], None, []
        return built[0] if built else zoo.build(record, self.use_test_size)
