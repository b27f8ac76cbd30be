"""Pickled frames: read as pandas reads them, and written so that pandas reads them."""

import io
import json
import pickle
import pickletools
import subprocess
import sys
import types
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors.errors import InputError
from imagenet_errors.paper_archive.pickled_frames import Frame, read_frame, to_python, write_frame
from tests.helpers import hostile_pickles as made
from tests.helpers.archives import from_pandas

warnings.filterwarnings("ignore", "numpy.core", DeprecationWarning)
pytestmark = pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")


def as_lists(frame: Frame) -> dict[str, list]:
    return {name: cells if isinstance(cells, list) else cells.tolist() for name, cells in frame.columns.items()}


def agree(frame: Frame, expected: pd.DataFrame) -> bool:
    """Cell by cell, with the cells' types."""
    assert list(frame.columns) == list(expected.columns)
    assert frame.index.tolist() == expected.index.tolist()
    for name, cells in as_lists(frame).items():
        cells, wanted = [*map(to_python, cells)], [as_python(cell) for cell in expected[name].tolist()]
        assert cells == wanted, name
        assert [*map(type, cells)] == [*map(type, wanted)], name
        assert isinstance(frame.columns[name], list) == (expected[name].dtype == object), name
    assert frame.attrs == expected.attrs
    return True


def as_python(cell):
    """NumPy's numbers and arrays as Python's."""
    if isinstance(cell, np.ndarray):
        return [as_python(each) for each in cell]
    return cell.item() if isinstance(cell, np.generic) else cell


def test_archived_frames_are_read_as_by_pandas(pickles):
    assert len(pickles) == 2
    for content in pickles.values():
        expected = pd.read_pickle(io.BytesIO(content))
        assert len(expected) == 20_000
        frame = read_frame(content, "here")
        assert agree(frame, expected)
        assert frame.columns["is_problematic"].dtype == bool


def test_frame_saved_again_by_todays_pandas_is_read(pickles):
    """Pandas 3 names its classes differently."""
    expected = pd.read_pickle(io.BytesIO(pickles["keras--xception"])).head(500)
    content = pickle.dumps(expected)
    assert b"pandas.core.frame" not in content
    assert agree(read_frame(content, "here"), expected)


@pytest.mark.parametrize("model", ["keras--xception", pytest.param("pytorch--resnet50", marks=pytest.mark.heavy)])
def test_written_archived_frame_is_read_by_pandas(pickles, model):
    expected, frame = pd.read_pickle(io.BytesIO(pickles[model])), read_frame(pickles[model], "here")
    written = write_frame(replace(frame, attrs={"open_world": "skipped"}))
    found = pd.read_pickle(io.BytesIO(written))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert found.dtypes.tolist() == expected.dtypes.tolist()
    assert (found.columns.dtype, found.index.dtype) == (expected.columns.dtype, expected.index.dtype)
    assert found.attrs == {"open_world": "skipped"}
    assert write_frame(read_frame(written, "here")) == written


def test_written_pickle_is_well_formed(pickles):
    """For Python's own unpickler and disassembler; of a part of a frame."""
    frame = read_frame(next(iter(pickles.values())), "here")
    content = write_frame(Frame({name: cells[:9] for name, cells in as_lists(frame).items()}, frame.index[:9], {}))
    pickletools.dis(content, out=io.StringIO())
    assert len(pickle._loads(content)) == 9


PANDAS_MODULES = {name: module for module, name in made.ALLOWED.values() if module.startswith("pandas")}


class OldPickler(pickle._Pickler):
    """Pickles with the module names of pandas 2.0, and of NumPy 1 or 2."""

    def __init__(self, file, protocol, core):
        super().__init__(file, protocol)
        self.core = core

    def save_global(self, obj, name=None):
        name = name or obj.__qualname__
        module = pickle.whichmodule(obj, name).replace("numpy._core", f"numpy.{self.core}")
        self.save(PANDAS_MODULES.get(name, module))
        self.save(name)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    dispatch = pickle._Pickler.dispatch | {types.FunctionType: save_global}


def as_old(frame: pd.DataFrame, protocol: int, core: str) -> bytes:
    buffer = io.BytesIO()
    OldPickler(buffer, protocol, core).dump(frame)
    return buffer.getvalue()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
ARRAYS = st.builds(
    lambda values, dtype: np.array(values, dtype),
    st.lists(st.integers(0, 99), min_size=1, max_size=3),
    st.sampled_from("bhiqO?"),
)
NUMBERS = st.builds(
    lambda value, dtype: np.dtype(dtype).type(value),
    st.integers(0, 99),
    st.sampled_from([*"bhiqBHIQ", "bool"]),
)
PLAIN_CELLS = st.one_of(
    st.none(), TEXTS, st.booleans(), INTEGERS, st.lists(TEXTS, max_size=3), st.lists(INTEGERS, max_size=3)
)
CELLS = st.one_of(PLAIN_CELLS, NUMBERS, ARRAYS)
ATTRS = st.dictionaries(TEXTS, PLAIN_CELLS, max_size=2)


