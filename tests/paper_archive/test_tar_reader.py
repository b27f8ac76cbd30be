"""Hostile, damaged and odd archives: refused by name, and nothing of them is written."""

import contextlib
import gzip
import hashlib
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors.errors import InputError
from imagenet_errors.paper_archive.tar_reader import Limits, read_members, unpack
from tests.helpers.archives import MEMBERS, below, entries, entry, tar


def read(path, **limits) -> dict[str, bytes]:
    return {member.name: member.file.read() for member in read_members(path, Limits(**limits))}


class TestMembers:
    """Sound archives in all formats."""

    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_files_are_read(self, path, put_tar, form):
        put_tar(tar(entry("imagenet/", type=tarfile.DIRTYPE), *entries(), form=form))
        assert read(path) == MEMBERS

    @pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    @pytest.mark.parametrize("length", [99, 100, 101, 255, 900])
    def test_long_names_are_read(self, path, put_tar, form, length):
        name = ("ü" * 50 + "/") * 20
        contents = {name[: length - 1] + "x": b"1", "short": b"2"}
        put_tar(tar(*entries(contents), form=form))
        assert read(path) == contents

    def test_archive_written_by_tarfile_is_read(self, path, tmp_path):
        """With fractional times, owners, a global header, and `./` before all names."""
        (tmp_path / "tree" / "sub").mkdir(parents=True)
        (tmp_path / "tree" / "sub" / "file").write_bytes(b"content")
        with tarfile.open(path, "w:gz", pax_headers={"comment": "ours"}) as archive:
            archive.add(tmp_path / "tree", arcname=".")
        assert read(path) == {"sub/file": b"content"}

    def test_size_in_a_pax_record_is_used(self, path, put_tar):
        member, content = entry("a", b"12345")
        member.pax_headers, member.size = {"size": "5"}, 0
        put_tar(tar((member, content), entry("b", b"6")))
        assert read(path) == {"a": b"12345", "b": b"6"}

    def test_members_may_be_skipped_or_read_in_part(self, path, put_tar):
        put_tar(tar(*entries()))
        found = [(member.name, member.size) for member in read_members(path)]
        assert found == [(name, len(content)) for name, content in MEMBERS.items()]
        assert [member.file.read(3) for member in read_members(path)] == [content[:3] for content in MEMBERS.values()]

    def test_content_ends_with_the_member(self, path, put_tar):
        put_tar(tar(*entries()))
        for member in read_members(path):
            assert member.file.read() == MEMBERS[member.name]
            assert member.file.read() == b""

    def test_shared_archive_is_read_as_tarfile_reads_it(self, shared):
        path = shared / "archives" / "models-imagenet.tar.gz"
        ours = {member.name: hashlib.file_digest(member.file, "sha256").hexdigest() for member in read_members(path)}
        with tarfile.open(path) as archive:
            theirs = {
                member.name: hashlib.file_digest(archive.extractfile(member), "sha256").hexdigest()
                for member in archive
                if member.isfile()
            }
        assert ours == theirs
        assert len(ours) == 4


def pax(name="a", **headers):
    member, content = entry(name, b"content")
    member.pax_headers = headers
    return member, content


def raw_pax(data: bytes, kind=tarfile.XHDTYPE):
    return entry("header", data, type=kind)


