"""Archives unpacked into a folder that may hold files already."""

import os
import tarfile

import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.paper_archive import tar_reader
from imagenet_errors.paper_archive.tar_reader import unpack
from tests.helpers.archives import MEMBERS, below, entries, entry, tar


@pytest.fixture(autouse=True)
def _archive(put_tar):
    put_tar(tar(*entries()))


def test_second_run_writes_nothing(path, folder):
    assert unpack(path, folder) == tar_reader.Unpacked(4, 0, [])
    assert below(folder) == MEMBERS
    times = {one: one.stat().st_mtime_ns for one in folder.rglob("*")}
    for overwrite in (False, True):
        assert unpack(path, folder, overwrite) == tar_reader.Unpacked(0, 4, [])
    assert {one: one.stat().st_mtime_ns for one in folder.rglob("*")} == times


def test_common_artefacts_folder_is_left_out(path, put_tar, folder):
    put_tar(tar(entry("artefacts", type=tarfile.DIRTYPE), *entries({f"artefacts/{n}": c for n, c in MEMBERS.items()})))
    unpack(path, folder)
    assert below(folder) == MEMBERS


def test_artefacts_folder_of_some_files_is_kept(path, put_tar, folder):
    contents = {f"artefacts/{name}": content for name, content in MEMBERS.items()} | {"b": b""}
    put_tar(tar(*entries(contents)))
    unpack(path, folder)
    assert below(folder) == contents


@pytest.mark.parametrize("mine", [b"mine", b"y" * 512])
def test_existing_files_are_replaced_only_with_overwrite(path, folder, mine):
    (folder / "one").write_bytes(mine)
    assert unpack(path, folder) == tar_reader.Unpacked(3, 0, ["one"])
    assert below(folder) == MEMBERS | {"one": mine}
    assert unpack(path, folder, overwrite=True) == tar_reader.Unpacked(1, 3, [])
    assert below(folder) == MEMBERS


def test_link_out_of_the_folder_is_refused(path, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "imagenet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"inside/imagenet/.* is a link out of"):
        unpack(path, folder, overwrite=True)
    assert below(tmp_path / "elsewhere") == {}


def test_link_within_the_folder_is_followed(path, folder):
    (folder / "elsewhere").mkdir()
    (folder / "imagenet").symlink_to("elsewhere")
    unpack(path, folder)
    assert (folder / "elsewhere" / "empty").exists()


def test_linked_file_is_replaced_not_written_through(path, folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(MEMBERS["one"][:-1] + b"y")
    (folder / "one").symlink_to(outside)
    (folder / "imagenet").mkdir()
    (folder / "imagenet" / "empty").symlink_to("nowhere")
    assert unpack(path, folder).kept == ["imagenet/empty", "one"]
    assert unpack(path, folder, overwrite=True).written == 2
    assert outside.read_bytes().endswith(b"y")
    assert not (folder / "one").is_symlink()
    assert below(folder) == MEMBERS


def test_link_to_an_equal_file_is_kept(path, folder, tmp_path):
    (tmp_path / "outside").write_bytes(MEMBERS["one"])
    (folder / "one").symlink_to(tmp_path / "outside")
    assert unpack(path, folder, overwrite=True) == tar_reader.Unpacked(3, 1, [])
    assert (folder / "one").is_symlink()


def test_folder_may_be_a_link(path, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    unpack(path, tmp_path / "link")
    assert below(folder) == MEMBERS


def test_file_in_the_place_of_a_folder_is_refused(path, folder):
    (folder / "imagenet").write_bytes(b"mine")
    with pytest.raises(InputError, match="inside/imagenet is not a folder"):
        unpack(path, folder, overwrite=True)
    assert below(folder) == {"imagenet": b"mine"}


def test_folder_in_the_place_of_a_file_is_refused(path, folder):
    (folder / "one").mkdir()
    with pytest.raises(InputError, match="inside/one is a folder"):
        unpack(path, folder, overwrite=True)
    assert below(folder) == {}


def test_new_folder_is_made(path, tmp_path):
    unpack(path, tmp_path / "new" / "er")
    assert below(tmp_path / "new" / "er") == MEMBERS


def test_archive_without_room_is_refused(path, folder, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": (256 << 20) + 2800}))
    with pytest.raises(InputError, match="bytes free, 2,818 are needed"):
        unpack(path, folder)
    assert below(folder) == {}


def test_files_written_before_the_disk_is_full_are_kept(path, folder, monkeypatch):
    free = iter([3000, 3000, 3000, -1])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": (256 << 20) + next(free)}))
    with pytest.raises(InputError, match="make room"):
        unpack(path, folder)
    assert below(folder) == {name: MEMBERS[name] for name in list(MEMBERS)[:2]}
    monkeypatch.undo()
    assert unpack(path, folder) == tar_reader.Unpacked(2, 2, [])
    assert below(folder) == MEMBERS


@pytest.mark.parametrize("number", range(4))
def test_killed_run_leaves_whole_files(path, folder, number):
    """Killed while file `number` is written, again and again, in a process of its own."""
    child = os.fork()
    if not child:
        replace, left = os.replace, iter(range(number))
        os.replace = lambda *arguments: replace(*arguments) if next(left, None) is not None else os._exit(9)
        unpack(path, folder)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    whole = {name: content for name, content in below(folder).items() if not name.endswith(".tmp")}
    assert whole == {name: MEMBERS[name] for name in list(MEMBERS)[:number]}
    assert unpack(path, folder) == tar_reader.Unpacked(4 - number, number, [])


def test_archive_that_changes_while_unpacked_is_refused(path, put_tar, folder, monkeypatch):
    def swap(folder, num_bytes):
        put_tar(tar(*entries(MEMBERS | {"one": b"y" * 512})))

    monkeypatch.setattr(tar_reader, "check_room", swap)
    with pytest.raises(InputError, match="one changed while its archive was being unpacked"):
        unpack(path, folder)
    assert "one" not in below(folder)
