"""Leftovers, changed files, files of newer versions or of other images, and places that cannot be written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from imagenet_errors import files
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import ADVICE, InputError, NewerSchemaError, UnreadableFileError
from imagenet_errors.formats import error_analyses, sealed_parquet
from imagenet_errors.formats.predictions import check_predictions, read_top1
from imagenet_errors.paths import model_dir_id
from tests.conftest import ROOT, refused
from tests.helpers.one_of_each import OWN_MODEL
from tests.helpers.tiny_clip import arrays

pytest_plugins = "tests.helpers.tiny_clip"
MODEL = "own--own.build"
HOSTILE = ["..", ".", "", " ", "../x/..", "a\0b", "a\nb", "\ud800", "x" * 300, "ä" * 150, "a\\b", ".hidden", "\u202e"]


@pytest.fixture
def sample(call, tmp_path):
    """Collect the sample with a small model, to `sample.folder`; its predictions are `sample.predictions`."""
    (tmp_path / "own.py").write_text(OWN_MODEL)

    def collect(*flags, model=("--model", f"{tmp_path / 'own.py'}:build")):
        flags = ("--artefacts_dir", collect.folder, "--workers", 0, "--device", "cpu", *model, *flags)
        return call("collect_predictions", "--dataset", "sample", *flags)

    collect.folder = tmp_path / "artefacts"
    collect.predictions = collect.folder / "sample" / MODEL / "preds.npz"
    collect.metadata = collect.predictions.with_name("metadata.json")
    return collect


def listed(folder) -> dict:
    """All files of a folder, with contents and times."""
    paths = sorted(folder.rglob("*"))
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths}


class TestWriting:
    def test_leftovers_of_killed_processes_are_removed(self, tmp_path):
        """Those of running processes, of other hosts and of other files stay."""
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        host, path = os.uname().nodename, tmp_path / "a [1].txt"
        gone = [tmp_path / f".{path.name}.{host}.{pid}.tmp" for pid in (dead.pid, 10**30)]
        stay = [
            tmp_path / f".{path.name}.{host}.{os.getppid()}.tmp",
            tmp_path / f".{path.name}.another-host.{dead.pid}.tmp",
            tmp_path / f".b.txt.{host}.{dead.pid}.tmp",
            tmp_path / f".{path.name}.{host}.x.tmp",
        ]
        for left in (*gone, *stay):
            left.touch()
        files.write_text(path, "whole")
        assert sorted(tmp_path.iterdir()) == sorted([path, *stay])

    @pytest.mark.parametrize("number", sorted(ADVICE))
    def test_error_names_the_target_not_the_temporary_file(self, tmp_path, monkeypatch, number):
        def fail(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.os, "fsync", fail)
        with pytest.raises(OSError, match=r"a\.txt") as caught:
            files.write_text(tmp_path / "a.txt", "whole")
        assert caught.value.filename == str(tmp_path / "a.txt")
        assert caught.value.errno == number
        assert not list(tmp_path.iterdir())

    def test_pipe_is_written_to_and_not_replaced(self, tmp_path, monkeypatch):
        """Nor is a device: `--output /dev/null` of root must leave it as it is."""
        monkeypatch.setattr(files.os, "replace", lambda *_: pytest.fail("it would be replaced"))
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as reader:
            files.write_text(pipe, "whole")
            assert reader.read() == "whole"
        files.write_text(Path("/dev/null"), "nothing")

    def test_error_of_another_file_names_that_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"), files.atomic_write(tmp_path / "a.txt"):
            (tmp_path / "nowhere").read_text()

    @pytest.mark.parametrize(
        ("place", "words"),
        [("folder", "Is a directory: move this folder away"), ("x" * 300, "File name too long: choose a shorter name")],
    )
    def test_impossible_target_is_refused(self, analyse, small, place, words):
        (small / "results" / "folder" / "stats-imagenet" / "non_problematic_stats_all.csv").mkdir(parents=True)
        flags = ("--perform_error_analysis", "--collect_results", "--results_dir", small / "results" / place)
        assert refused(analyse(*flags), place, words)
        assert not list(small.rglob("*.tmp"))

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
    def test_failing_disk_is_told_in_one_line(self, analyse, small, monkeypatch, number):
        def fail(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.os, "fsync", fail)
        assert refused(
            analyse(), f"{small / 'imagenet' / 'images-'}", f".parquet: {os.strerror(number)}: {ADVICE[number]}"
        )
        assert not list(small.rglob("*.tmp"))
        assert not list(small.rglob("*.parquet"))

    def test_folder_is_synchronised_after_the_rename(self, tmp_path, monkeypatch):
        calls, replace = [], os.replace
        monkeypatch.setattr(os, "fsync", lambda one: calls.append(Path(os.readlink(f"/proc/self/fd/{one}")).name))
        monkeypatch.setattr(os, "replace", lambda one, other: (calls.append("rename"), replace(one, other)))
        files.write_text(tmp_path / "a.txt", "whole")
        assert calls[1:] == ["rename", tmp_path.name]


class TestReading:
    @pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
    def test_unreadable_predictions_are_not_overwritten(self, sample, monkeypatch, number):
        """They may be valid, e.g. where only a permission is missing."""
        sample()
        before = listed(sample.predictions.parent)

        load = np.load

        def fail(path, **_):
            raise OSError(number, os.strerror(number), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(
                np, "load", lambda path, **how: fail(path) if path == sample.predictions else load(path, **how)
            )
            done = sample()
        assert done.status == 1
        assert f"not predicted, {sample.predictions}: {os.strerror(number)}: {ADVICE[number]}" in done.stderr
        assert listed(sample.predictions.parent) == before
        assert sample().status == 0
        assert not (sample.folder / "sample" / "failures.csv").read_text().count(MODEL)

    def test_folder_in_the_place_of_a_file_is_named(self, tmp_path):
        for reader in (files.read_text, files.read_json, files.read_npz):
            with pytest.raises(UnreadableFileError, match="move this folder away"):
                reader(tmp_path)

    def test_changed_byte_hides_no_array(self, tmp_path):
        """Of the archive's directory, too: what is optional is not taken for absent."""
        path, read = tmp_path / "a.npz", []
        files.write_npz(path, top1=np.arange(3), clip=np.array("ViT"), schema_version=1)
        whole = path.read_bytes()
        for position in range(len(whole)):
            for bit in (64, 128):
                path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
                with suppress(InputError):
                    read.append(files.read_npz(path, "top1", optional=("clip", "schema_version")))
        assert len(read) > 100
        for arrays_read in read:
            assert {name: array.tolist() for name, array in arrays_read.items()} == {
                "top1": [0, 1, 2],
                "clip": "ViT",
                "schema_version": 1,
            }

    def test_changed_values_of_an_analysis_are_noticed(self, analyse, small):
        """Every byte of the pages with values, in turn."""
        assert analyse("--perform_error_analysis").status == 0
        path = small / "imagenet" / "me--mine" / "errors_analysis.parquet"
        whole, values = path.read_bytes(), error_analyses.read(path, "me--mine")
        group = pq.read_metadata(path).row_group(0)
        columns = [group.column(number).to_dict() for number in range(group.num_columns)]
        (place,) = [column for column in columns if column["path_in_schema"] == "top1"]
        first = place["dictionary_page_offset"] or place["data_page_offset"]
        noticed = 0
        for position in range(first, first + place["total_compressed_size"]):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            try:
                read = error_analyses.read(path, "me--mine")
            except InputError:
                noticed += 1
            else:
                np.testing.assert_array_equal(read.top1, values.top1)
                np.testing.assert_array_equal(read.error_types, values.error_types)
        assert noticed > 20


