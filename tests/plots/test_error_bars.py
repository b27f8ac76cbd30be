"""The bar picture of evaluation.py: whose bars it shows, and names in any script."""

import warnings

import numpy as np
import pytest
from matplotlib import pyplot

from imagenet_errors.plots import error_bars

TITLES = ["class overlap", "missing multi-label", "fine-grained", "model failure"]


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draw the bars of models with these numbers of errors; gives matplotlib's axes."""
    drawn, close = [], pyplot.close
    monkeypatch.setattr(pyplot, "close", drawn.append)

    def run(errors, name="model{}".format):
        counts = np.column_stack([np.asarray(errors) // 4] * 4)
        models = [name(number) for number in range(len(counts))]
        error_bars.draw(models, TITLES, counts, [""] * 4, "imagenet", tmp_path / "bars.png")
        assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
        return drawn[-1].axes[0]

    yield run
    for figure in drawn:
        close(figure)


def labels(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_up_to_sixty_models_are_all_drawn_in_their_order(draw):
    errors = np.random.default_rng(3).permutation(60) * 4
    axes = draw(errors)
    assert labels(axes) == [f"model{number}  ({count:,} errors)" for number, count in enumerate(errors)]
    assert axes.get_title(loc="left") == "imagenet"
    assert [len(bars) for bars in axes.containers] == [60] * len(TITLES)


def test_sixty_of_more_models_are_drawn_from_fewest_to_most_errors(draw):
    errors = np.random.default_rng(3).permutation(962) * 4
    axes = draw(errors)
    models = [int(label.split()[0].removeprefix("model")) for label in labels(axes)]
    shown = errors[models]
    assert len(shown) == 60
    assert (shown[0], shown[-1]) == (0, 4 * 961)
    assert {16, 17} >= {step // 4 for step in np.diff(shown).tolist()}
    assert "60 of 962 models shown" in axes.get_title(loc="left")
    assert axes.figure.get_size_inches()[1] < 25


def test_names_in_any_script_are_drawn_without_a_warning(draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = draw([4, 8, 12], ["ünïcödé 模型 Ω", "عربي 🙂", "price $x$"].__getitem__)
    assert [label.split("  (")[0] for label in labels(axes)] == ["ünïcödé 模型 Ω", "عربي 🙂", r"price \$x\$"]
