"""Pickled frames: read as pandas reads them, written so that pandas reads them; nothing in a hostile pickle runs."""

import copyreg
import faulthandler
import io
import json
import multiprocessing
import os
import pickle
import pickletools
import random
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import types
import warnings
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_errors.errors import InputError
from imagenet_errors.paper_archive import convert
from imagenet_errors.paper_archive.analysis_frames import ArchivedAnalysis, Reader
from imagenet_errors.paper_archive.pickled_frames import Frame, read_frame, to_python, write_frame
from imagenet_errors.paths import Artefacts
from tests.helpers import hostile_pickles as made

warnings.filterwarnings("ignore", "numpy.core", DeprecationWarning)
pytestmark = pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")


@pytest.fixture(scope="session")
def official(shared) -> dict[str, bytes]:
    """{model: pickle} of the archive of two models."""
    with tarfile.open(shared / "archives" / "models-imagenet.tar.gz") as archive:
        names = [name for name in archive.getnames() if name.endswith("errors_analysis.pkl")]
        return {name.split("/")[1]: archive.extractfile(name).read() for name in names}


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


def from_pandas(frame: pd.DataFrame) -> Frame:
    columns = {name: cells.tolist() if cells.dtype == object else cells.to_numpy() for name, cells in frame.items()}
    return Frame(columns, frame.index.to_numpy(), frame.attrs)


# --- as pandas ------------------------------------------------------------------------------------------------------


def test_archived_frames_are_read_as_by_pandas(official):
    assert len(official) == 2
    for content in official.values():
        expected = pd.read_pickle(io.BytesIO(content))
        assert len(expected) == 20_000
        frame = read_frame(content, "here")
        assert agree(frame, expected)
        assert frame.columns["is_problematic"].dtype == bool


@pytest.mark.parametrize("model", ["keras--xception", pytest.param("pytorch--resnet50", marks=pytest.mark.heavy)])
def test_written_archived_frame_is_read_by_pandas(official, model):
    expected, frame = pd.read_pickle(io.BytesIO(official[model])), read_frame(official[model], "here")
    written = write_frame(replace(frame, attrs={"open_world": "skipped"}))
    found = pd.read_pickle(io.BytesIO(written))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert found.dtypes.tolist() == expected.dtypes.tolist()
    assert (found.columns.dtype, found.index.dtype) == (expected.columns.dtype, expected.index.dtype)
    assert found.attrs == {"open_world": "skipped"}
    assert write_frame(read_frame(written, "here")) == written


def test_written_pickle_is_well_formed(official):
    """For Python's own unpickler and disassembler; of a part of a frame."""
    frame = read_frame(next(iter(official.values())), "here")
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
    written = write_frame(from_pandas(frame))
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
def test_pandas_2_0_reads_ours_and_is_read(official, tmp_path):
    """pandas 2.0.2 with NumPy 1 reads what we write, and we read what it writes."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "pandas==2.0.2", "numpy<2"], check=True)
    frame = replace(read_frame(official["keras--xception"], "here"), attrs={"open_world": "skipped"})
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


# --- hostile pickles ------------------------------------------------------------------------------------------------

HARMLESS = {"object.__getattr__", "sys._getframe", "sys.excepthook"}  # Python prints when a bytearray finds no room


@pytest.fixture(scope="session")
def events():
    """Python's audit events: imports, files, programs, names found for a pickle."""
    seen = Events()

    def note(event, arguments):
        if seen.on == threading.get_ident() and event not in HARMLESS:
            seen.append((event, *arguments))

    sys.addaudithook(note)
    return seen


class Events(list):
    """The events of one thread while `caught` is active."""

    on = None

    @contextmanager
    def caught(self):
        self.clear()
        self.on = threading.get_ident()
        yield
        self.on = None


@pytest.fixture
def refusal(events):
    """Reads a pickle that must be refused; returns the message. Nothing may have run."""

    def refuse(content) -> str:
        with events.caught(), pytest.raises(InputError) as caught:
            read_frame(content, "THIS FILE")
        message = str(caught.value)
        assert not events
        assert message.startswith("THIS FILE is ")
        assert len(message) < 600
        return message

    return refuse