@st.composite
def frames(draw, cells=CELLS):
    """Frames as pandas 2.0 makes them: by columns or from one array in either order, then sliced and extended."""
    n = draw(st.integers(1, 5))
    names = draw(st.lists(TEXTS, min_size=1, max_size=5, unique=True))
    listed = st.lists(cells, min_size=n, max_size=n)
    if draw(st.booleans()):
        values = np.empty((n, len(names)), object, order=draw(st.sampled_from("CF")))
        for column in range(len(names)):
            values[:, column] = pd.Series(draw(listed), dtype=object, index=range(n))
        frame = pd.DataFrame(values, dtype=object, copy=False)
        frame.columns = pd.Index(names, dtype=object)
    else:
        kinds = {bool: st.booleans(), np.int64: INTEGERS, np.int32: st.integers(-9, 9), np.uint8: st.integers(0, 255)}
        series = {}
        for name in names:
            kind = draw(st.sampled_from([object, *kinds]))
            drawn = draw(listed if kind is object else st.lists(kinds[kind], min_size=n, max_size=n))
            series[name] = pd.Series(drawn, dtype=kind, index=range(n))
        frame = pd.DataFrame(series, index=range(n), columns=pd.Index(names, dtype=object))
    match draw(st.sampled_from(["range", "gaps", "step", "back"])):
        case "gaps":
            frame.index = pd.Index(draw(st.lists(st.integers(0, 50_000), min_size=n, max_size=n)), dtype="int64")
        case "step":
            frame = frame.iloc[::2]
        case "back":
            frame = frame.iloc[::-1]
    frame = frame[draw(st.permutations(list(frame.columns)))]
    if draw(st.booleans()):
        frame = frame.copy()
        frame["grown"] = np.arange(len(frame))
    frame.columns = frame.columns.astype(object)
    frame.attrs = draw(ATTRS)
    return frame


@given(frames(), st.sampled_from([4, 5]), st.sampled_from(["core", "_core"]))
def test_any_frame_is_read_as_by_pandas(frame, protocol, core):
    assert agree(read_frame(as_old(frame, protocol, core), "here"), frame)


@given(frames(PLAIN_CELLS))
def test_any_written_frame_is_read_by_pandas(frame):
    for column in frame:
        if frame[column].dtype not in (object, bool):
            frame[column] = frame[column].astype("int64")  # our one kind of integers
    written = from_pandas(frame)
    found = pd.read_pickle(io.BytesIO(written))
    pd.testing.assert_frame_equal(found, frame, check_exact=True, check_index_type=False)
    assert [[*map(type, found[name])] for name in found] == [[*map(type, frame[name])] for name in frame]
    assert found.attrs == frame.attrs
    assert agree(read_frame(written, "here"), frame)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("protocol", [4, 5])
def test_objects_in_any_memory_order_keep_their_places(protocol, core, order):
    """NumPy lists objects row by row, whatever memory order it records."""
    cells = np.array([["a", [1]], ["b", [2]], ["c", [3]]], object, order=order)
    frame = pd.DataFrame(cells, dtype=object, copy=False)
    frame.columns = pd.Index(["letter", "list"], dtype=object)
    assert as_lists(read_frame(as_old(frame, protocol, core), "here")) == {
        "letter": ["a", "b", "c"],
        "list": [[1], [2], [3]],
    }


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("fortran", [False, True])
def test_numbers_in_any_memory_order_keep_their_places(core, order, fortran):
    values = np.arange(6, dtype="<i8").reshape(2, 3)
    by_buffer = made.frombuffer((2, 3), "i8", values.tobytes(order), order, core)
    state = made.data(values.tobytes("F" if fortran else "C"))
    by_state = made.reconstructed((2, 3), "i8", state, fortran, core)
    for array in (by_buffer, by_state):
        content = made.of_values(array, rows=made.range_index(0, 3))
        assert as_lists(read_frame(content, "here")) == {"a": [0, 1, 2], "b": [3, 4, 5]}


@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
def test_numpy_numbers_in_cells_are_read(dtype, core):
    cell = made.scalar(np.dtype(dtype).type(1), core)
    frame = read_frame(made.analysis(target=[cell, cell], multi_label=[made.integers([0, 7], core), [0]]), "here")
    assert [to_python(cell) for cell in frame.columns["target"]] == [1, 1]
    assert type(to_python(frame.columns["target"][0])) is (bool if dtype == "b1" else int)
    assert [to_python(cell) for cell in frame.columns["multi_label"]] == [[0, 7], [0]]


