"""The public files: downloaded, verified, listed and unpacked, from a misbehaving server on this machine."""

import csv
import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest

from imagenet_errors import download as downloading
from imagenet_errors import public_files
from imagenet_errors.error_types import ERROR_COLUMNS
from imagenet_errors.paths import DOWNLOAD_COLUMNS, Artefacts
from tests.conftest import ROOT, refused

pytest_plugins = "tests.helpers.http_server"
ANNOTATIONS = json.dumps({"initial_annots": {"a.JPEG": {"correct": ["n01440764"]}}, "problematic_images": {}}).encode()
MISTAKES = json.dumps({"a.JPEG": {"failure category": "Fine-grained error"}}).encode()
TABLE = ",".join(["model_dir_id", "training_data", *ERROR_COLUMNS]) + "\nme," + ",".join("1" * 8) + "\n"
STATS = "published/stats-imagenet/non_problematic_stats_all.csv"
PLACES = {
    "archive": "artefacts.tar.gz",
    "annotations": "annotations/human_accuracy_v3.0.0.json",
    "mistakes": "annotations/vit3b_mistakes.json",
    "logits": "imagenet/vit3b.npz",
    "tables": STATS,
}


def tarball(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"artefacts/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def saved(array, save=np.save) -> bytes:
    buffer = io.BytesIO()
    save(buffer, array)
    return buffer.getvalue()


ARCHIVE = tarball(**{"imagenet/me/metadata.json": b"{}", "labels_map.json": b"[1]"})
LOGITS = saved(np.zeros((7, 1000), np.float32))
CONTENTS = dict(zip(PLACES, (ARCHIVE, ANNOTATIONS, MISTAKES, LOGITS, TABLE.encode()), strict=True))


@pytest.fixture
def root(tmp_path, server):
    """An artefacts folder whose own downloads.csv names this machine's server, a file of each group."""
    folder = tmp_path / "artefacts"
    folder.mkdir()
    write_downloads(folder, server)
    server.files = {f"/{what}": content for what, content in CONTENTS.items()}
    server.content = None
    return folder


def write_downloads(folder, server, **changes):
    with open(folder / "downloads.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, DOWNLOAD_COLUMNS)
        writer.writeheader()
        for what, place in PLACES.items():
            sha256 = hashlib.sha256(ARCHIVE).hexdigest() if what == "archive" else ""
            row = {"name": f"my_{what}", "what": what, "url": f"{server.url}/{what}", "path": place, "sha256": sha256}
            writer.writerow(row | {"description": "of mine"} | (changes if what == "annotations" else {}))


@pytest.fixture
def get(call, root, waits):
    return lambda *flags: call("download_artefacts", "--artefacts_dir", root, *flags)


@pytest.fixture
def states(get):
    """{name: state} as `--list` prints it."""

    def read(*flags):
        return {line.split()[2]: line.split()[0] for line in get("--list", *flags).stdout.splitlines()}

    return read


class TestScript:
    """What users ask for."""

    def test_all_files_are_downloaded_listed_and_unpacked(self, get, root, states):
        assert set(states().values()) == {"missing"}
        assert get("--what", "all").status == 0
        for what, place in PLACES.items():
            assert (root / place).read_bytes() == CONTENTS[what]
        assert (root / "labels_map.json").read_bytes() == b"[1]"
        assert (root / "imagenet" / "me" / "metadata.json").read_bytes() == b"{}"
        assert set(states().values()) == {"present"}
        assert not [path for path in root.rglob("*") if ".part" in path.name]

    def test_present_files_are_kept(self, get, root, server):
        get("--what", "all")
        asked = len(server.asked)
        outcome = get("--what", "all")
        assert (outcome.status, len(server.asked)) == (0, asked)
        assert outcome.stderr.count("exists and is kept") == len(PLACES)
        assert "0 files unpacked" in outcome.stderr

    @pytest.mark.parametrize("is_recorded", [True, False])
    def test_present_files_are_hashed_once(self, get, root, monkeypatch, is_recorded):
        get("--what", "archive", "logits")
        if not is_recorded:
            (root / "downloads_done.csv").unlink()
        hashed, file_sha256 = [], public_files.file_sha256
        monkeypatch.setattr(public_files, "file_sha256", lambda path: hashed.append(path.name) or file_sha256(path))
        get("--what", "archive", "logits")
        assert hashed == ["artefacts.tar.gz", "vit3b.npz"]
        with open(root / "downloads_done.csv", newline="") as file:
            rows = {row["file"]: row["sha256"] for row in csv.DictReader(file)}
        assert rows == {PLACES[what]: hashlib.sha256(CONTENTS[what]).hexdigest() for what in ("archive", "logits")}

    def test_overwrite_downloads_files_without_a_published_hash(self, get, root, server):
        get("--what", "all")
        server.files["/mistakes"] = MISTAKES.replace(b"a.JPEG", b"b.JPEG")
        asked = len(server.asked)
        assert get("--what", "all", "--overwrite").status == 0
        assert len(server.asked) == asked + len(PLACES) - 1  # the archive's hash is published
        assert (root / PLACES["mistakes"]).read_bytes() == server.files["/mistakes"]

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ([], "nothing to do: give one of --what, --list, --from_file"),
            (["--what", "anotations"], "unknown public file 'anotations', did you mean 'annotations'?"),
            (["--what"], "expected at least one argument"),
            (["--list", "--what", "my_logit"], "did you mean 'my_logits'?"),
            (["--what", "all", "--attempts", "0"], "0 is not 1 or more"),
        ],
    )
    def test_wrong_flags_are_refused(self, get, flags, words):
        assert refused(get(*flags), words)

    def test_other_files_are_downloaded_after_a_failure(self, get, server, root):
        server.files["/mistakes"] = None
        outcome = get("--what", "mistakes", "logits", "tables")
        assert refused(outcome, "1 of 3 files were not downloaded: my_mistakes")
        assert "my_mistakes: " in outcome.stderr
        assert "answered 404 Not Found" in outcome.stderr
        assert (root / PLACES["tables"]).exists()

    def test_committed_table_is_valid(self):
        files = public_files.load_public_files(Artefacts(ROOT / "artefacts"))
        assert {file.what for file in files} == set(public_files.FILE_GROUPS)
        assert len({file.name for file in files}) == len({file.path for file in files}) == len(files) == 14
        archive = next(file for file in files if file.what == "archive")
        assert archive.sha256 == "efd9b00879fc48c12494cde15477040ed04a1d50b815aec15d33985ffb10adf1"

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"path": "../above.json"}, "'../above.json' is not a path below the artefacts folder"),
            ({"path": "/etc/passwd"}, "not a path below"),
            ({"path": "."}, "not a path below"),
            ({"path": "a\x1b[2Jb"}, "not a path below"),
            ({"url": "file:///etc/passwd"}, "does not begin with http:// or https://"),
            ({"what": "anotations"}, "unknown group 'anotations', did you mean 'annotations'?"),
        ],
    )
    def test_malformed_downloads_table_is_refused(self, get, root, server, changes, words):
        write_downloads(root, server, **changes)
        assert refused(get("--what", "all"), root / "downloads.csv", words)
        assert server.asked == []

    def test_ctrl_c_keeps_the_part(self, get, root, server, monkeypatch):
        def interrupt(part, chunk):
            part.file.write(chunk[:10])
            raise KeyboardInterrupt

        monkeypatch.setattr(downloading.PartialFile, "append", interrupt)
        outcome = get("--what", "annotations")
        assert (outcome.status, outcome.stderr.splitlines()[-1].count("interrupt: ")) == (130, 1)
        assert (root / f"{PLACES['annotations']}.part").read_bytes() == ANNOTATIONS[:10]

    def test_killed_download_resumes(self, get, root, server, states):
        server.files["/annotations"] = None
        server.endless, server.content = True, b"x"
        process = subprocess.Popen(
            [sys.executable, ROOT / "src" / "download_artefacts.py", "--what", "annotations", "--artefacts_dir", root],
            stderr=subprocess.DEVNULL,
        )
        part = root / f"{PLACES['annotations']}.part"
        server.files["/annotations"] = ANNOTATIONS
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        server.endless = False
        assert states()["my_annotations"] == "incomplete"
        assert get("--what", "annotations").status == 0
        assert (root / PLACES["annotations"]).read_bytes() == ANNOTATIONS

    def test_full_disk_is_one_line(self, get, root, monkeypatch):
        def full(part, chunk):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part.path))

        monkeypatch.setattr(downloading.PartialFile, "append", full)
        assert refused(get("--what", "annotations"), "annotations", "No space left on device: make room")