def test_events_show_what_a_pickle_runs(events, tmp_path):
    """The other tests can fail: these events occur when Python's own unpickler reads the pickles."""
    for form in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ"):
        marker = tmp_path / form
        with events.caught():
            pickle.loads(made.forms("os", "system", f"touch {marker}")[form])
        assert marker.exists()
        assert {"pickle.find_class", "os.system"} <= {event for event, *_ in events}


@pytest.mark.parametrize(("module", "attribute"), made.NAMES, ids=map(".".join, made.NAMES))
def test_foreign_name_is_refused(refusal, module, attribute, tmp_path):
    for form, content in made.forms(module, attribute, f"touch {tmp_path / 'marker'}").items():
        assert f"it names {module}.{attribute}, which no table needs" in refusal(content), form
    assert not list(tmp_path.iterdir())


ABUSES = made.abuses() | made.other_contents()


@pytest.mark.parametrize("what", ABUSES)
def test_abuse_of_allowed_names_is_refused(refusal, what):
    refusal(ABUSES[what])


@pytest.mark.parametrize("opcode", [b"\x82\x91", b"\x83\x91\x00", b"\x84\x91\x00\x00\x00"], ids=["1", "2", "4"])
def test_registered_extension_is_refused(refusal, opcode):
    copyreg.add_extension("os", "system", 0x91)
    try:
        message = refusal(made.pickled(opcode + made.push(("true",)) + b"R"))
    finally:
        copyreg.remove_extension("os", "system", 0x91)
    assert "os.system" in message


@pytest.mark.parametrize("name", ["x" * 1_000_000, "\x1b]0;title\x07\x1b[31m", "two\nlines"])
def test_refused_name_is_printed_short_and_escaped(refusal, name):
    message = refusal(made.pickled(made.name("os", name)))
    assert "it names " in message
    assert "os." in message
    assert message.isprintable()


def apart(function, *arguments, seconds=10):
    """The function's result from another process; fails if that dies or takes longer."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def work():
        os.setpgrp()
        faulthandler.disable()  # processes are meant to die
        try:
            sender.send(function(*arguments))
        except BaseException as error:
            sender.send(error)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    try:
        if not receiver.poll(seconds):
            pytest.fail(f"it ended with {process.exitcode}" if process.exitcode else f"it hangs for {seconds} s")
        result = receiver.recv()
    except EOFError:
        pytest.fail("the process died")
    finally:
        if process.is_alive():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                process.kill()
        process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def limited(function, *arguments):
    """Call the function with 1 GB more memory than this process has."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), -1))
    return function(*arguments)


def outcomes(contents: list[bytes], reader: Reader) -> list[str]:
    """The outcome of each: `read`, `refused`, or what went wrong."""
    found = []
    for content in contents:
        try:
            found.append("read" if isinstance(reader.read(content, "here"), ArchivedAnalysis) else "no analysis")
        except InputError as error:
            found.append("refused" if str(error).startswith("here") else f"says {error}")
        except BaseException as error:
            found.append(repr(error))
    return found


@pytest.fixture(scope="module")
def reader(classes):
    return Reader(classes, frozenset())


