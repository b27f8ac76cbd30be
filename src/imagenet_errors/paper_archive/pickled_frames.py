"""Pickled pandas frames, read and written without pandas and without running anything that a pickle names.

A pickle is a program. Here its names become `Call`s, which only note what the pickle would have called, so that nothing
runs, whatever it holds; then the notes of a frame (pandas 2.0, as in the paper's archives) are read as data.
"""

import io
import pickle
from typing import NamedTuple

import numpy as np

from imagenet_errors.errors import InputError, describe_exception

PANDAS = {
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
}
NUMPY = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ),
}
ALLOWED = PANDAS | NUMPY | {("builtins", "slice")}
DTYPES = {
    "b1": np.dtype(bool),
    **{f"{kind}{size}": np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)},
}
OBJECTS = {"O", "O8", "O4"}


class Frame(NamedTuple):
    """A table as it was pickled.

    Attributes:
        columns: {name: [n] array of bool or int, or list of n objects}; a cell is anything that pickles hold.
        index: [n] int64, the labels of the rows.
        attrs: What the frame's maker noted of it.
    """

    columns: dict[str, np.ndarray | list]
    index: np.ndarray
    attrs: dict


class Call:
    """A name in a pickle, or what came of calling it; it never does anything."""

    arguments, state = (), None  # of one that `NEWOBJ` made

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state

    __hash__ = None  # nothing of a frame is a key


_STAND_INS = {key: type(key[1], (Call,), {}) for key in sorted(ALLOWED)}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            called = f"{module}.{name}"[:200]
            shown = called if called.isprintable() else repr(called)
            raise InputError(f"it names {shown}, which no table needs")
        return _STAND_INS[module, name]


def read_frame(content: bytes, where) -> Frame:
    """The frame in a pickle.

    Args:
        content: The pickle.
        where: The file, for messages.

    Raises:
        InputError: where the pickle names anything beyond what a frame needs, is damaged or is no such frame.
    """
    try:
        return _frame(_Unpickler(io.BytesIO(content)).load())
    except InputError as error:
        raise InputError(f"{where} is refused, for {error}: nothing of it was run; get it from its source") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{where} is no readable table ({describe_exception(error)}): fetch it again") from None


def _is(thing, *names: str) -> bool:
    return isinstance(thing, Call) and type(thing).__name__ in names


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} is not as pandas 2.0 writes it")


def _frame(frame) -> Frame:
    _expect(_is(frame, "DataFrame") and type(frame.state) is dict, "the frame")
    manager = frame.state["_mgr"]
    _expect(_is(manager, "BlockManager") and len(manager.arguments) == 2, "the manager of the frame")
    blocks, axes = manager.arguments
    _expect(type(blocks) is tuple and type(axes) is list and len(axes) == 2, "the frame")
    names, index = _index(axes[0]), _index(axes[1])
    _expect(type(names) is list and all(type(name) is str for name in names), "the list of columns")
    _expect(len(set(names)) == len(names), "a column's name")
    _expect(isinstance(index, np.ndarray) and index.dtype.kind in "iu", "the index")
    columns = {}
    for block in blocks:
        _expect(len(columns) < len(names), "a block")
        _expect(_is(block, "_unpickle_block") and len(block.arguments) == 3, "a block")
        values, placement, _ = block.arguments
        places = _places(placement, len(names))
        rows = _array(values, (len(places), len(index)))
        columns |= {names[place]: row for place, row in zip(places, rows, strict=True)}
    _expect(len(columns) == len(names), "the list of columns")
    attrs = frame.state.get("attrs")
    return Frame({name: columns[name] for name in names}, index.astype(np.int64), attrs if type(attrs) is dict else {})


def _index(axis) -> np.ndarray | list:
    _expect(_is(axis, "_new_Index") and len(axis.arguments) == 2 and type(axis.arguments[1]) is dict, "an axis")
    data = axis.arguments[1]
    if "start" in data:
        _expect(all(type(data.get(key)) is int for key in ("start", "stop", "step")), "a range")
        numbers = range(data["start"], data["stop"], data["step"])
        _expect(len(numbers) < 1 << 31, "a range")
        return np.fromiter(numbers, np.int64, len(numbers))
    return _array(data["data"], (_shape(data["data"])[0],))


def _places(placement, num_columns: int) -> range | list[int]:
    """Which columns a block holds."""
    if _is(placement, "slice"):
        _expect(all(part is None or type(part) is int for part in placement.arguments), "a block")
        return range(num_columns)[slice(*placement.arguments)]
    places = _array(placement, _shape(placement)).tolist()
    _expect(all(0 <= place < num_columns for place in places), "a block")
    return places


def _shape(array) -> tuple[int, ...]:
    """The shape that a pickled array claims."""
    if _is(array, "_frombuffer"):
        shape = array.arguments[2]
    else:
        _expect(_is(array, "_reconstruct") and type(array.state) is tuple and len(array.state) == 5, "an array")
        shape = array.state[1]
    _expect(type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape) and shape, "an array")
    return shape


