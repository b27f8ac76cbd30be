"""Pickled pandas frames, read and written without pandas and without running anything that a pickle names.

A pickle is a program. Here its names become `Call`s, which only record what the pickle would have called, so that
nothing runs; then the records of a frame (pandas 2.0, as in the paper's archives) are read as data.
"""

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from imagenet_errors.errors import InputError, describe_exception

PANDAS = {
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    *(("pandas", name) for name in ("DataFrame", "Index", "RangeIndex")),  # as pandas 3 names them
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
COLUMN_TYPES = (
    "pandas.arrays",
    "pandas._libs.arrays",
    "pandas.core.arrays",
    "pandas.core.series",
)  # where columns of other types are from
OTHER_COLUMNS = (
    "an archive's table has columns of integers and booleans, and texts and lists as objects: save it so (pandas 3:"
    " astype(object) of the frame and of frame.columns), or download the archive again"
)
DTYPES = {
    "b1": np.dtype(bool),
    **{f"{kind}{size}": np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)},
}
OBJECTS = {"O", "O8", "O4"}


@dataclass(frozen=True)
class Frame:
    """A pickled table.

    Attributes:
        columns: {name: [n] array of bool or int, or list of n objects}; a cell is any pickled object.
        index: [n] int64, the labels of the rows.
        attrs: pandas' `attrs`.
    """

    columns: dict[str, np.ndarray | list]
    index: np.ndarray
    attrs: dict


class Call:
    """A record that a pickle calls a name; nothing is called."""

    arguments: tuple = ()  # of one that `NEWOBJ` made
    state: Any = None

    def __init__(self, *arguments: Any):
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    __hash__ = None  # type: ignore[assignment]  # nothing of a frame is a key


_STAND_INS = {key: type(key[1], (Call,), {}) for key in sorted(ALLOWED)}


class _OtherTableError(Exception):
    """A pickle of pandas or NumPy that is not in the form of the archive's tables."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[Call]:
        if (module, name) not in ALLOWED:
            full_name = f"{module}.{name}"[:200]
            shown = full_name if full_name.isprintable() else repr(full_name)
            if module.startswith(COLUMN_TYPES) or (module, name) == ("pandas", "Series"):
                raise _OtherTableError(f"it holds {shown}")
            raise InputError(f"it names {shown}, which no table needs")
        return _STAND_INS[module, name]


def read_frame(content: bytes, where: object) -> Frame:
    """The frame in a pickle.

    Args:
        content: The pickle.
        where: The file, for messages.

    Raises:
        InputError: if the pickle names anything that a frame does not need, is damaged or is not such a frame.
    """
    try:
        return _read_frame(_Unpickler(io.BytesIO(content)).load())
    except InputError as error:
        raise InputError(
            f"{where} is refused: {error}; nothing in it was run, open it nowhere else, and get the archive from"
            " a source that you trust"
        ) from None
    except _OtherTableError as error:
        raise InputError(f"{where} is not in the archive's form: {error}; {OTHER_COLUMNS}") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(
            f"{where} is not a readable table ({describe_exception(error)}): download, copy or write it again"
        ) from None


def _is_call(thing: Any, name: str) -> bool:
    return isinstance(thing, Call) and type(thing).__name__ == name


def _expect(is_met: object, what: str) -> None:
    if not is_met:
        raise _OtherTableError(f"{what} is of another form")


def _read_frame(frame: Any) -> Frame:
    _expect(_is_call(frame, "DataFrame") and type(frame.state) is dict, "its content")
    manager = frame.state["_mgr"]
    _expect(_is_call(manager, "BlockManager") and len(manager.arguments) == 2, "the manager of the frame")
    blocks, axes = manager.arguments
    _expect(type(blocks) is tuple and type(axes) is list and len(axes) == 2, "the frame")
    names, index = _read_axis(axes[0]), _read_axis(axes[1])
    _expect(type(names) is list and all(type(name) is str for name in names), "the list of columns")
    _expect(len(set(names)) == len(names), "a column's name")
    if not (isinstance(index, np.ndarray) and index.dtype.kind in "iu"):
        raise _OtherTableError("its index is not of integers")
    columns: dict[str, np.ndarray | list] = {}
    for block in blocks:
        _expect(len(columns) < len(names), "a block")
        _expect(_is_call(block, "_unpickle_block") and len(block.arguments) == 3, "a block")
        values, placement, _ = block.arguments
        places = _read_placement(placement, len(names))
        rows = _read_array(values, (len(places), len(index)))
        columns |= {names[place]: row for place, row in zip(places, rows, strict=True)}
    _expect(len(columns) == len(names), "the list of columns")
    attrs = frame.state.get("attrs")
    attrs = attrs if type(attrs) is dict else {}
    return Frame({name: columns[name] for name in names}, index.astype(np.int64), attrs)


def _read_axis(axis: Any) -> np.ndarray | list:
    _expect(_is_call(axis, "_new_Index") and len(axis.arguments) == 2 and type(axis.arguments[1]) is dict, "an axis")
    data = axis.arguments[1]
    if "start" in data:
        _expect(all(type(data.get(key)) is int for key in ("start", "stop", "step")), "a range")
        numbers = range(data["start"], data["stop"], data["step"])
        _expect(len(numbers) < 1 << 31, "a range")
        return np.fromiter(numbers, np.int64, len(numbers))
    return _read_array(data["data"], (_read_shape(data["data"])[0],))


def _read_placement(placement: Any, num_columns: int) -> Sequence[int]:
    """The positions of a block's columns."""
    if _is_call(placement, "slice"):
        _expect(all(part is None or type(part) is int for part in placement.arguments), "a block")
        return range(num_columns)[slice(*placement.arguments)]
    places = _read_array(placement, _read_shape(placement))
    _expect(isinstance(places, np.ndarray) and all(0 <= place < num_columns for place in places.tolist()), "a block")
    return list(map(int, places))