def test_truncated_frame_is_refused(official, reader):
    content = made.analysis(3)
    cut = [content[:size] for size in range(len(content))]
    cut += [whole[: len(whole) * part // 4] for whole in official.values() for part in range(4)]
    assert set(apart(limited, outcomes, cut, reader, seconds=30)) == {"refused"}


CELLS_OF_ALL_KINDS = {
    "top1": [made.scalar(np.int64(7)), 0, 3],
    "multi_label": [made.integers([0, 7]), [0, 5], [0]],
    "clip_top10_train_indices": [[1, 2], [], [3]],
    "clip_top10_train_targets": [[1, 2], [], [3]],
    "clip_top10_train_files": [["a", "b"], [], ["c"]],
    "error_types": [
        ["correct wrt multi label (ambiguous/multi-object)"],
        ["correct"],
        ["potentially OOV, detected by CLIP", "Top-5 alternative proposals: [(5, 'a', '9.10%')] | out of 7"],
    ],
}


@pytest.mark.parametrize("masks", [(0xFF,), pytest.param((0x01, 0x10, 0x80), marks=pytest.mark.heavy)])
def test_changed_byte_is_read_or_refused(reader, masks):
    """Every byte of a small frame."""
    content = made.analysis(3, rows=made.index(made.integers([1, 4, 9])), attrs={"a": 1}, **CELLS_OF_ALL_KINDS)
    assert outcomes([content], reader) == ["read"]
    changed = [
        content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
        for place, mask in product(range(len(content)), masks)
    ]
    found = apart(limited, outcomes, changed, reader, seconds=60)
    assert set(found) == {"read", "refused"}
    assert found.count("refused") > len(found) / 2


def test_mixed_opcodes_are_read_or_refused(reader):
    """Opcodes of a frame exchanged, repeated and left out."""
    rng = random.Random(6)
    content = made.analysis(3, **CELLS_OF_ALL_KINDS)
    places = [place for _, _, place in pickletools.genops(content)] + [len(content)]
    opcodes = [content[start:end] for start, end in pairwise(places)]
    mixed = []
    for _ in range(3000):
        mutant = list(opcodes)
        for _ in range(rng.randint(1, 3)):
            a, b = rng.randrange(2, len(mutant)), rng.randrange(2, len(mutant))
            match rng.randrange(4):
                case 0:
                    mutant[a], mutant[b] = mutant[b], mutant[a]
                case 1:
                    mutant[a] = rng.choice(opcodes)
                case 2:
                    mutant.insert(a, rng.choice(opcodes))
                case 3:
                    del mutant[a]
        mixed.append(b"".join(mutant))
    assert set(apart(limited, outcomes, mixed, reader, seconds=60)) == {"read", "refused"}


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_random_bytes_are_refused(content):
    with pytest.raises(InputError, match=r"^here is "):
        read_frame(content.replace(b"r", b"q").replace(b"p", b"q"), "here")  # those store far away


# --- bombs: all time or memory, or the end of the process -----------------------------------------------------------


def convert_beside(folder, content: bytes, neighbours: bool) -> dict[str, str]:
    """Convert two hostile analyses beside two sound ones, in processes with little memory and time."""
    convert.MEMORY = 1 << 30
    convert.SECONDS = 1
    artefacts = Artefacts(folder)
    contents = {"a--sound": made.analysis(), "m--hostile": content, "n--hostile": content, "z--sound": made.analysis()}
    for model, each in contents.items():
        path = artefacts.archived("imagenet", model)
        path.parent.mkdir(parents=True)
        path.write_bytes(each)
    return convert.convert(artefacts, "imagenet", jobs=2, neighbours=neighbours)


ONE_OF_EACH = ("stored far away", "a key without end", "a tuple two million deep", "labels without end")
BOMBS = [*ONE_OF_EACH, *(pytest.param(what, marks=pytest.mark.heavy) for what in made.BOMBS if what not in ONE_OF_EACH)]


@pytest.mark.parametrize("what", BOMBS)
def test_bomb_is_refused_and_others_are_converted(what, tmp_path):
    """Whatever it does to the process that reads it."""
    faults = apart(convert_beside, tmp_path, made.BOMBS[what](), True, seconds=20)
    assert sorted(faults) == ["m--hostile", "n--hostile"]
    for model, message in faults.items():
        assert message.startswith(str(tmp_path / "imagenet" / model))
        assert len(message) < 1000
    assert len(list(tmp_path.glob("imagenet/*/errors_analysis.parquet"))) == 2


def test_bomb_in_neighbours_that_are_not_wanted_is_ignored(tmp_path):
    content = made.analysis(clip_top10_train_files=[made.LAUGHS, []])
    faults = apart(convert_beside, tmp_path, content, False, seconds=20)
    assert set(faults) <= {"m--hostile", "n--hostile"}
    assert (tmp_path / "imagenet" / "z--sound" / "errors_analysis.parquet").exists()


ODD_CELLS = {
    "a number of no dtype": {
        "target": [made.call("numpy.core.multiarray", "scalar", 5, made.data(bytes(8))), 0],
    },
    "a number of objects": {
        "target": [made.call("numpy.core.multiarray", "scalar", made.dtype("O8"), made.data(bytes(8))), 0],
    },
    "a number never made": {"target": [made.name("numpy.core.multiarray", "scalar") + b")\x81", 0]},
    "a number's name": {"target": [made.name("numpy.core.multiarray", "scalar"), 0]},
    "an array never made": {"multi_label": [made.name("numpy.core.multiarray", "_reconstruct") + b")\x81", [0]]},
    "an array of no dtype": {"multi_label": [made.reconstructed((1,), made.push(5), made.data(bytes(8))), [0]]},
    "a buffer of three": {"multi_label": [made.call("numpy.core.numeric", "_frombuffer", 1, 2, (1,)), [0]]},
    "a dtype": {"multi_label": [[made.dtype("i8")], [0]]},
    "a frame": {"multi_label": [[made.name("pandas.core.frame", "DataFrame") + b")\x81"], [0]]},
    "truth as a class": {"target": [False, False]},
    "a fraction as a class": {"target": [b"G" + bytes(8), 0]},
    "class 1000": {"top1": [1000, 0]},
    "class -1": {"top1": [-1, 0]},
    "label 1000": {"multi_label": [[0, 1000], [0]]},
    "labels that are all texts": {"multi_label": ["0", "0"]},
    "labels that are all dictionaries": {"multi_label": [{0: 1}, {0: 1}]},
    "labels that are all numbers": {"multi_label": [0, 0]},
    "types that are all dictionaries": {"error_types": [{"correct": 1}, {"correct": 1}]},
    "types that are all texts": {"error_types": ["correct", "correct"]},
    "no types": {"error_types": [[], ["correct"]]},
    "an unknown type": {"error_types": [["correct-ish"], ["correct"]]},
    "a type after a type": {"error_types": [["correct", "correct"], ["correct"]]},
    "a note without a type": {"error_types": [["correct (top-1=target) but target is wrong/unclear"], ["correct"]]},
    "a type without its labels": {"error_types": [["same superclass (fine-grained)", "[a]"], ["correct"]]},
    "another class's folder": {"img_rel_path": ["n01443537/a.JPEG", "n01440764/b.JPEG"]},
    "no class folder": {"img_rel_path": ["a.JPEG", "n01440764/b.JPEG"]},
    "an image twice": {"img_rel_path": ["n01440764/b.JPEG", "n01440764/b.JPEG"]},
    "an original label that is not accepted": {"multi_label": [[5], [0]]},
    "problems that are numbers": {"is_problematic": [0, 0]},
    "neighbours without classes": {"clip_top10_train_indices": [[1], []]},
    "proposals that are a sum": {
        "error_types": [
            ["potentially OOV, detected by CLIP", "Top-5 alternative proposals: [1 + 1] | out of 5"],
            ["correct"],
        ]
    },
    "proposals that are a call": {
        "error_types": [
            ["potentially OOV, detected by CLIP", "Top-5 alternative proposals: [print(1)] | out of 5"],
            ["correct"],
        ]
    },
    "proposals below proposals": {
        "error_types": [
            [
                "potentially OOV, detected by CLIP",
                f"Top-5 alternative proposals: [{'[' * 4900}{']' * 4900}] | out of 5",
            ],
            ["correct"],
        ]
    },
    "a score that is no number": {
        "error_types": [
            ["potentially OOV, detected by CLIP", "Top-5 alternative proposals: [(1, 'a', 'nan%')] | out of 5"],
            ["correct"],
        ]
    },
    "half a letter": {"img_rel_path": [b"X\x0d\0\0\0n01440764/\xed\xa0\x80", "n01440764/b.JPEG"]},
}


@pytest.mark.parametrize("what", ODD_CELLS)
def test_odd_cell_is_refused(classes, what):
    with pytest.raises(InputError, match=r"^here"):
        Reader(classes, frozenset()).read(made.analysis(**ODD_CELLS[what]), "here")
