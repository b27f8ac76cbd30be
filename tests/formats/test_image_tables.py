"""Image tables: named by their content, kept, and written again where they are damaged."""

import socket
import subprocess

import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.formats import image_tables
from tests.helpers.analyses import make_images


def columns_of(targets: list[int]) -> dict:
    files = [f"n/{number}" for number in range(len(targets))]
    none = [False] * len(targets)
    return image_tables.build_columns(make_images(files, targets, [[target] for target in targets], none, none))


def test_table_is_named_by_its_content(tmp_path):
    first, other = (image_tables.store(tmp_path, columns_of(targets)) for targets in ([1, 2], [1, 3]))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert before.keys() == {first, other}
    assert image_tables.store(tmp_path, columns_of([1, 2])) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    image_tables.check(tmp_path / first)
    assert image_tables.read(tmp_path / other)["target"] == [1, 3]


def test_damaged_table_is_written_again(tmp_path):
    path = tmp_path / image_tables.store(tmp_path, columns_of([1, 2]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match="is damaged"):
        image_tables.check(path)
    image_tables.store(tmp_path, columns_of([1, 2]))
    assert path.read_bytes() == whole


def test_table_of_another_content_than_its_name_says_is_refused(tmp_path):
    first, other = (tmp_path / image_tables.store(tmp_path, columns_of(targets)) for targets in ([1, 2], [1, 3]))
    other.replace(first)
    with pytest.raises(InputError, match="another content"):
        image_tables.check(first)


def test_leftovers_of_a_killed_writer_are_removed_beside_a_whole_table(tmp_path):
    name = image_tables.store(tmp_path, columns_of([1, 2]))
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / f".{name}.{socket.gethostname()}.{ended.pid}.tmp").write_text("half")
    image_tables.store(tmp_path, columns_of([1, 2]))
    assert [path.name for path in tmp_path.iterdir()] == [name]