GOOD = entry("good", b"good")
TWICE = [("a/b", "a"), ("a", "a/b"), ("a", "a"), ("a", "./a"), ("a/b", "a//b")]
HOSTILE = {
    "absolute path": ([entry("/etc/x", b"x")], "'/etc/x' has an absolute path"),
    "absolute path in a header": ([pax(path="/etc/x")], "'/etc/x' has an absolute path"),
    "parent path": ([entry("../x", b"x")], r"'../x' leads out of its folder"),
    "parent path within": ([entry("a/../../x", b"x")], "leads out of its folder"),
    "parent path in a header": ([pax(path="a/../../x")], "leads out of its folder"),
    "parent folder": ([entry("..", type=tarfile.DIRTYPE)], "leads out of its folder"),
    "symbolic link out": ([entry("a", type=tarfile.SYMTYPE, linkname="/etc")], "'a' is a symbolic link"),
    "symbolic link and a file through it": (
        [entry("a", type=tarfile.SYMTYPE, linkname=".."), entry("a/x", b"x")],
        "'a' is a symbolic link",
    ),
    "hard link": ([entry("a", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "'a' is a hard link"),
    "link with a long target": ([entry("a" * 9, b"/etc\0", type=tarfile.GNUTYPE_LONGLINK), GOOD], "is a link"),
    "link in a header": ([pax(linkpath="/etc/passwd")], "is of a link"),
    "character device": ([entry("a", type=tarfile.CHRTYPE, devmajor=1, devminor=5)], "'a' is a device"),
    "block device": ([entry("a", type=tarfile.BLKTYPE)], "'a' is a device"),
    "pipe": ([entry("a", type=tarfile.FIFOTYPE)], "'a' is a pipe"),
    "socket": ([entry("a", type=b"s")], "'a' is of an unknown type"),
    "contiguous file": ([entry("a", type=tarfile.CONTTYPE)], "'a' is a contiguous file"),
    "old sparse file": ([entry("a", type=tarfile.GNUTYPE_SPARSE)], "'a' is a sparse file"),
    "new sparse file": ([pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})], "a sparse file"),
    "part of several volumes": ([entry("a", type=b"M")], "'a' is of an unknown type"),
    "newline in a name": ([entry("a\nb", b"x")], r"'a\\nb' has a name with control characters"),
    "escape sequence in a name": ([entry("a\x1b[2J", b"x")], "control characters"),
    "NUL in a name": ([pax(path="a\0b")], "control characters"),
    "bidirectional override in a name": ([pax(path="a\u202ebcd")], "control characters"),
    "name that is no UTF-8": ([entry("a\udcff", b"x")], "control characters"),
    "over-long name": ([pax(path="a/" * 600 + "a")], "over-long name"),
    "over-long part of a name": ([pax(path="ü" * 128)], "over-long name"),
    "empty name": ([entry("", b"x")], "has no name"),
    "name of a folder": ([entry("a/", b"x", type=tarfile.REGTYPE)], "has no name"),
    "dot as a name": ([entry(".", b"x")], "has no name"),
    "folder with content": ([entry("a", b"x" * 512, type=tarfile.DIRTYPE)], "claims to have 512 bytes"),
    "giant": ([(entry("a", size=1 << 60)[0], b"")], "claims to have 1,152,921,504,606,846,976 bytes"),
    "negative size": ([(entry("a", size=-512)[0], b"")], "a malformed header"),
    "giant header": ([raw_pax(bytes(1 << 17))], "has a header of 131,072 bytes"),
    "giant name": ([entry("a", b"a" * (1 << 17), type=tarfile.GNUTYPE_LONGNAME)], "has a header of 131,072 bytes"),
    "empty header": ([raw_pax(b"")], "has a header of 0 bytes"),
    "headers for headers": ([raw_pax(b"9 path=a\n")] * 9, "two headers of the same type"),
    "header without a file": ([raw_pax(b"9 path=a\n")], "a header without a file"),
    "header without a length": ([raw_pax(b"path=a\n"), GOOD], "a malformed header"),
    "header with a wrong length": ([raw_pax(b"99 path=a\n"), GOOD], "a malformed header"),
    "header with a negative length": ([raw_pax(b"-9 path=a\n"), GOOD], "a malformed header"),
    "header with an endless length": ([raw_pax(b"9" * 9000), GOOD], "a malformed header"),
    "header with a number without end": (
        [raw_pax(b"60014 comment=" + b"9" * 59999 + b"\n"), GOOD],
        "a malformed header",
    ),
    "header with a negative size": ([pax(size="-1")], "a malformed header"),
    "path for all files": ([raw_pax(b"9 path=a\n", tarfile.XGLTYPE), GOOD], "a malformed header"),
} | {f"{first} and {then}": ([entry(first, b"1"), entry(then, b"2")], "occurs twice") for first, then in TWICE}