def _read_shape(array: Any) -> tuple[int, ...]:
    """The shape that a pickled array claims."""
    if _is_call(array, "_frombuffer"):
        shape = array.arguments[2]
    else:
        _expect(_is_call(array, "_reconstruct") and type(array.state) is tuple and len(array.state) == 5, "an array")
        shape = array.state[1]
    _expect(type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape) and shape, "an array")
    return shape


def _read_array(array: Any, shape: tuple[int, ...]) -> np.ndarray | list:
    """A pickled array of this shape, of one or two dimensions: numbers as NumPy's, objects as lists (of lists)."""
    _expect(_read_shape(array) == shape, "an array")
    if _is_call(array, "_frombuffer"):
        content, dtype, _, order = array.arguments
    else:
        _, _, dtype, fortran, content = array.state
        order = "F" if fortran else "C"
    _expect(_is_call(dtype, "dtype") and dtype.arguments and order in ("C", "F"), "an array")
    if dtype.arguments[0] in OBJECTS:
        _expect(type(content) is list and len(content) == int(np.prod(shape)), "an array of objects")
        return _nest(content, shape)
    memory_order: Literal["C", "F"] = order
    return _read_numbers(dtype, content).reshape(shape, order=memory_order)


def _read_numbers(dtype: Any, content: Any) -> np.ndarray:
    _expect(
        isinstance(content, bytes | bytearray) and _is_call(dtype, "dtype") and dtype.arguments, "an array of numbers"
    )
    _expect(dtype.arguments[0] in DTYPES, "an array of numbers")
    byte_order: Any = dtype.state[1] if dtype.state else "="
    return np.frombuffer(bytes(content), DTYPES[dtype.arguments[0]].newbyteorder(byte_order))


def _nest(content: list, shape: tuple[int, ...]) -> list:
    """Split pickled objects into rows: they are pickled row by row, whatever their order in memory."""
    if len(shape) == 1:
        return content
    rows, width = shape
    return [content[row * width : (row + 1) * width] for row in range(rows)]


