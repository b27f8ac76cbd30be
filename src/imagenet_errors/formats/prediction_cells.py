"""The cells of a column as an array: numbers, texts, and lists of them, also as Python or NumPy prints them."""

import ast
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from imagenet_errors.formats.raw_predictions import refuse_value

QUOTED = r"""(?:np\.str_\()?('(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")\)?"""
QUOTED_START = re.compile(r"\[\s*(np\.str_\()?['\"]")
QUOTED_LIST = re.compile(rf"\[\s*{QUOTED}(?:[\s,]+{QUOTED})*+[\s,]*\]", re.DOTALL)
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"  # regular expressions of RE2
NUMBER_LIST = rf"^\[[\s,]*({NUMBER}[\s,]+)*({NUMBER})\s*\]$"
SHORTENED = "which NumPy has shortened (numpy.set_printoptions(threshold=sys.maxsize) writes all)"


def read_cells(column: Any, label: str, path: Path, advice: str) -> np.ndarray:
    """The cells of a column.

    Args:
        column: A pyarrow.ChunkedArray with at least one row.
        label: What it is, for messages.
        path: The file, for messages.
        advice: What to do, for messages.

    Returns:
        [M] or [M, k] int64, float64 or float32, k >= 1 where cells are lists; or [M] str, of lists of texts the first.

    Raises:
        InputError: for the first cell that is empty or does not fit the others; it names row and value.
    """
    return _Column(label, path, advice).read(column)


class _Column:
    """How cells are read, and what messages about them say; each row of the table holds `width` of them."""

    def __init__(self, label: str, path: Path, advice: str, width: int = 1) -> None:
        self.label, self.path, self.advice, self.width = label, path, advice, width

    def read(self, cells: Any) -> np.ndarray:
        import pyarrow.types as types

        if types.is_dictionary(cells.type):
            cells = cells.cast(cells.type.value_type)
        if types.is_string_view(cells.type):  # as Polars writes texts
            cells = cells.cast("string")
        self._refuse_first(cells.is_null(), cells, "which is empty")
        if types.is_string(cells.type) or types.is_large_string(cells.type):
            return self._read_texts(cells)
        if types.is_list(cells.type) or types.is_large_list(cells.type) or types.is_fixed_size_list(cells.type):
            return self._read_lists(cells)
        if types.is_integer(cells.type) or types.is_floating(cells.type):
            return cells.to_numpy()
        self._refuse(cells, 0, f"of the type {cells.type}, which is neither a number nor a text")

    def _refuse(self, cells: Any, index: int, why: str) -> NoReturn:
        refuse_value(self.path, index // self.width, self.label, cells[index].as_py(), f"{why}: {self.advice}")

    def _refuse_first(self, are_wrong: Any, cells: Any, why: str) -> None:
        """Raise for the first cell where `are_wrong` ([M] bool) is true."""
        indices = np.flatnonzero(np.asarray(are_wrong))
        if indices.size:
            self._refuse(cells, int(indices[0]), why)

    def _read_lists(self, cells: Any) -> np.ndarray:
        import pyarrow.compute as pc

        lengths = pc.list_value_length(cells).to_numpy()
        width = int(lengths[0])
        self._refuse_first(lengths == 0, cells, "which is empty")
        self._refuse_first(lengths != width, cells, f"while the first row has a list of length {width}")
        values = _Column(self.label, self.path, self.advice, width).read(pc.list_flatten(cells))
        if values.ndim > 1:
            self._refuse(cells, 0, "which is a list of lists")
        return values[::width] if values.dtype.kind == "U" else values.reshape(-1, width)

    def _read_texts(self, cells: Any) -> np.ndarray:
        import pyarrow.compute as pc

        cells = pc.utf8_trim_whitespace(cells)
        self._refuse_first(pc.equal(cells, ""), cells, "which is empty")
        are_lists = np.asarray(pc.starts_with(cells, "["))
        first = cells[0].as_py()
        self._refuse_first(are_lists != are_lists[0], cells, "unlike the first row: one is a list, one is not")
        if not are_lists[0]:
            return self._read_scalars(cells)
        return self._read_quoted(cells) if QUOTED_START.match(first) else self._read_lists(self._split_numbers(cells))

    def _read_scalars(self, cells: Any) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        for kind in (pa.int64(), pa.float64()):
            with suppress(pa.ArrowInvalid):
                return pc.cast(cells, kind).to_numpy()
        are_numbers = np.asarray(pc.match_substring_regex(cells, f"^{NUMBER}$"))
        if are_numbers.mean() > 0.5:
            self._refuse_first(~are_numbers, cells, "which is not a number as in other rows")
        self._refuse_first(are_numbers, cells, "which is a number among texts")
        return np.array(cells.to_pylist())

    def _read_quoted(self, cells: Any) -> np.ndarray:
        """The first text of each list."""
        texts = [_unquote_first(cell) for cell in cells.to_pylist()]
        self._refuse_first([text is None for text in texts], cells, "which is not a list of quoted texts")
        return np.array(texts)

    def _split_numbers(self, cells: Any) -> Any:
        """Lists of numbers from lists as Python or NumPy prints them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self._refuse_first(pc.match_substring(cells, "..."), cells, SHORTENED)
        if "np." in cells[0].as_py():
            cells = pc.replace_substring_regex(cells, r"np\.\w+\(([^()]*)\)", r"\1")
        why = "which is not a list of numbers"
        self._refuse_first(pc.invert(pc.match_substring_regex(cells, r"^\[[^\[\]]*\]$")), cells, why)
        for kind in (pa.int64(), pa.float32()):
            with suppress(pa.ArrowInvalid):
                return pa.chunked_array([_split(chunk, kind) for chunk in cells.chunks], pa.list_(kind))
        self._refuse_first(pc.invert(pc.match_substring_regex(cells, NUMBER_LIST)), cells, why)
        self._refuse(cells, 0, why)


def _unquote_first(cell: str) -> str | None:
    """The first text of a list of quoted texts; None where the cell is anything else."""
    found = QUOTED_LIST.fullmatch(cell)
    try:
        return ast.literal_eval(found[1]) if found else None
    except (SyntaxError, ValueError):
        return None


def _split(cells: Any, kind: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    spaced = pc.utf8_trim(pc.replace_substring_regex(cells, r"[\[\],\s]+", " "), " ")
    return pc.cast(pc.split_pattern(spaced, " "), pa.list_(kind))
