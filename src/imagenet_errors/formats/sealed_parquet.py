"""Parquet files with a sha256 over the whole file, because Parquet's page checksums do not cover its footer."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, check_schema, refuse_unreadable

SEAL, UNSEALED = b"sha256 of the rest: ", b"0" * 64  # in the metadata of what we write as Parquet


@dataclass(frozen=True)
class SealedParquet:
    """A file that was read and whose bytes are those written.

    Attributes:
        path: Where it lies.
        metadata: What `write` was given as metadata; without the Arrow schema.
        content: A pyarrow.parquet.ParquetFile.
        advice: How to make it again, for messages.
    """

    path: Path
    metadata: dict[str, Any]
    content: Any
    advice: str

    def read(self, columns: Iterable[str]) -> Any:
        """The named columns as an Arrow table. Raises `InputError` where one is missing or damaged."""
        import pyarrow

        try:
            return self.content.read(list(columns)).select(list(columns)).combine_chunks()
        except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
            raise _damaged(self.path, error, self.advice) from None


def write(path: Path, table: Any, metadata: dict[str, Any], distinct: Iterable[str] = ()) -> None:
    """Write an Arrow table.

    Args:
        path: The file.
        table: Any Arrow table.
        metadata: Anything JSON holds; it goes into the file's own metadata, with the sha256 of all other bytes.
        distinct: Columns without repeated values; they are stored without a dictionary of their values.
    """
    content = _serialise(table, metadata, set(distinct))
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _serialise(table: Any, metadata: dict[str, Any], distinct: set[str]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    metadata = metadata | {"seal": (SEAL + UNSEALED).decode()}
    table = table.replace_schema_metadata({key: json.dumps(value) for key, value in metadata.items()})
    ascending = [name for name in distinct if str(table.schema.field(name).type).startswith("int")]
    buffer = pyarrow.BufferOutputStream()
    parquet.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=3,
        use_dictionary=[name for name in table.column_names if name not in distinct],
        column_encoding=dict.fromkeys(ascending, "DELTA_BINARY_PACKED"),
    )
    content = bytearray(buffer.getvalue())
    start = content.rindex(SEAL) + len(SEAL)
    content[start : start + len(UNSEALED)] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


def open_sealed(path: Path, newest_schema: int, advice: str) -> SealedParquet:
    """Read a file that `write` wrote, and check its schema version and its sha256.

    Args:
        path: The file.
        newest_schema: The highest `schema_version` of its metadata that can be read.
        advice: How to make it again, for messages.

    Raises:
        InputError: where it is missing, damaged, or has other bytes than were written.
        NewerSchemaError: where a newer version of this repository wrote it.
        UnreadableFileError: where the machine does not let us read it.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        content = path.read_bytes()
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        stored = file.metadata.metadata or {}
        metadata = {key.decode(): json.loads(value) for key, value in stored.items() if key != b"ARROW:schema"}
        check_schema(path, metadata.get("schema_version"), newest_schema, advice)
        _check_seal(content)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {advice}") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        refuse_unreadable(error, path)
        raise _damaged(path, error, advice) from None
    return SealedParquet(path, metadata, file, advice)


def _check_seal(content: bytes) -> None:
    start = content.rfind(SEAL) + len(SEAL)
    end = start + len(UNSEALED)
    digest = hashlib.sha256(content[:start])
    digest.update(UNSEALED)
    digest.update(content[end:])
    if digest.hexdigest().encode() != content[start:end]:
        raise ValueError("its bytes are not those written")


def _damaged(path: Path, error: Exception, advice: str) -> InputError:
    return InputError(f"{path} is damaged ({error}): {advice}")