def to_python(cell: Any) -> Any:
    """An array as a list, a NumPy number as a number, other cells as they are. Raises `ValueError` for other calls."""
    if not isinstance(cell, Call):
        return cell
    if _is_call(cell, "scalar"):
        return _read_numbers(*cell.arguments).item()
    cells = _read_array(cell, _read_shape(cell)[:1])
    return cells.tolist() if isinstance(cells, np.ndarray) else cells


def write_frame(frame: Frame) -> bytes:
    """A pickle that pandas 2.0 and later read as this frame: bool, integer and object columns, and plain attrs."""
    names, n = list(frame.columns), len(frame.index)
    dtype_kinds = {name: "O" if isinstance(cells, list) else cells.dtype.kind for name, cells in frame.columns.items()}
    blocks = []
    for kind in dict.fromkeys(dtype_kinds.values()):
        places = [place for place, name in enumerate(names) if dtype_kinds[name] == kind]
        columns = [frame.columns[names[place]] for place in places]
        if kind == "O":
            values = _write_objects((len(places), n), [cell for column in columns for cell in column])
        else:
            values = _write_numbers(np.stack(columns).astype(bool if kind == "b" else np.int64))
        placement = _write_numbers(np.array(places))
        blocks.append(_write_call("pandas._libs.internals", "_unpickle_block", values, placement, _opcodes(2)))
    column_names = _write_index(_write_objects((len(names),), names))
    axes = column_names + _write_index(_write_numbers(frame.index.astype(np.int64)))
    manager = _write_call("pandas.core.internals.managers", "BlockManager", _write_tuple(*blocks), b"](" + axes + b"e")
    state = b"}(" + _opcodes("_mgr") + manager
    flags = {"allows_duplicate_labels": True}
    for key, value in {"_typ": "dataframe", "_metadata": [], "attrs": frame.attrs, "_flags": flags}.items():
        state += _opcodes(key) + _opcodes(value)
    return b"\x80\x05" + _write_name("pandas.core.frame", "DataFrame") + b")\x81" + state + b"ub."


def _opcodes(value: Any) -> bytes:
    """The opcodes that push a plain value on the unpickler's stack, without its memo."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 5)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]


def _write_name(module: str, name: str) -> bytes:
    return _opcodes(module) + _opcodes(name) + b"\x93"


def _write_tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _write_call(module: str, name: str, *arguments: bytes) -> bytes:
    return _write_name(module, name) + _write_tuple(*arguments) + b"R"


def _write_dtype(name: str, byte_order: str, flags: int) -> bytes:
    made = _write_call("numpy", "dtype", _opcodes(name), _opcodes(False), _opcodes(True))
    return made + _opcodes((3, byte_order, None, None, None, -1, -1, flags)) + b"b"


def _write_numbers(numbers: np.ndarray) -> bytes:
    """Bool or int64."""
    dtype = _write_dtype("b1", "|", 0) if numbers.dtype == bool else _write_dtype("i8", "<", 0)
    content = bytearray(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
    return _write_call(
        "numpy.core.numeric", "_frombuffer", _opcodes(content), dtype, _opcodes(numbers.shape), _opcodes("C")
    )


def _write_objects(shape: tuple[int, ...], cells: list) -> bytes:
    empty = _write_call(
        "numpy.core.multiarray", "_reconstruct", _write_name("numpy", "ndarray"), _opcodes((0,)), _opcodes(b"b")
    )
    return (
        empty
        + _write_tuple(_opcodes(1), _opcodes(shape), _write_dtype("O8", "|", 63), _opcodes(False), _opcodes(cells))
        + b"b"
    )


def _write_index(labels: bytes) -> bytes:
    data = b"}(" + _opcodes("data") + labels + _opcodes("name") + _opcodes(None) + b"u"
    return _write_call("pandas.core.indexes.base", "_new_Index", _write_name("pandas.core.indexes.base", "Index"), data)