def _array(array, shape: tuple[int, ...]) -> np.ndarray | list:
    """A pickled array of this shape, of one or two dimensions: numbers as NumPy's, objects as lists (of lists)."""
    _expect(_shape(array) == shape, "an array")
    if _is(array, "_frombuffer"):
        content, dtype, _, order = array.arguments
    else:
        _, _, dtype, fortran, content = array.state
        order = "F" if fortran else "C"
    _expect(_is(dtype, "dtype") and dtype.arguments and order in ("C", "F"), "an array")
    if dtype.arguments[0] in OBJECTS:
        _expect(type(content) is list and len(content) == int(np.prod(shape)), "an array of objects")
        return _nested(content, shape)
    return _numbers(dtype, content).reshape(shape, order=order)


def _numbers(dtype: Call, content) -> np.ndarray:
    _expect(isinstance(content, bytes | bytearray) and _is(dtype, "dtype") and dtype.arguments, "an array of numbers")
    _expect(dtype.arguments[0] in DTYPES, "an array of numbers")
    byte_order = dtype.state[1] if dtype.state else "="
    return np.frombuffer(bytes(content), DTYPES[dtype.arguments[0]].newbyteorder(byte_order))


def _nested(content: list, shape: tuple[int, ...]) -> list:
    """Objects are pickled row by row, whatever their order in memory."""
    if len(shape) == 1:
        return content
    rows, width = shape
    return [content[row * width : (row + 1) * width] for row in range(rows)]


def plain(cell):
    """A cell as Python has it: an array as a list, a NumPy number as a number. Raises `ValueError` for other calls."""
    if not isinstance(cell, Call):
        return cell
    if _is(cell, "scalar"):
        return _numbers(*cell.arguments).item()
    cells = _array(cell, _shape(cell)[:1])
    return cells.tolist() if isinstance(cells, np.ndarray) else cells


def write_frame(frame: Frame) -> bytes:
    """A pickle that pandas 2.0 and later read as this frame: bool, integer and object columns, and plain attrs."""
    names, n = list(frame.columns), len(frame.index)
    kinds = {name: "O" if isinstance(cells, list) else cells.dtype.kind for name, cells in frame.columns.items()}
    blocks = []
    for kind in dict.fromkeys(kinds.values()):
        places = [place for place, name in enumerate(names) if kinds[names[place]] == kind]
        cells = [frame.columns[names[place]] for place in places]
        if kind == "O":
            values = _object_array((len(places), n), [cell for column in cells for cell in column])
        else:
            values = _number_array(np.stack(cells).astype(bool if kind == "b" else np.int64))
        block = _called(
            "pandas._libs.internals", "_unpickle_block", values, _number_array(np.array(places)), _opcodes(2)
        )
        blocks.append(block)
    axes = _index_of(_object_array((len(names),), names)) + _index_of(_number_array(frame.index.astype(np.int64)))
    manager = _called("pandas.core.internals.managers", "BlockManager", _tuple(*blocks), b"](" + axes + b"e")
    state = b"}(" + _opcodes("_mgr") + manager
    for key, value in {
        "_typ": "dataframe",
        "_metadata": [],
        "attrs": frame.attrs,
        "_flags": {"allows_duplicate_labels": True},
    }.items():
        state += _opcodes(key) + _opcodes(value)
    return b"\x80\x05" + _global("pandas.core.frame", "DataFrame") + b")\x81" + state + b"ub."


def _opcodes(value) -> bytes:
    """What pushes a plain value on the unpickler's stack, without its memo."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 5)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]


def _global(module: str, name: str) -> bytes:
    return _opcodes(module) + _opcodes(name) + b"\x93"


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _called(module: str, name: str, *arguments: bytes) -> bytes:
    return _global(module, name) + _tuple(*arguments) + b"R"


def _dtype(name: str, byte_order: str, flags: int) -> bytes:
    made = _called("numpy", "dtype", _opcodes(name), _opcodes(False), _opcodes(True))
    return made + _opcodes((3, byte_order, None, None, None, -1, -1, flags)) + b"b"


def _number_array(numbers: np.ndarray) -> bytes:
    """Bool or int64."""
    dtype = _dtype("b1", "|", 0) if numbers.dtype == bool else _dtype("i8", "<", 0)
    content = bytearray(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
    return _called(
        "numpy.core.numeric", "_frombuffer", _opcodes(content), dtype, _opcodes(numbers.shape), _opcodes("C")
    )


def _object_array(shape: tuple[int, ...], cells: list) -> bytes:
    empty = _called(
        "numpy.core.multiarray", "_reconstruct", _global("numpy", "ndarray"), _opcodes((0,)), _opcodes(b"b")
    )
    return empty + _tuple(_opcodes(1), _opcodes(shape), _dtype("O8", "|", 63), _opcodes(False), _opcodes(cells)) + b"b"


def _index_of(labels: bytes) -> bytes:
    data = b"}(" + _opcodes("data") + labels + _opcodes("name") + _opcodes(None) + b"u"
    return _called("pandas.core.indexes.base", "_new_Index", _global("pandas.core.indexes.base", "Index"), data)
