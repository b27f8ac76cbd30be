"""Files that were left, changed, cut, made by a newer version or for other images; places that cannot be written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from imagenet_errors import files
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import ADVICE, InputError, NewerSchemaError, UnreadableFileError
from imagenet_errors.formats import sealed_parquet
from imagenet_errors.formats.predictions import check_predictions, read_top1
from imagenet_errors.formats.sealed_parquet import read_parquet, read_parquet_metadata, write_parquet
from imagenet_errors.paths import model_dir_id
from tests.conftest import ROOT, annotate, refused
from tests.helpers.tiny_clip import arrays

pytest_plugins = "tests.helpers.tiny_clip"
LITE = "efficientnet_lite--lite0"
PHOTOGRAPH = Path(find_spec("skimage").submodule_search_locations[0]) / "data" / "chelsea.png"
HOSTILE = ["..", ".", "", " ", "../x/..", "a\0b", "a\nb", "\ud800", "x" * 300, "ä" * 150, "a\\b", ".hidden", "\u202e"]


@pytest.fixture
def sample(call, tmp_path):
    """Collect the sample with lite0; its artefacts folder is `sample.folder`, its predictions `sample.predictions`."""

    def collect(*flags):
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--workers", 0, "--model", "lite0", *flags)
        return call("collect_predictions", *flags)

    collect.folder = tmp_path
    collect.predictions = tmp_path / "sample" / LITE / "preds.npz"
    collect.metadata = collect.predictions.with_name("metadata.json")
    return collect


def listed(folder) -> dict:
    """All that lies in a folder, with contents and times."""
    paths = sorted(folder.rglob("*"))
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths}


class TestWriting:
    def test_leftovers_of_killed_processes_pile_up(self, tmp_path):
        """Those of processes that live, of other hosts and of other files stay."""
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        host, path = os.uname().nodename, tmp_path / "a [1].txt"
        gone = tmp_path / f".{path.name}.{host}.{dead.pid}.tmp"
        stay = [
            tmp_path / f".{path.name}.{host}.{os.getppid()}.tmp",
            tmp_path / f".{path.name}.another-host.{dead.pid}.tmp",
            tmp_path / f".b.txt.{host}.{dead.pid}.tmp",
            tmp_path / f".{path.name}.{host}.x.tmp",
        ]
        for left in (gone, *stay):
            left.touch()
        files.write_text(path, "whole")
        assert sorted(tmp_path.iterdir()) == sorted([path, *stay])

    def test_a_name_that_no_process_has_stops_the_writer(self, tmp_path):
        path = tmp_path / "a.txt"
        left = tmp_path / f".a.txt.{os.uname().nodename}.{10**30}.tmp"
        left.touch()
        files.write_text(path, "whole")
        assert not left.exists()

    @pytest.mark.parametrize("number", sorted(ADVICE))
    def test_the_line_names_the_temporary_file_or_gives_no_advice(self, tmp_path, monkeypatch, number):
        def fail(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.os, "fsync", fail)
        with pytest.raises(OSError, match=r"a\.txt") as caught:
            files.write_text(tmp_path / "a.txt", "whole")
        assert caught.value.filename == str(tmp_path / "a.txt")
        assert caught.value.errno == number
        assert not list(tmp_path.iterdir())

    def test_an_error_of_another_file_is_told_of_this_one(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"), files.atomic_write(tmp_path / "a.txt"):
            (tmp_path / "nowhere").read_text()

    @pytest.mark.parametrize(
        ("place", "words"),
        [("folder", "Is a directory: move this folder away"), ("x" * 300, "File name too long: choose a shorter name")],
    )
    def test_a_target_that_cannot_be_is_a_traceback(self, analyse, small, place, words):
        (small / "results" / "folder" / "stats-imagenet" / "non_problematic_stats_all.csv").mkdir(parents=True)
        flags = ("--perform_error_analysis", "--collect_results", "--results_dir", small / "results" / place)
        assert refused(analyse(*flags), place, words)
        assert not list(small.rglob("*.tmp"))

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
    def test_a_disk_that_fails_is_a_traceback(self, analyse, small, monkeypatch, number):
        def fail(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.os, "fsync", fail)
        where = small / "imagenet" / "me--mine" / "errors_analysis.parquet"
        assert refused(analyse(), f"{where}: {os.strerror(number)}: {ADVICE[number]}")
        assert not list(small.rglob("*.tmp"))
        assert not where.exists()

    def test_the_new_name_is_lost_in_a_power_cut(self, tmp_path, monkeypatch):
        """After the rename the folder itself is synchronised."""
        calls, fsync, replace = [], os.fsync, os.replace
        kind = lambda descriptor: Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: E731
        monkeypatch.setattr(os, "fsync", lambda one: (calls.append(kind(one)), fsync(one)))
        monkeypatch.setattr(os, "replace", lambda one, other: (calls.append("rename"), replace(one, other)))
        files.write_text(tmp_path / "a.txt", "whole")
        assert [call if call == "rename" else call.name for call in calls][1:] == ["rename", tmp_path.name]


class TestReading:
    @pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
    def test_a_file_that_may_be_whole_is_taken_for_damaged(self, sample, monkeypatch, number):
        """Predictions that cannot be read for want of a permission, say, are not made again over the good ones."""
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
        assert not (sample.folder / "sample" / "failures.csv").read_text().count(LITE)

    def test_a_folder_in_the_place_of_a_file(self, tmp_path):
        for reader in (files.read_text, files.read_json, files.read_npz):
            with pytest.raises(UnreadableFileError, match="move this folder away"):
                reader(tmp_path)

    def test_a_changed_value_of_the_analysis_is_read(self, analyse, small):
        """Every byte of the pages with values, in turn."""
        assert analyse().status == 0
        path = small / "imagenet" / "me--mine" / "errors_analysis.parquet"
        whole, values = path.read_bytes(), read_parquet(path, ["top1", "error_type"])
        group = pq.read_metadata(path).row_group(0)
        columns = [group.column(number).to_dict() for number in range(group.num_columns)]
        (place,) = [column for column in columns if column["path_in_schema"] == "top1"]
        first = place["dictionary_page_offset"] or place["data_page_offset"]
        noticed = 0
        for position in range(first, first + place["total_compressed_size"]):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            try:
                read = read_parquet(path, ["top1", "error_type"])
            except InputError:
                noticed += 1
            else:
                assert read.equals(values)
        assert noticed > 20


class TestPredictions:
    def test_a_changed_byte_is_read_as_another_prediction(self, sample):
        """Every byte in turn, headers of the archive included: it is noticed, or changes nothing that is read."""
        sample("--limit", 2)
        stored = arrays(sample.folder / "sample" / "samples_info.npz")
        samples = Samples(stored["sample_files"], stored["targets"].astype(np.int16))
        whole, before = sample.predictions.read_bytes(), arrays(sample.predictions)
        noticed = 0
        for position in range(len(whole)):
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
        assert noticed > len(whole)

    def test_another_accuracy_stands_beside_the_predictions(self, sample):
        sample()
        whole = json.loads(sample.metadata.read_text())
        for digit in (4, 7):
            changed = float(str(whole["top1_val_acc"]).replace("5", str(digit), 1))
            sample.metadata.write_text(json.dumps(whole | {"top1_val_acc": changed}))
            assert f"predicted again, for {sample.metadata} has top1_val_acc {changed}" in sample().stderr
        sample.metadata.write_text(json.dumps(whole | {"top1_val_acc": round(whole["top1_val_acc"], 3)}))
        assert "kept" in sample().stderr

    def test_predictions_of_other_images_pass_for_these(self, sample, call):
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

    def test_the_same_images_have_another_fingerprint(self):
        """However the names are stored."""
        targets = np.zeros(2, np.int16)
        names = Samples(np.array(["a/b", "c/d"]), targets), Samples(np.array(["a/b", "c/d"], dtype="<U99"), targets)
        assert len({samples.fingerprint for samples in names}) == 1
        others = Samples(np.array(["a/b", "c/e"]), targets), Samples(names[0].files, targets + np.int16(1))
        assert len({samples.fingerprint for samples in (names[0], *others)}) == 3

    def test_official_predictions_are_refused(self, small, call, analyse):
        """They say neither schema nor images."""
        assert set(arrays(small / "imagenet" / "me--mine" / "preds.npz")) == {"top1"}
        assert analyse().status == 0

    def test_predictions_of_a_newer_version_are_overwritten(self, sample, call):
        sample()
        np.savez(sample.predictions, **arrays(sample.predictions) | {"schema_version": 2})
        before = listed(sample.predictions.parent)
        done = sample("--amp")
        assert done.status == 1
        assert f"{sample.predictions} has schema 2, newer than 1: update this repository" in done.stderr
        assert listed(sample.predictions.parent) == before
        folders = ("--artefacts_dir", sample.folder, "--results_dir", sample.folder)
        done = call("evaluation", "--dataset", "sample", "--perform_error_analysis", "--collect_results", *folders)
        assert refused(done, "update this repository")

    @pytest.mark.parametrize("version", [0, -1, 1.5, "1", [1, 2]])
    def test_a_version_that_is_none_is_read(self, sample, version):
        sample()
        np.savez(sample.predictions, **arrays(sample.predictions) | {"schema_version": version})
        assert "predicted again" in sample().stderr


class TestFolders:
    def test_a_run_with_nothing_to_do_writes(self, sample):
        """So that finished artefacts can lie in a folder that cannot be written."""
        sample()
        shutil.rmtree(sample.folder / ".locks")
        before = listed(sample.folder)
        assert sample().status == 0
        assert listed(sample.folder) == before

    def test_a_place_without_locks_is_a_traceback(self, sample):
        (sample.folder / ".locks").write_text("a file where the folder should be")
        assert refused(sample(), sample.folder / ".locks")
        assert not list(sample.folder.rglob("preds.npz"))

    @pytest.mark.parametrize("name", ["a \"b\" 'c'", "zwei\nZeilen", "模型 ä", "$(x);*?[1]"])
    def test_an_odd_name_is_another_folder(self, call, tmp_path, monkeypatch, name):
        """Of the artefacts, the images and one image; told in one line, found again, and analysed."""
        folder, images, image = tmp_path / name, tmp_path / f"{name} images", f"n02123045/ILSVRC2012_val_{name}.png"
        (images / "val" / "n02123045").mkdir(parents=True)
        (folder / "annotations").mkdir(parents=True)
        shutil.copyfile(PHOTOGRAPH, images / "val" / image)
        annotate(folder, {image: {"correct": ["n02123045"]}})
        monkeypatch.setenv("IMAGENET_DIR", str(images))
        flags = ("--artefacts_dir", folder, "--model", "lite0", "--workers", 0)
        for kept in (0, 1):
            done = call("collect_predictions", *flags)
            assert done.status == 0, done.stderr
            assert done.stderr.count("kept") == kept
            assert len(done.stderr.splitlines()) == 1 + kept
        assert arrays(folder / "imagenet" / "samples_info.npz")["sample_files"].tolist() == [image]
        steps = ("--perform_error_analysis", "--collect_results", "--list_most_common_errors")
        done = call("evaluation", *steps, "--artefacts_dir", folder, "--results_dir", folder)
        assert done.status == 0, done.stderr
        assert "1 of 50,000 images" in done.stdout

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_model_is_kept_outside_its_folder(self, name):
        with pytest.raises(InputError, match="is no name of a folder"):
            model_dir_id(name)

    def test_a_hostile_table_of_models_writes_elsewhere(self, sample):
        table = (ROOT / "artefacts" / "models_beyond.csv").read_text().splitlines()
        row = next(line for line in table if line.startswith("efficientnet_lite/lite0"))
        (sample.folder / "models_beyond.csv").write_text(
            "\n".join([table[0], row.replace("efficientnet_lite/lite0", ".."), ""])
        )
        assert refused(sample("--modules", "all"), "'..' is no name of a folder")


class TestEmbeddings:
    @pytest.mark.parametrize("which", ["train", "images", "neighbours"])
    def test_embeddings_of_a_newer_version_are_overwritten(self, embed, which):
        embed()
        path = getattr(embed, which)
        assert arrays(path)["schema_version"] == 1
        np.savez(path, **arrays(path) | {"schema_version": 2})
        before = listed(embed.folder)
        assert refused(embed(), path, "has schema 2, newer than 1: update this repository")
        assert listed(embed.folder) == before

    def test_a_part_of_a_newer_version_is_overwritten(self, embed, embedded):
        embedded.stop_at = 2
        embed("--block", 8, what=["train"])
        part = embed.train.with_suffix(".parts") / "00000000.npz"
        np.savez(part, **arrays(part) | {"schema_version": 2})
        assert refused(embed("--block", 8, what=["train"]), part, "update this repository")
        assert arrays(part)["schema_version"] == 2


def test_a_newer_analysis_is_overwritten(analyse, small):
    analyse()
    path = small / "imagenet" / "me--mine" / "errors_analysis.parquet"
    table = pq.read_table(path)
    write_parquet(path, table, read_parquet_metadata(path) | {"schema_version": sealed_parquet.SCHEMA_VERSION + 1})
    before = path.read_bytes()
    assert refused(analyse(), path, "update this repository")
    assert path.read_bytes() == before
    with pytest.raises(NewerSchemaError):
        read_parquet_metadata(path)