class TestPredictions:
    @pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.heavy)])
    def test_changed_bytes_of_predictions_are_noticed(self, sample, step):
        """Bytes in turn, headers of the archive included: each is noticed, or changes nothing that is read."""
        sample("--limit", 2)
        stored = arrays(sample.folder / "sample" / "samples_info.npz")
        samples = Samples(stored["sample_files"], stored["targets"].astype(np.int16))
        whole, before = sample.predictions.read_bytes(), arrays(sample.predictions)
        noticed, positions = 0, range(0, len(whole), step)
        for position in positions:
            for bit in (1, 128):
                changed = whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :]
                sample.predictions.write_bytes(changed)
                try:
                    check_predictions(sample.predictions, samples, probs=False)
                except InputError:
                    noticed += 1
                else:
                    for name, array in arrays(sample.predictions).items():
                        np.testing.assert_array_equal(array, before[name])
        assert noticed > len(positions)

    def test_another_accuracy_beside_the_predictions_is_noticed(self, sample):
        sample()
        whole = json.loads(sample.metadata.read_text())
        for changed in (42.5, 12.5):
            sample.metadata.write_text(json.dumps(whole | {"top1_val_acc": changed}))
            assert f"predicted again because {sample.metadata} has top1_val_acc {changed}" in sample().stderr
        sample.metadata.write_text(json.dumps(whole | {"top1_val_acc": round(whole["top1_val_acc"], 3)}))
        assert "kept" in sample().stderr

    def test_predictions_of_other_images_are_refused(self, sample, call):
        """The same number of images; only their fingerprint tells them apart."""
        assert sample("--limit", 2).status == 0
        path = sample.folder / "sample" / "samples_info.npz"
        stored = arrays(path)
        np.savez(path, sample_files=np.char.add(stored["sample_files"], "x"), targets=stored["targets"])
        folders = ("--artefacts_dir", sample.folder, "--results_dir", sample.folder)
        done = call("evaluation", "--dataset", "sample", "--perform_error_analysis", "--collect_results", *folders)
        assert done.status == 2
        np.savez(path, sample_files=stored["sample_files"][::-1], targets=stored["targets"][::-1])
        samples = Samples(stored["sample_files"][::-1], stored["targets"][::-1].astype(np.int16))
        with pytest.raises(InputError, match="they are of other images than samples_info"):
            read_top1(sample.predictions, samples)

    def test_fingerprint_is_of_the_images_not_of_their_storage(self):
        targets = np.zeros(2, np.int16)
        names = Samples(np.array(["a/b", "c/d"]), targets), Samples(np.array(["a/b", "c/d"], dtype="<U99"), targets)
        assert len({samples.fingerprint for samples in names}) == 1
        others = Samples(np.array(["a/b", "c/e"]), targets), Samples(names[0].files, targets + np.int16(1))
        assert len({samples.fingerprint for samples in (names[0], *others)}) == 3

    def test_predictions_without_schema_and_images_are_read(self, small, analyse):
        """The paper's are of that form."""
        assert set(arrays(small / "imagenet" / "me--mine" / "preds.npz")) == {"top1"}
        assert analyse().status == 0

    def test_predictions_of_a_newer_version_are_kept(self, sample, call):
        sample()
        np.savez(sample.predictions, **arrays(sample.predictions) | {"schema_version": 3})
        before = listed(sample.predictions.parent)
        done = sample("--amp")
        assert done.status == 1
        assert f"{sample.predictions} has schema 3, newer than 2: update this repository" in done.stderr
        assert listed(sample.predictions.parent) == before
        folders = ("--artefacts_dir", sample.folder, "--results_dir", sample.folder)
        done = call("evaluation", "--dataset", "sample", "--perform_error_analysis", "--collect_results", *folders)
        assert refused(done, "update this repository")

    def test_predictions_of_an_impossible_version_are_recomputed(self, sample):
        sample()
        for version in (0, -1, 1.5, "1", [1, 2]):
            np.savez(sample.predictions, **arrays(sample.predictions) | {"schema_version": version})
            assert "predicted again" in sample().stderr