def test_big_endian_numbers_are_read():
    values = made.frombuffer((2, 2), made.dtype("i8", ">"), np.arange(4, dtype=">i8").tobytes())
    assert as_lists(read_frame(made.of_values(values), "here")) == {"a": [0, 1], "b": [2, 3]}


PANDAS_2_0 = """
import json, pickle, sys
import numpy as np
import pandas as pd
assert pd.__version__ == "2.0.2" and np.__version__[0] == "1"
folder = sys.argv[1]
d = pd.read_pickle(folder + "/ours.pkl")
said = {name: d[name].tolist() for name in d} | {"dtypes": d.dtypes.astype(str).to_dict(), "attrs": d.attrs}
said |= {"index": d.index.tolist(), "index type": str(d.index.dtype), "columns type": str(d.columns.dtype)}
json.dump(said, open(folder + "/said.json", "w"))
d = pd.DataFrame({"t": ["x", "y", None], "n": [1, 2, 3], "b": [True, False, True], "l": [[1, 2], [], ["q"]]})
d.attrs["open_world"] = "skipped"
grown = d.assign(m=[4, 5, 6], z=["u", "v", "w"])
grown["late"] = [7, 8, 9]
numbers = pd.Series([np.int64(3), np.bool_(True), np.int16(5)], dtype=object)
arrays = pd.Series([np.array([1, 2]), np.array([], int), np.array(["a", "b"], object)], dtype=object)
letters = np.array([["a", "b"], ["c", "d"], ["e", "f"]], object)
theirs = {
    "plain": d, "grown": grown, "gaps": d.set_index(pd.Index([1, 5, 9])), "cells": d.assign(n=numbers, a=arrays),
    "rows": pd.DataFrame(letters, columns=["p", "q"]),
    "columns": pd.DataFrame(np.asfortranarray(letters), columns=["p", "q"]),
    "small": pd.DataFrame({"a": np.array([1, 2], np.int32), "b": np.array([1, 2], np.uint8)}),
    "step": d.iloc[::2], "back": d.iloc[::-1], "some": d[d.n > 1], "chosen": d[["n", "t"]], "dicts": pd.DataFrame([
        {"t": "a", "n": 1, "l": [1]}, {"t": "b", "n": 2, "l": []}]), "concat": pd.concat([d, d]),
    "sorted": d.sort_values("n", ascending=False), "applied": d.assign(n=d.apply(lambda row: row.n + 1, axis=1)),
}
def python(cell):
    if isinstance(cell, np.ndarray):
        return [python(each) for each in cell]
    return cell.item() if isinstance(cell, np.generic) else cell
for name, frame in theirs.items():
    for protocol in (3, 4, 5):
        content = pickle.dumps(frame, protocol=protocol)
        cells = {column: [python(cell) for cell in frame[column].tolist()] for column in frame}
        written = content, cells, frame.index.tolist(), frame.attrs
        pickle.dump(written, open(f"{folder}/{name}{protocol}.theirs", "wb"))
"""


@pytest.mark.heavy
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pandas 2.0.2 is not built for this Python")
def test_pandas_2_0_reads_ours_and_is_read(pickles, tmp_path):
    """pandas 2.0.2 with NumPy 1 reads what we write, and we read what it writes."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "pandas==2.0.2", "numpy<2"], check=True)
    frame = replace(read_frame(pickles["keras--xception"], "here"), attrs={"open_world": "skipped"})
    (tmp_path / "ours.pkl").write_bytes(write_frame(frame))
    done = subprocess.run([python, "-c", PANDAS_2_0, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "said.json").read_text())
    kinds = {"target": "int64", "top1": "int64", "is_problematic": "bool"}
    assert said == as_lists(frame) | {
        "dtypes": {name: kinds.get(name, "object") for name in frame.columns},
        "attrs": {"open_world": "skipped"},
        "index": frame.index.tolist(),
        "index type": "int64",
        "columns type": "object",
    }
    theirs = sorted(tmp_path.glob("*.theirs"))
    assert len(theirs) == 45
    for path in theirs:
        content, cells, index, attrs = pickle.loads(path.read_bytes())
        found = read_frame(content, path)
        assert {name: [*map(to_python, each)] for name, each in as_lists(found).items()} == cells, path
        assert (found.index.tolist(), found.attrs) == (index, attrs), path


def test_frame_with_columns_of_other_types_is_told_how_to_save_it():
    """pandas 3 gives texts a type of their own; what it says to do makes the frame readable."""
    frame = pd.DataFrame({"text": pd.array(["a", "b"], "string"), "number": [1, 2]})
    for content in (frame, frame.number, frame.astype({"number": "Int64"})):
        with pytest.raises(InputError, match=r"is not in the archive's form: .*astype\(object\)"):
            read_frame(pickle.dumps(content), "a.pkl")
    plain = frame.astype(object)
    plain.columns = plain.columns.astype(object)
    assert read_frame(pickle.dumps(plain), "a.pkl").columns["text"] == ["a", "b"]
