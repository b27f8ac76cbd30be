"""Fixtures of the tests of pictures."""

import pytest
from matplotlib import pyplot

from imagenet_errors.plots import drawing
from imagenet_errors.plots.model_frames import load_frames


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw a figure of the tables in `folder`; gives matplotlib's figure, laid out as in the file."""
    kept = []
    close = pyplot.close
    monkeypatch.setattr(pyplot, "close", kept.append)

    def run(figure, folder=tmp_path, **options):
        frames = load_frames(folder, figure.dataset)
        drawing.draw_figure(figure, frames, drawing.DrawingOptions(tmp_path / "out", (), **options))
        kept[-1].set_dpi(300)
        kept[-1].canvas.draw()
        return kept[-1]

    yield run
    for canvas in kept:
        close(canvas)
