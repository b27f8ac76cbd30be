"""Tables of predictions that other tools wrote, a row an image: which columns hold image names and classes."""

import re
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from imagenet_errors.errors import InputError
from imagenet_errors.formats.prediction_cells import read_cells
from imagenet_errors.formats.raw_predictions import (
    FEWEST_CLASSES,
    LONGEST_VALUE,
    PROBABILITIES,
    PredictionFile,
    RawPredictions,
    attach_probs,
    find_name,
    refuse_value,
    sort_candidates,
    to_finite,
    to_predictions,
)
from imagenet_errors.formats.table_files import find_numbered, read_table

FILE_COLUMNS = ("file_name", "filename", "file", "image", "image_id", "imageid", "path", "img_rel_path")
CLASS_COLUMNS = (
    *("predicted_class", "prediction", "pred", "preds", "predictions", "index", "class_id", "class", "label"),
    *("top1", "top5", "y_pred", "predictionstring"),
)
KAGGLE = "predictionstring"  # of `class x y x y` for each object; the first class counts
MOST_NAMES = 20  # columns that a message lists
CHOOSE = "correct the row, or name another column with --class_column"
COUNT = re.compile(r"\s*\d*\s*")  # what an index holds that no names were given to


def load(path: Path, file_column: str | None, class_column: str | None) -> Any:
    """The table of a file, as `read_table` gives it; arguments and errors as in `prediction_files.read`."""
    asked = {name.lower() for name in (file_column, class_column) if name}
    known = asked | {*FILE_COLUMNS, *CLASS_COLUMNS} | {f"{name}_0" for name in CLASS_COLUMNS}
    return read_table(path, lambda name: name.lower() in known)


def read(path: Path, table: Any, file_column: str | None, class_column: str | None) -> PredictionFile:
    """Find predictions and image names in a table; errors as in `prediction_files.read`.

    Args:
        path: Where it was read, for messages.
        table: As `read_table` gives it.
        file_column: The column of image names, or None.
        class_column: The column of predictions, or None.
    """
    names = _find_file_column(table, path, file_column)
    candidates = _Columns(path, table.drop_columns([names])).find_candidates(class_column)
    return PredictionFile(path, _read_names(table[names], names, path), sort_candidates(candidates))


def _list_names(names: list[str]) -> str:
    shown = [name[:LONGEST_VALUE] or "(one without a name)" for name in names[:MOST_NAMES]]
    return ", ".join(shown) + (f" ... ({len(names):,} in all)" if len(names) > MOST_NAMES else "")


def _find_file_column(table: Any, path: Path, asked: str | None) -> str:
    names = table.column_names
    if asked is not None:
        return find_name(asked, names, "column", "--file_column", path)
    by_name = {name.lower(): name for name in names}
    found = next((by_name[name] for name in FILE_COLUMNS if name in by_name), None)
    if found is not None:
        return found
    if "" in names and not all(COUNT.fullmatch(str(name)) for name in table[""].to_pylist()):
        return ""
    raise InputError(
        f"{path} has no column of image names ({' or '.join(FILE_COLUMNS[:3])} ...) among {_list_names(names)}:"
        " name it with --file_column"
    )


def _read_names(column: Any, name: str, path: Path) -> np.ndarray:
    values = column.to_pylist()
    wrong = next((row for row, value in enumerate(values) if not isinstance(value, str | int) or value == ""), None)
    if wrong is not None:
        label = f"the column {name or 'without a name'}"
        refuse_value(path, wrong, label, values[wrong], "which is no image name: correct the row, or see --file_column")
    return np.array([str(value) for value in values])


class _Source(NamedTuple):
    """A column that may hold predictions, or several numbered ones (index_0, index_1, ...) under their common name."""

    name: str
    columns: list[str]

    @property
    def label(self) -> str:
        first, *others = self.columns
        return f"the columns {first} to {others[-1]}" if others else f"the column {first}"