class TestFolders:
    def test_run_with_nothing_to_do_writes_nothing(self, sample):
        """So that finished artefacts can be in a read-only folder."""
        sample()
        shutil.rmtree(sample.folder / ".locks")
        before = listed(sample.folder)
        assert sample().status == 0
        assert listed(sample.folder) == before

    def test_folder_without_locks_is_refused(self, sample):
        sample.folder.mkdir()
        (sample.folder / ".locks").write_text("a file where the folder should be")
        assert refused(sample(), sample.folder / ".locks")
        assert not list(sample.folder.rglob("preds.npz"))

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_model_name_is_refused(self, name):
        with pytest.raises(InputError, match="cannot be the name of a folder"):
            model_dir_id(name)

    def test_table_of_models_with_a_hostile_name_is_refused(self, sample):
        header, *rows = (ROOT / "artefacts" / "models_beyond.csv").read_text().splitlines()
        row = next(row for row in rows if row.startswith("efficientnet_lite/lite0"))
        sample.folder.mkdir()
        table = f"{header}\n{row.replace('efficientnet_lite/lite0', '..')}\n"
        (sample.folder / "models_beyond.csv").write_text(table)
        assert refused(sample("--modules", "all", model=("--model", "lite0")), "'..' cannot be the name of a folder")


class TestEmbeddings:
    @pytest.mark.parametrize("which", ["train", "images", "neighbours"])
    def test_embeddings_of_a_newer_version_are_kept(self, embed, which):
        embed()
        path = getattr(embed, which)
        assert arrays(path)["schema_version"] == 1
        np.savez(path, **arrays(path) | {"schema_version": 2})
        before = listed(embed.folder)
        assert refused(embed(), path, "has schema 2, newer than 1: update this repository")
        assert listed(embed.folder) == before

    def test_embedded_part_of_a_newer_version_is_kept(self, embed, embedded):
        embedded.stop_at = 2
        embed("--block", 8, what=["train"])
        part = embed.train.with_suffix(".parts") / "00000000.npz"
        np.savez(part, **arrays(part) | {"schema_version": 2})
        assert refused(embed("--block", 8, what=["train"]), part, "update this repository")
        assert arrays(part)["schema_version"] == 2


def test_analysis_of_a_newer_version_is_kept(analyse, small):
    assert analyse("--perform_error_analysis").status == 0
    path = small / "imagenet" / "me--mine" / "errors_analysis.parquet"
    table = pq.read_table(path)
    sealed_parquet.write(path, table, {"schema_version": error_analyses.SCHEMA_VERSION + 1})
    before = path.read_bytes()
    assert refused(analyse(), path, "update this repository")
    assert path.read_bytes() == before
    with pytest.raises(NewerSchemaError):
        error_analyses.read(path, "me--mine")
