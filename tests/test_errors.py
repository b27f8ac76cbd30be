"""Exceptions of libraries in one line, without their advice to unpickle whatever is in a file."""

import io
import pickle

import numpy as np
import pytest

from imagenet_errors.errors import describe_exception, describe_unknown

LOADED = "a file is damaged, or holds objects that are not loaded"


def test_advice_of_numpy_to_allow_pickles_is_left_out():
    with pytest.raises(ValueError, match="allow_pickle") as caught:
        np.load(io.BytesIO(pickle.dumps({})), allow_pickle=False)
    assert describe_exception(caught.value) == f"ValueError: {LOADED}"


def test_advice_of_torch_to_load_more_than_weights_is_left_out():
    torch = pytest.importorskip("torch")
    content = io.BytesIO()
    torch.save(torch.nn.Linear(1, 1), content)
    content.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="weights_only") as caught:
        torch.load(content, weights_only=True)
    assert describe_exception(caught.value) == f"UnpicklingError: {LOADED}"


def test_other_texts_are_shortened_to_one_line():
    assert describe_exception(ValueError("a\n  b")) == "ValueError: a b"
    assert len(describe_exception(ValueError("x" * 999))) == len("ValueError: ") + 300


def test_list_of_long_names_is_cut_after_whole_ones():
    names = [f"{number:0100}" for number in range(30)]
    text = describe_unknown("figure", "x", names)
    assert text == f"unknown figure 'x', choose one of {', '.join(names[:6])} ..."
    assert describe_unknown("figure", "x", "ab") == "unknown figure 'x', choose one of a, b"