class _Columns:
    """The columns of a table without image names."""

    def __init__(self, path: Path, table: Any) -> None:
        self.path, self.table = path, table
        groups = [_Source(*item) for item in find_numbered(table.column_names).items()]
        numbered = {name for group in groups for name in group.columns}
        self.parts = [_Source(name, [name]) for name in table.column_names if name in numbered]
        self.sources = [_Source(name, [name]) for name in table.column_names if name and name not in numbered] + groups

    def find_candidates(self, asked: str | None) -> list[RawPredictions]:
        """Every source that fits, with probabilities; or the one asked for."""
        chosen = self._find_sources() if asked is None else [self._find_source(asked)]
        candidates, used, counters = [], [], []
        for source in chosen:
            values = self._read(source, CHOOSE)
            if asked is None and _counts_rows(values):
                counters.append(source)
            elif predictions := to_predictions(values, source.label, self.path):
                candidates.append(predictions)
                used.append(source)
        if not candidates:
            self._refuse(asked, counters)
        return attach_probs(candidates, self._read_probs(used))

    def _refuse(self, asked: str | None, counters: list[_Source]) -> NoReturn:
        if asked is not None:
            raise InputError(f"{self.path}: --class_column {asked} holds sorted scores, which do not say their classes")
        why = f"; {counters[0].label} counts the rows from 0" if counters else ""
        names = _list_names(self.table.column_names)
        raise InputError(
            f"{self.path} has no class column of a usual name among {names}{why}: name it with --class_column"
        )

    def _find_source(self, asked: str) -> _Source:
        sources = self.sources + self.parts
        name = find_name(asked, [source.name for source in sources], "column", "--class_column", self.path)
        return next(source for source in sources if source.name == name)

    def _find_sources(self) -> list[_Source]:
        known = [source for name in CLASS_COLUMNS for source in self.sources if source.name.lower() == name]
        scores = [source for source in self.sources if source not in known and self._holds_scores(source)]
        if known or scores:
            return known + scores
        others = [
            source
            for source in self.sources
            if source.name.lower() not in FILE_COLUMNS and not PROBABILITIES.fullmatch(source.name)
        ]
        return others if len(others) == 1 else []

    def _holds_scores(self, source: _Source) -> bool:
        """Whether a source has 100 or more numbers for each row, judged by the first."""
        import pyarrow.types as types

        if len(source.columns) > 1:
            kind = self.table[source.columns[0]].type
            return len(source.columns) >= FEWEST_CLASSES and (types.is_integer(kind) or types.is_floating(kind))
        first = self.table[source.columns[0]][0].as_py()
        if isinstance(first, str) and first.startswith("[") and not {"'", '"'} & set(first):
            return len(first.replace(",", " ").split()) >= FEWEST_CLASSES
        return isinstance(first, list) and len(first) >= FEWEST_CLASSES and isinstance(first[0], int | float)

    def _read(self, source: _Source, advice: str) -> np.ndarray:
        """[M] or [M, k] numbers, or [M] texts."""
        first, *others = source.columns
        cells = self.table[first]
        if source.name.lower() == KAGGLE and not others:
            cells = _take_first_words(cells)
        values = read_cells(cells, f"the column {first}", self.path, advice)
        if not others or values.dtype.kind == "U":
            return values
        rows = np.empty((len(values), len(source.columns)), np.float32 if values.dtype == np.float32 else np.float64)
        for position, name in enumerate(source.columns):
            values = read_cells(self.table[name], f"the column {name}", self.path, advice) if position else values
            if values.dtype.kind == "U" or values.ndim > 1:
                raise InputError(f"{self.path}: the column {name} does not hold one number in each row: {advice}")
            rows[:, position] = values
        return rows

    def _read_probs(self, used: list[_Source]) -> list[np.ndarray]:
        """[M, k] of every source of probabilities."""
        sources = [source for source in self.sources if PROBABILITIES.fullmatch(source.name) and source not in used]
        found = [(source, self._read(source, "correct the row, or remove the column")) for source in sources]
        return [
            to_finite(values.reshape(len(values), -1), source.label, self.path)
            for source, values in found
            if values.dtype.kind != "U"
        ]


def _counts_rows(values: np.ndarray) -> bool:
    return len(values) > 1 and values.dtype.kind != "U" and np.array_equal(values, np.arange(len(values)))


def _take_first_words(cells: Any) -> Any:
    import pyarrow.compute as pc

    return pc.replace_substring_regex(pc.utf8_trim_whitespace(cells.cast("string")), r"(?s)\s.*", "")
