"""Copies to a GPU, on a simulated one: nothing here has one.

A simulated stream runs what was put on it in order, and only when something waits for it. It shows what is waited for
where; what a real GPU does at the same time it cannot show.
"""

from contextlib import contextmanager

import pytest
import torch

from imagenet_errors.errors import InputError
from imagenet_errors.inference import predict
from imagenet_errors.inference.predict import OutOfMemoryError, copy_ahead
from imagenet_errors.inference.preprocessing import Preprocessing, ResizeAndCrop

GPU = torch.device("cuda")


class Stream:
    """Work in order: functions, and events to wait for."""

    def __init__(self, *_):
        self.work = []

    def record_event(self, event=None):
        event = event or Event()
        event.stream, event.position = self, len(self.work)
        self.work.append(None)
        return event

    def wait_event(self, event):
        self.work.append(event.synchronize)

    def run_until(self, position):
        for number, work in enumerate(self.work[: position + 1]):
            self.work[number] = None
            if work:
                work()


class Event:
    def __init__(self, blocking=False):
        self.stream, self.position = None, 0

    def synchronize(self):
        self.stream.run_until(self.position)


class Pixels:
    """A batch; `log` has what was done with it."""

    def __init__(self, gpu, number, is_pinned=False, is_on_gpu=False):
        self.gpu, self.number, self.pinned, self.is_on_gpu = gpu, number, is_pinned, is_on_gpu
        self.device, self.used_by = GPU, []

    def is_pinned(self):
        return self.pinned

    def pin_memory(self):
        return Pixels(self.gpu, self.number, is_pinned=True)

    def to(self, device, non_blocking):
        assert self.pinned
        assert non_blocking
        if self.gpu.fits is not None and self.number >= self.gpu.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.gpu.note("copy", self.number)
        copied = Pixels(self.gpu, self.number, is_on_gpu=True)
        self.gpu.current.work.append(lambda: self.gpu.ready.add(self.number))
        return copied

    def record_stream(self, stream):
        self.used_by.append(stream)


class Gpu:
    """With what `copy_ahead` takes of `torch.cuda`.

    Attributes:
        log: (what, batch) in the order in which the host did it.
        ready: The batches whose copies are complete.
        computed: Those that are computed.
        fits: The first batch that does not fit into memory.
    """

    def __init__(self, monkeypatch):
        self.computing = self.current = Stream()
        self.log, self.ready, self.computed, self.fits = [], set(), [], None
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "stream", self.use)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.current)

    @contextmanager
    def use(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def note(self, what, number):
        self.log.append((what, number))

    def compute(self, pixels):
        assert pixels.is_on_gpu
        assert pixels.used_by == [self.computing]
        self.note("compute", pixels.number)

        def run():
            assert pixels.number in self.ready, "it is computed before it is copied"
            self.computed.append(pixels.number)

        self.computing.work.append(run)

    def finish(self):
        self.computing.run_until(len(self.computing.work))


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


@pytest.mark.parametrize("count", [0, 1, 2, 20])
@pytest.mark.parametrize("is_pinned", [False, True])
def test_batches_are_computed_in_order_once_they_are_copied(gpu, count, is_pinned):
    for pixels in copy_ahead((Pixels(gpu, number, is_pinned) for number in range(count)), GPU):
        gpu.compute(pixels)
    gpu.finish()
    assert gpu.computed == list(range(count))


def test_each_batch_is_copied_before_the_one_before_is_computed(gpu):
    for pixels in copy_ahead((Pixels(gpu, number) for number in range(5)), GPU):
        gpu.compute(pixels)
    for number in range(4):
        assert gpu.log.index(("copy", number + 1)) < gpu.log.index(("compute", number))


def test_host_is_a_few_batches_ahead_at_most(gpu):
    """The memory of those that wait does not grow with the number of images; the GPU is never waited for until idle."""
    waiting = []
    for pixels in copy_ahead((Pixels(gpu, number) for number in range(50)), GPU):
        gpu.compute(pixels)
        waiting.append(pixels.number + 1 - len(gpu.computed))
    assert max(waiting) == predict.MOST_QUEUED + 1
    assert min(waiting[predict.MOST_QUEUED :]) == predict.MOST_QUEUED + 1


def test_copy_that_does_not_fit_is_a_batch_that_does_not_fit(gpu):
    gpu.fits = 1
    with pytest.raises(OutOfMemoryError):
        list(copy_ahead((Pixels(gpu, number) for number in range(3)), GPU))


@pytest.mark.parametrize("error", [InputError("unreadable"), RuntimeError("DataLoader worker (pid 7) is killed")])
def test_errors_of_decoding_stay_what_they_are(gpu, error):
    def batches():
        yield Pixels(gpu, 0)
        raise error

    with pytest.raises(type(error), match=str(error)[:5]):
        list(copy_ahead(batches(), GPU))


@pytest.mark.parametrize(
    ("device", "amp", "layout"),
    [
        ("cpu", False, torch.channels_last),
        ("cpu", True, torch.channels_last),
        ("cuda:1", True, torch.channels_last),
        ("cuda:1", False, torch.contiguous_format),
        ("mps", True, torch.contiguous_format),
    ],
)
def test_convolutions_have_channels_last_where_it_is_faster(device, amp, layout):
    assert predict.choose_layout(torch.device(device), amp) is layout


class OfVideos(torch.nn.Module):
    """An image is a video of one frame; the weights have five dimensions, for which PyTorch has another layout."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv3d(3, 1000, (1, 8, 8))

    def forward(self, pixels):
        return self.layer(pixels[:, :, None]).flatten(1)


def test_weights_of_five_dimensions_are_left_alone():
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    model, preprocessing = OfVideos().eval(), Preprocessing(ResizeAndCrop(8, 8, "bilinear"))
    (probs,) = predict.probabilities(model, preprocessing, [pixels], torch.device("cpu"))
    torch.testing.assert_close(probs, model(preprocessing.normalise(pixels)).softmax(dim=1))


def test_chosen_gpu_is_the_present_one(monkeypatch):
    """Else the thread of a loader that pins memory takes memory of the first one."""
    chosen, zeros = [], torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda size, device: zeros(size))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [predict.choose_device(name) for name in ("cuda:1", "cuda", "cpu")] == [
        torch.device("cuda:1"),
        torch.device("cuda"),
        torch.device("cpu"),
    ]
    assert chosen == [torch.device("cuda:1")]
