"""Parquet files with a sha256 over the whole file, because Parquet's page checksums do not cover its footer."""

import hashlib
import json
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.files import _refuse_unreadable, atomic_write, check_schema

SCHEMA_VERSION = 2  # of errors_analysis.parquet
SEAL, UNSEALED = b"sha256 of the rest: ", b"0" * 64  # in what we write as Parquet


def write_parquet(path: Path, table, metadata: dict, distinct: tuple[str, ...] = ()) -> None:
    """Write an Arrow table; `metadata` (anything JSON holds) goes into the file's own metadata.

    With it goes the sha256 of all other bytes of the file, for Parquet itself guards no header and no footer.
    Columns in `distinct` are stored without a dictionary of their values, for no value is there twice.
    """
    from pyarrow import parquet

    metadata = metadata | {"seal": (SEAL + UNSEALED).decode()}
    table = table.replace_schema_metadata({key: json.dumps(value) for key, value in metadata.items()})
    ascending = [name for name in distinct if str(table.schema.field(name).type).startswith("int")]
    with atomic_write(path) as temporary:
        parquet.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in table.column_names if name not in distinct],
            column_encoding=dict.fromkeys(ascending, "DELTA_BINARY_PACKED"),
        )
        content = temporary.read_bytes()
        place = content.rindex(SEAL) + len(SEAL)
        temporary.write_bytes(content[:place] + _sha256(content) + content[place + len(UNSEALED) :])


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _unsealed(path: Path) -> bytes:
    """The bytes of a file that `write_parquet` wrote. Raises `ValueError` where one of them is another now."""
    content = path.read_bytes()
    place = content.rfind(SEAL) + len(SEAL)
    sealed = content[place : place + len(UNSEALED)]
    if _sha256(content[:place] + UNSEALED + content[place + len(UNSEALED) :]) != sealed:
        raise ValueError("its bytes are not those written")
    return content


def read_parquet_metadata(path: Path) -> dict:
    """What `write_parquet` was given as metadata. Raises `InputError` for a damaged file or, its kind, a newer one."""
    import pyarrow
    from pyarrow import parquet

    try:
        stored = parquet.read_metadata(path).metadata or {}
        metadata = {key.decode(): json.loads(value) for key, value in stored.items() if key != b"ARROW:schema"}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        _refuse_unreadable(error, path)
        raise InputError(f"{path} is damaged ({error}): run --perform_error_analysis again") from None
    check_schema(path, metadata.get("schema_version"), SCHEMA_VERSION, "run --perform_error_analysis again")
    return metadata


def read_parquet(path: Path, columns: list[str] | None = None):
    """The named columns, or all, as an Arrow table."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(pyarrow.BufferReader(_unsealed(path)), columns=columns)
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        _refuse_unreadable(error, path)
        raise InputError(f"{path} is damaged ({error}): run --perform_error_analysis again") from None
