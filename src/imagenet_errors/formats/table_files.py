"""Tables that other tools wrote, as Arrow tables: CSV, TSV, JSON in several orientations, JSON lines, Parquet; gzip."""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenet_errors.errors import InputError, describe_exception, escape_name
from imagenet_errors.files import refuse_unreadable, unique_keys
from imagenet_errors.formats.raw_predictions import FEWEST_CLASSES

if TYPE_CHECKING:
    import pandas as pd

NUMBERED = re.compile(r"(.*?)_?(\d+)")
INDEX = ("__index_level_0__", "Unnamed: 0")  # how pandas names an index without a name when it writes and reads it


def read_table(path: Path, is_column: Callable[[str], bool]) -> Any:
    """Read a table.

    Args:
        path: The file; its suffix says the format, `.gz` after it that it is compressed.
        is_column: Whether a name is one of a column that matters, which tells {column: {row: value}} from {row:
            {column: value}} in JSON.

    Returns:
        A pyarrow.Table with at least one row. Column names are distinct, without white space around them; an index
        without a name is the column ''. Cells of CSV are strings, as they are in the file, but where 100 or more
        columns are numbered and hold numbers: these are float32.

    Raises:
        InputError: where the file is missing, damaged or not a table.
    """
    import pyarrow

    content = _read_content(path)
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    try:
        match suffix.lower():
            case ".parquet" | ".pq":
                table = _read_parquet(content)
            case ".json":
                table = _to_table(_orient_json(_parse_json(content), is_column))
            case ".jsonl" | ".ndjson":
                table = _to_table(_gather_records(_parse_lines(content)))
            case _:
                table = _read_csv(content, "\t" if suffix.lower() == ".tsv" else None)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except (pyarrow.ArrowException, csv.Error, OSError, ValueError, RecursionError) as error:
        text = escape_name(describe_exception(error))
        raise InputError(f"{path} is not a readable {suffix[1:]} table ({text}): write it again") from None
    return _name_columns(table, path)


def convert_frame(frame: "pd.DataFrame", path: Path) -> Any:
    """A DataFrame as a table like those of `read_table`; its index is a column unless it only counts the rows.

    Args:
        frame: The DataFrame.
        path: Its name, for messages.

    Raises:
        InputError: where it has no rows, or a column of anything but numbers, texts and lists of these.
    """
    import pyarrow

    try:
        return _name_columns(pyarrow.Table.from_pandas(frame.rename(columns=str)), path)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        text = escape_name(describe_exception(error))
        raise InputError(
            f"{path} is not a readable table ({text}): give columns of numbers or texts with distinct names"
        ) from None


def _read_content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except FileNotFoundError:
        raise InputError(f"{path} is missing: name a file of predictions") from None
    except (OSError, EOFError, zlib.error) as error:
        refuse_unreadable(error, path)
        raise InputError(f"{path} is not a complete gzip file ({error}): compress it again") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        raise InputError(f"{path} is empty: write it again")
    return content


def _name_columns(table: Any, path: Path) -> Any:
    names = [escape_name(" ".join(name.split())) for name in table.column_names]
    names = ["" if name in INDEX else name for name in names]
    kept = [position for position, name in enumerate(names) if name or position == names.index("")]
    table, names = table.select(kept), [names[position] for position in kept]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has two columns {twice!r}: rename one")
    if not table.num_rows:
        raise InputError(f"{path} has no rows, only the names of {len(names)} columns: add a row an image")
    return table.rename_columns(names)


def _read_parquet(content: bytes) -> Any:
    import pyarrow
    from pyarrow import parquet

    return parquet.ParquetFile(pyarrow.BufferReader(content), page_checksum_verification=True).read()


def _read_csv(content: bytes, delimiter: str | None) -> Any:
    import pyarrow
    from pyarrow import csv as arrow_csv

    start = content.lstrip(b"\r\n").partition(b"\n")[0].decode("utf-8")
    delimiter = delimiter or max(",;\t", key=start.count)
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
    rows = (row for row in csv.reader(lines, delimiter=delimiter) if row)
    header, first = next(rows, []), next(rows, [])
    types = dict.fromkeys(header, pyarrow.string())
    for names in find_numbered(header).values():
        if len(names) >= FEWEST_CLASSES and _is_number(dict(zip(header, first, strict=False)).get(names[0], "")):
            types |= dict.fromkeys(names, pyarrow.float32())
    return arrow_csv.read_csv(
        pyarrow.BufferReader(content),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=types),
    )


def find_numbered(names: list[str]) -> dict[str, list[str]]:
    """{base: [base_0, base_1, ...]} of the columns that are numbered from 0 without a gap, in the order of numbers."""
    numbered: dict[str, dict[int, str]] = {}
    for name in names:
        if found := NUMBERED.fullmatch(name.strip()):
            numbered.setdefault(found[1], {})[int(found[2])] = name
    return {
        base: [columns[number] for number in range(len(columns))]
        for base, columns in numbered.items()
        if max(columns) == len(columns) - 1
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_json(content: bytes) -> Any:
    """The value of a JSON text; of JSON lines, which timm also writes as .json, the list of their values."""
    text = content.decode("utf-8")
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise
        return _parse_lines(content)


def _parse_lines(content: bytes) -> list:
    values = []
    for number, line in enumerate(content.decode("utf-8").split("\n"), start=1):
        if line.strip():
            try:
                values.append(json.loads(line, object_pairs_hook=unique_keys))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return values


def _orient_json(value: Any, is_column: Callable[[str], bool]) -> dict[str, list]:
    """Columns of a JSON value in any orientation that pandas writes, or {image: class}."""
    if isinstance(value, list):
        return _gather_records(value)
    if not isinstance(value, dict) or not value:
        raise ValueError("neither rows nor columns")
    if {"columns", "data"} <= set(value):
        return _split_rows(value["columns"], value["data"], value.get("index"))
    are_columns = any(is_column(name) for name in value)
    if not all(isinstance(part, dict) for part in value.values()):
        if not are_columns:
            return {"": list(value), "prediction": list(value.values())}
        if all(isinstance(part, list) for part in value.values()):
            return value
        return _gather_records([value])
    inner = next(iter(value.values()))
    scores = [base for base, names in find_numbered(list(inner)).items() if base and len(names) >= FEWEST_CLASSES]
    are_rows = any(is_column(name) for name in inner) or scores or len(value) >= len(inner)
    if are_columns or not are_rows:
        return {"": list(inner), **{name: [part.get(row) for row in inner] for name, part in value.items()}}
    return {"": list(value), **_gather_records(list(value.values()))}


def _gather_records(records: list) -> dict[str, list]:
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("its rows are not objects")
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def _split_rows(names: Any, rows: Any, index: Any) -> dict[str, list]:
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise ValueError(f"its rows do not all have the {len(names)} columns")
    columns = (
        {str(name): list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)} if rows else {}
    )
    return {"": index, **columns} if index else columns


def _to_table(columns: dict[str, list]) -> Any:
    import pyarrow

    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("its columns differ in length")
    return pyarrow.table({name: pyarrow.chunked_array([_to_array(values)]) for name, values in columns.items()})


def _to_array(values: list) -> Any:
    """An Arrow array; values of several types become the texts that JSON has for them."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError):
        return pyarrow.array(
            [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        )