class TestHostile:
    """Archives made to do harm."""

    @pytest.mark.parametrize("name", HOSTILE)
    def test_nothing_is_written(self, tmp_path, path, folder, put_tar, name):
        hostile, words = HOSTILE[name]
        put_tar(tar(GOOD, *hostile))
        with pytest.raises(InputError, match=words) as refusal:
            unpack(path, folder)
        assert str(path) in str(refusal.value)
        assert sorted(tmp_path.rglob("*")) == [path, folder]

    @pytest.mark.parametrize("name", HOSTILE)
    def test_only_sound_members_are_handed_out(self, path, folder, put_tar, name):
        put_tar(tar(GOOD, *HOSTILE[name][0]))
        seen = []
        with contextlib.suppress(InputError):
            for member in read_members(path):
                seen.append(member.name)
        assert seen[0] == "good"
        assert not any(name.startswith("/") or ".." in name.split("/") for name in seen)

    @pytest.mark.parametrize(
        ("limits", "words"),
        [
            (Limits(member=2303), "claims to have 2,304 bytes"),
            (Limits(total=6000), "unpacks to more than 6,000 bytes"),
            (Limits(members=5), "holds more than 5 files"),
            (Limits(name=20), "over-long name"),
        ],
    )
    def test_limits_are_respected(self, path, folder, put_tar, limits, words):
        put_tar(tar(*entries()))
        with pytest.raises(InputError, match=words):
            unpack(path, folder, limits=limits)
        assert below(folder) == {}

    def test_negative_binary_size_is_refused(self, path, put_tar):
        put_tar(tar((entry("a", size=-512)[0], b""), form=tarfile.GNU_FORMAT))
        with pytest.raises(InputError, match="claims to have -512 bytes"):
            read(path)

    def test_decompression_bomb_is_stopped(self, path, folder):
        """50 KB that unpack to 50 MB are refused before most of it is unpacked."""
        with gzip.open(path, "wb") as file:
            file.write(tar((entry("a", size=50_000_000)[0], b""), end=False) + bytes(50_000_000))
        assert path.stat().st_size < 60_000
        with pytest.raises(InputError, match="unpacks to more than 9,000,000 bytes"):
            unpack(path, folder, limits=Limits(total=9_000_000))
        assert below(folder) == {}

    def test_zeros_after_the_end_are_limited(self, path, put_tar, folder):
        put_tar(tar(*entries()) + bytes(5_000_000))
        with pytest.raises(InputError, match="unpacks to more than 4,000,000 bytes"):
            unpack(path, folder, limits=Limits(total=4_000_000))
        unpack(path, folder)
        assert below(folder) == MEMBERS

    def test_files_after_the_end_are_refused(self, path, put_tar, folder):
        put_tar(tar(*entries()) + tar(entry("hidden", b"x")))
        with pytest.raises(InputError, match="something follows the archive's end"):
            unpack(path, folder)
        assert below(folder) == {}

    @given(content=st.binary(max_size=2000) | st.binary(max_size=600).map(lambda data: tar(*entries())[:600] + data))
    def test_random_bytes_are_refused(self, tmp_path_factory, content):
        path = tmp_path_factory.mktemp("random") / "a.tar.gz"
        for data in (content, gzip.compress(content, 1)):
            path.write_bytes(data)
            with pytest.raises(InputError, match=r"a\.tar\.gz"):
                read(path)

    @given(st.data())
    def test_changed_header_is_read_or_refused(self, tmp_path_factory, data):
        """With a corrected checksum."""
        content = bytearray(tar(*entries(), form=tarfile.GNU_FORMAT))
        at = data.draw(st.integers(0, 511).filter(lambda at: not 148 <= at < 156))
        content[at] = data.draw(st.integers(0, 255))
        content[148:156] = b" " * 8
        content[148:156] = b"%06o\0 " % sum(content[:512])
        path = tmp_path_factory.mktemp("header") / "a.tar.gz"
        path.write_bytes(gzip.compress(bytes(content), 1))
        try:
            found = read(path)
        except InputError:
            return
        assert all(name.isprintable() and not name.startswith("/") for name in found)


class TestDamaged:
    """Truncated and changed archives."""

    @pytest.fixture
    def sound(self, path, put_tar):
        put_tar(tar(*entries()))
        return path.read_bytes()

    @pytest.mark.parametrize("quarter", [0, 1, 2, 3])
    def test_truncated_archive_is_not_unpacked(self, path, folder, sound, quarter):
        path.write_bytes(sound[: len(sound) * quarter // 4])
        with pytest.raises(InputError, match="is damaged or cut off after"):
            unpack(path, folder)
        assert below(folder) == {}

    @pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.heavy)])
    def test_any_truncation_is_refused(self, path, sound, step):
        for length in range(0, len(sound), step):
            path.write_bytes(sound[:length])
            with pytest.raises(InputError):
                read(path)

    def test_truncation_before_compression_is_refused(self, path, put_tar):
        content = tar(*entries(), end=False)
        for length in range(0, len(content) + 1, 100):
            put_tar(content[:length])
            with pytest.raises(InputError, match="it ends too early"):
                read(path)

    @pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.heavy)])
    @pytest.mark.parametrize("level", [0, 9])
    def test_changed_byte_is_refused_or_harmless(self, path, level, step):
        """Some bytes are meaningless, in gzip's header or where two encodings mean the same."""
        contents, passed = {"a": b"content", "b": bytes(99)}, []
        sound = gzip.compress(tar(*entries(contents)), level, mtime=0)
        for at in range(0, len(sound), step):
            path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
            with contextlib.suppress(InputError):
                assert read(path) == contents
                passed.append(at)
        assert len(passed) < (8 if level == 0 else 30)

    def test_other_formats_are_refused(self, path):
        for content in (tar(*entries()), zlib.compress(tar(*entries())), b"PK\3\4", b"<html>"):
            path.write_bytes(content)
            with pytest.raises(InputError, match="is damaged or cut off"):
                read(path)

    def test_bytes_after_the_gzip_stream_are_refused(self, path, sound):
        path.write_bytes(sound + b"x")
        with pytest.raises(InputError, match="is damaged"):
            read(path)

    def test_missing_archive_is_refused(self, path, folder):
        for wrong in (path, folder):
            with pytest.raises(InputError, match="is missing or not a file"):
                unpack(wrong, folder)

    def test_empty_archive_is_refused(self, path, put_tar, folder):
        put_tar(tar())
        with pytest.raises(InputError, match="holds no files"):
            unpack(path, folder)