class TestList:
    """Which files are present, missing, incomplete or damaged."""

    @pytest.fixture(autouse=True)
    def _downloaded(self, get):
        get("--what", "all")

    @pytest.mark.parametrize("what", PLACES)
    def test_changed_byte_is_damage(self, root, states, get, what, server):
        content = bytearray((root / PLACES[what]).read_bytes())
        content[len(content) // 2] ^= 1
        (root / PLACES[what]).write_bytes(content)
        assert states() == {f"my_{one}": "damaged" if one == what else "present" for one in PLACES}
        assert refused(get("--what", what), "is damaged (", "--overwrite downloads it again")
        assert (root / PLACES[what]).read_bytes() == content
        assert get("--what", what, "--overwrite").status == 0
        assert states(f"--what={what}") == {f"my_{what}": "present"}

    @pytest.mark.parametrize("quarter", [0, 1, 2, 3])
    @pytest.mark.parametrize("what", PLACES)
    def test_truncated_file_of_the_user_is_damage(self, root, states, what, quarter):
        (root / "downloads_done.csv").unlink()
        assert set(states().values()) == {"present"}
        content = (root / PLACES[what]).read_bytes()
        (root / PLACES[what]).write_bytes(content[: len(content) * quarter // 4])
        assert states(f"--what={what}") == {f"my_{what}": "damaged"}

    def test_malformed_record_of_downloads_is_not_overwritten(self, root, get):
        (root / "downloads_done.csv").write_text("file,url\n")
        assert refused(get("--what", "tables", "--overwrite"), "downloads_done.csv has the columns")

    def test_list_prints_states_and_sizes(self, root, get):
        (root / PLACES["tables"]).rename(root / f"{STATS}.part")
        lines = get("--list", "--what", "tables").stdout
        assert lines == f"incomplete {len(TABLE):>14,}  my_tables             {STATS}: the same command resumes it\n"


class TestFromFile:
    """Files that were downloaded by other means."""

    @pytest.fixture
    def offline(self, server):
        server.files, server.content = {}, None
        yield
        assert server.asked == []

    @pytest.fixture
    def elsewhere(self, tmp_path, offline):
        folder = tmp_path / "down loads 'é'"
        folder.mkdir()
        for what, place in PLACES.items():
            (folder / place.rpartition("/")[2]).write_bytes(CONTENTS[what])
        return folder

    def test_files_are_identified_by_their_names(self, get, root, elsewhere, states):
        for path in elsewhere.iterdir():
            assert get("--from_file", path).status == 0
            assert get("--from_file", path).status == 0  # again
        assert states() == {"my_archive": "missing"} | {f"my_{what}": "present" for what in list(PLACES)[1:]}
        assert (root / "labels_map.json").read_bytes() == b"[1]"  # unpacked where it lay

    def test_renamed_file_needs_what(self, get, root, elsewhere):
        other = (elsewhere / "vit3b.npz").rename(elsewhere / "x")
        assert refused(get("--from_file", other), "may be any of my_archive, my_annotations", "name one with --what")
        assert get("--from_file", other, "--what", "logits").status == 0

    @pytest.mark.parametrize("what", PLACES)
    def test_wrong_file_is_refused(self, get, root, elsewhere, what):
        other = elsewhere / "wrong"
        other.write_bytes(b"<html>")
        before = sorted(root.rglob("*"))
        done = get("--from_file", other, "--what", what)
        assert refused(done, other, f"taken for my_{what},", "give another file")
        assert "try again" not in done.stderr
        assert sorted(root.rglob("*")) == before

    def test_missing_file_is_refused(self, get, tmp_path):
        assert refused(get("--from_file", tmp_path / "no", "--what", "logits"), "is missing or not a file")

    def test_existing_file_is_replaced_only_with_overwrite(self, get, root, elsewhere):
        path = root / PLACES["mistakes"]
        path.parent.mkdir()
        path.write_text("mine")
        flags = ("--from_file", elsewhere / path.name)
        assert refused(get(*flags), path, "differs", "--overwrite replaces it")
        assert path.read_text() == "mine"
        assert get(*flags, "--overwrite").status == 0
        assert path.read_bytes() == MISTAKES

    def test_file_that_changes_during_the_copy_is_refused(self, get, root, elsewhere, monkeypatch):
        copy = public_files._copy
        monkeypatch.setattr(public_files, "_copy", lambda source, to: source.write_bytes(b"") or copy(source, to))
        assert refused(get("--from_file", elsewhere / "vit3b.npz"), "vit3b.npz changed while it was copied")
        assert not list((root / "imagenet").iterdir())

    def test_copy_without_room_is_refused(self, get, root, elsewhere, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": (256 << 20) + len(LOGITS) - 1}))
        assert refused(get("--from_file", elsewhere / "vit3b.npz"), "make room")
        assert not list((root / "imagenet").iterdir())

    def test_archive_replaces_files_only_with_overwrite(self, get, root, elsewhere):
        (root / "labels_map.json").write_text("mine")
        flags = ("--from_file", elsewhere / "artefacts.tar.gz")
        outcome = get(*flags)
        assert outcome.status == 1
        assert f"{root}/labels_map.json differs from the archive's and was kept" in outcome.stderr
        assert (root / "labels_map.json").read_text() == "mine"
        assert get(*flags, "--overwrite").status == 0
        assert (root / "labels_map.json").read_bytes() == b"[1]"


ONE_ROW = np.ones((1, 1000), np.float16)
GOOD = {
    "annotations": [ANNOTATIONS],
    "mistakes": [MISTAKES],
    "logits": [
        LOGITS,
        saved(np.ones((2, 1000), np.float16), np.savez),
        saved(np.ones((1, 1000)), np.savez_compressed),
    ],
    "tables": [TABLE.encode()],
}
BAD = {
    "annotations": [b"", b"[]", b"{}", b"\xff", b"<html>", b"[" * 100_000, MISTAKES, ANNOTATIONS[:-1]],
    "mistakes": [b"", b"[]", b"{}", b"null", b'{"a": 1}', b'{"a": NaN}', MISTAKES + b"x"],
    "logits": [
        b"",
        LOGITS[:-1],
        LOGITS + b"x",
        saved(np.zeros((7, 999))),
        saved(np.zeros((0, 1000))),
        saved(np.zeros(1000)),
        saved(np.zeros((7, 1000), int)),
        saved(np.array([[{}] * 1000])),
        saved(np.zeros((7, 999)), np.savez),
        saved(np.zeros((7, 1000)), lambda file, array: np.savez(file, array, array)),
        saved(np.zeros((7, 1000)), np.savez).replace(bytes(100), b"x" * 100, 1),
        tarball(),
    ],
    "tables": [
        b"",
        b"\xff",
        b"model_dir_id\n",
        TABLE.encode()[:-1],
        TABLE.encode()[:-3] + b"\n",
        TABLE.splitlines(keepends=True)[0].encode(),
        b'"' + b"x" * 200_000,
    ],
}


class TestChecks:
    """What a file must be if no hash is known."""

    @pytest.mark.parametrize("what", GOOD)
    def test_right_file_is_accepted(self, tmp_path, what):
        for content in GOOD[what]:
            (tmp_path / "file").write_bytes(content)
            public_files.FILE_GROUPS[what].check(tmp_path / "file")

    @pytest.mark.parametrize(
        ("what", "number"), [(what, number) for what, bad in BAD.items() for number in range(len(bad))]
    )
    def test_wrong_file_is_not_put_into_place(self, get, server, root, what, number):
        server.files[f"/{what}"] = BAD[what][number]
        assert refused(get("--what", what), server.url, "is not what it should be (")
        assert not list((root / PLACES[what]).parent.iterdir())

    def test_real_files_are_accepted(self, shared):
        public_files.check_annotations(shared / PLACES["annotations"])
        for path in shared.glob("annotations/*_mistakes.json"):
            public_files.check_mistakes(path)
        tables = list(shared.glob("published/stats-*/*.csv"))
        assert len(tables) == 8
        for path in tables:
            public_files.check_table(path)
        public_files.check_archive(shared / "archives" / "models-imagenet.tar.gz")
