"""What users get wrong: one line that names what, where and what to do, and exit status 2."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_npz
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.paths import Artefacts
from tests.conftest import FILES, annotate, left_out, refused
from tests.helpers.kinds_of_files import KINDS
from tests.helpers.one_of_each import OWN_MODEL


def test_valid_input_is_analysed(analyse):
    done = analyse()
    assert done.status == 0, done.stderr
    assert "2 of 50,000 images" in done.stdout


def preds(folder):
    return folder / "imagenet" / "me--mine" / "preds.npz"


def analysed_models(folder) -> list[str]:
    table = (folder / "results" / "stats-imagenet" / "non_problematic_stats_all.csv").read_text()
    return [line.split(",")[0] for line in table.splitlines()[1:]]


class TestPredictions:
    @pytest.mark.parametrize("metadata", [{}, {"top1_val_acc": 50.0}])
    def test_predictions_of_other_images_are_refused(self, analyse, small, metadata):
        preds(small).with_name("metadata.json").write_text(json.dumps(metadata))
        np.savez(preds(small), top1=np.array([0, 5, 7]))
        assert refused(analyse(), preds(small), "2 images", "predict or import again")

    def test_missing_predictions_are_named(self, analyse, small):
        preds(small).unlink()
        assert refused(analyse(), preds(small), "is missing")

    @pytest.mark.parametrize("wrong", [[0, 1000], [-1, 0], [0.5, 1.0]])
    def test_class_ids_out_of_range_are_refused(self, analyse, small, wrong):
        np.savez(preds(small), top1=np.array(wrong))
        assert refused(analyse(), "not a class id from 0 to 999")

    def test_archive_without_top1_is_refused(self, analyse, small):
        np.savez(preds(small), top5=np.zeros((2, 5), int))
        assert refused(analyse(), preds(small), "lacks the array 'top1'")

    @pytest.mark.parametrize("damage", ["truncated", "bare array"])
    def test_file_that_is_not_an_archive_is_refused(self, analyse, small, damage):
        if damage == "truncated":
            preds(small).write_bytes(preds(small).read_bytes()[:-30])
        else:
            with open(preds(small), "wb") as file:
                np.save(file, np.zeros(2, int))
        assert refused(analyse(), preds(small), "is not a readable npz archive")

    def test_damaged_compression_is_an_input_error(self, tmp_path):
        path, found = tmp_path / "preds.npz", set()
        np.savez_compressed(path, top1=np.arange(2), filler=np.arange(9999))
        whole = path.read_bytes()
        for position in range(0, 300, 7):
            path.write_bytes(whole[:position] + b"\xff\xfe\xfd" + whole[position + 3 :])
            try:
                found.add(tuple(read_npz(path, "top1", "filler")["top1"]))
            except InputError:
                found.add("refused")
        assert found == {"refused", (0, 1)}

    @pytest.mark.parametrize(
        ("files", "targets", "words"),
        [
            (FILES, [1, 0], ["the target 1", FILES[0], "2 such images"]),
            ([FILES[0], FILES[0]], [0, 0], ["lists a file twice"]),
            ([file.split("/")[1] for file in FILES], [0, 1], ["is not <WordNet id>/<file name>"]),
        ],
        ids=["other numbers than the folders", "a file twice", "no class folders"],
    )
    def test_wrong_list_of_images_is_refused(self, analyse, small, files, targets, words):
        path = small / "imagenet" / "samples_info.npz"
        np.savez(path, sample_files=files, targets=targets)
        assert refused(analyse(), path, *words)

    def test_folder_without_predictions_names_the_script_that_makes_them(self, call, tmp_path):
        outcome = call("evaluation", "--artefacts_dir", tmp_path, "--collect_results")
        words = ("import_predictions.py or collect_predictions.py", "download_artefacts.py --what archive")
        assert refused(outcome, f"{tmp_path / 'imagenet'} has no predictions and no archived analyses", *words)


class TestModels:
    """One model with bad files is left out by name; the others have their tables; the status is 1."""

    @pytest.fixture
    def mine(self, small):
        shutil.copytree(small / "imagenet" / "me--mine", small / "imagenet" / "me--good")
        return small / "imagenet" / "me--mine"

    def test_model_with_bad_predictions_is_left_out(self, analyse, small, mine):
        np.savez(mine / "preds.npz", top1=np.array([0]))
        outcome = analyse()
        assert left_out(outcome, "1 of 2 models")
        assert "1 not analysed" in outcome.stderr
        assert "skipped me--mine" in outcome.stderr
        assert analysed_models(small) == ["me--good"]

    def test_model_with_bad_metadata_is_left_out(self, analyse, small, mine):
        (mine / "metadata.json").write_text('{"num_params": "many"}')
        assert left_out(analyse(), "1 of 2 models", mine / "metadata.json")
        assert analysed_models(small) == ["me--good"]

    @pytest.mark.parametrize(
        "metadata",
        [
            '{"num_params": -1}',
            '{"num_params": 1' + 400 * "0" + "}",
            '{"top1_val_acc": NaN}',
            '{"preds_comp_time": [1]}',
            '{"arch": ["resnet"]}',
            '{"arch": "\\ud800"}',
            '{"extra_annotations": "CLIP"}',
            '{"extra_annotations": {"CLIP": 1}}',
            "[]",
            "{",
        ],
    )
    def test_bad_metadata_are_an_input_error(self, tmp_path, metadata):
        path = tmp_path / "metadata.json"
        path.write_text(metadata)
        with pytest.raises(InputError, match=r"metadata\.json"):
            read_metadata(path)


class TestAnnotations:
    @pytest.fixture
    def path(self, small):
        return small / "annotations" / "human_accuracy_v3.0.0.json"

    @pytest.mark.parametrize("content", ["{", "[]", '{"initial_annots": []}', "\xff"])
    def test_malformed_annotations_are_refused(self, analyse, path, content):
        path.write_bytes(content.encode("latin-1"))
        assert refused(analyse(), path)

    @pytest.mark.parametrize("entry", ["1", '{"correct": {"n01440764": 1}}', '{"correct": ["n0"]}'])
    def test_malformed_entry_is_refused(self, analyse, path, entry):
        name = FILES[0].split("/")[1]
        path.write_text('{"initial_annots": {"' + name + '": ' + entry + '}, "problematic_images": {}}')
        assert refused(analyse(), path, name, "label")

    def test_duplicate_file_is_refused(self, analyse, path):
        path.write_text('{"initial_annots": {"ILSVRC2012_val_00000293.JPEG": {}, "ILSVRC2012_val_00000293.JPEG": {}}}')
        assert refused(analyse(), path, "'ILSVRC2012_val_00000293.JPEG' occurs twice")

    def test_annotations_without_problematic_images_are_refused(self, analyse, path):
        content = json.loads(path.read_text())
        del content["problematic_images"]
        path.write_text(json.dumps(content))
        assert refused(analyse(), path, "problematic_images")

    @pytest.mark.parametrize(
        ("annotations", "problematic", "words"),
        [
            ({FILES[0]: {"correct": ["n01443537"]}}, [], [FILES[0], "original label"]),
            ({}, [], ["none of the 2 images is annotated"]),
            ({FILES[0]: {}}, [FILES[0]], ["all 1 annotated images are problematic", "nothing to count"]),
        ],
        ids=["original label not accepted", "no image annotated", "all images problematic"],
    )
    def test_annotations_without_countable_images_are_refused(self, analyse, small, annotations, problematic, words):
        annotate(small, annotations, [file.split("/")[1] for file in problematic])
        assert refused(analyse(), *words)


class TestKnowledge:
    """Files that the user puts in the place of the committed ones."""

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("superclasses", '{"a": [[]]}'),
            ("superclasses", '{"a": [["dog"]]}\n{"a": [["cat"]]}'),
            ("superclasses", '{"a": ["dog"]}'),
            ("superclasses", "{}"),
            ("superclasses", '{"n01440764": [["fish"]]}'),
            ("superclasses", "[1]"),
            ("superclasses", "{"),
            ("classes", '{"n01440764": 0}'),
            ("descriptions", '{"0": "tench"}'),
            ("co-occurrences", "class_a,class_b,count\n5,1000,2\n"),
            ("co-occurrences", "class_a,class_b,count\n5,many,2\n"),
            ("co-occurrences", "a,b\n"),
            ("hierarchy", "offset\tlemmas\thypernyms\tinstance_hypernyms\thyponyms\n1\ta\t2\t\t\n"),
        ],
    )
    def test_damaged_file_is_an_input_error(self, tmp_path, name, content):
        path = tmp_path / KINDS[name].path
        path.write_text(content)
        with pytest.raises(InputError, match=path.name):
            KINDS[name].read(Artefacts(tmp_path), path)

    def test_damaged_file_ends_the_run(self, analyse, small):
        (small / "superclasses.json").write_text("{")
        assert refused(analyse(), small / "superclasses.json")


class TestFlags:
    @pytest.mark.parametrize(
        ("script", "flags", "words"),
        [
            ("evaluation", ["--dataset", "imagenett"], ["unknown dataset 'imagenett', did you mean 'imagenet'?"]),
            ("evaluation", [], ["nothing to do", "--perform_error_analysis"]),
            ("evaluation", ["--list_most_common_errors", "--error_type", "fine"], ["unknown error type 'fine'"]),
            ("evaluation", ["--collect_results", "--error_type", "fg"], ["goes with --list_most_common_errors"]),
            ("evaluation", ["--collect_results", "--print"], ["--print goes with --list_most_common_errors"]),
            ("evaluation", ["--collect_results", "--sort", "top"], ["unknown sort key 'top', did you mean 'top1'?"]),
            ("evaluation", ["--collect_results", "--top", "0"], ["0 is not 1 or more"]),
            ("evaluation", ["--explain", "a.JPEG"], ["--model"]),
            ("evaluation", ["--open_world", "always"], ["always"]),
            ("evaluation", ["--dataset", "sample", "--collect_results", "--multi_label_source", "tfds"], ["imagenet"]),
            ("collect_predictions", ["--get_computation_time"], ["has no predictions"]),
            ("collect_predictions", ["--dataset", "sample", "--device", "meta"], ["--device meta", "try cpu"]),
            ("collect_predictions", ["--modules", "efficientnetlite"], ["did you mean 'efficientnet_lite'?"]),
            (
                "collect_predictions",
                ["--model", "lite7"],
                ["unknown model 'lite7', did you mean 'lite"],
            ),
            ("collect_predictions", ["--batch_size", "0"], ["0 is not 1 or more"]),
            ("collect_predictions", ["--workers", "-1"], ["-1 is negative"]),
            ("collect_predictions", ["--batch_size", "many"], ["many"]),
            ("collect_predictions", ["--dataset", "sample", "--device", "cuda:7"], ["--device cuda:7", "try cpu"]),
        ],
    )
    def test_wrong_flags_are_refused(self, call, tmp_path, script, flags, words):
        assert refused(call(script, "--artefacts_dir", tmp_path, *flags), *words)

    def test_hyphens_stand_for_underscores(self, call, small):
        flags = ("--perform-error-analysis", "--open-world=skip", f"--results-dir={small / 'r'}")
        assert call("evaluation", "--artefacts-dir", small, *flags).status == 0


class TestImages:
    @pytest.fixture
    def val(self, tmp_path, monkeypatch):
        monkeypatch.setenv("IMAGENET_DIR", str(tmp_path))
        (tmp_path / "val" / "n01440764").mkdir(parents=True)
        (tmp_path / "own.py").write_text(OWN_MODEL)
        return tmp_path / "val"

    @pytest.fixture
    def collect(self, call, val):
        model = ("--model", f"{val.parent / 'own.py'}:build", "--workers", 0)
        return lambda: call("collect_predictions", "--artefacts_dir", val.parent / "a", *model)

    def test_unset_variable_is_named(self, collect, monkeypatch):
        monkeypatch.delenv("IMAGENET_DIR")
        assert refused(collect(), "$IMAGENET_DIR is not set")

    def test_missing_folder_is_named(self, collect, monkeypatch):
        monkeypatch.setenv("IMAGENET_DIR", "/nowhere")
        assert refused(collect(), "/nowhere is not there")

    def test_empty_folder_is_refused(self, collect, val):
        assert refused(collect(), val, "has no images")

    def test_folder_that_is_not_a_class_is_refused(self, collect, val):
        (val / "cats").mkdir()
        assert refused(collect(), val / "cats", "not an ImageNet class")

    def test_file_that_is_not_an_image_is_refused(self, collect, val):
        (val / "n01440764" / "notes.txt").touch()
        assert refused(collect(), "notes.txt")

    def test_unreadable_image_keeps_what_is_written(self, collect, val):
        Image.new("RGB", (40, 40)).save(val / "n01440764" / "a.png")
        (val / "n01440764" / "b.png").write_bytes(b"no image")
        assert refused(collect(), val / "n01440764" / "b.png", "cannot be read")
        assert (val.parent / "a" / "imagenet" / "samples_info.npz").exists()
        assert not list((val.parent / "a").rglob("*.tmp"))


class TestExplain:
    def test_unknown_file_and_model_are_named(self, analyse):
        assert refused(analyse("--explain", "x.JPEG", "--model", "me/mine"), "x.JPEG", "not among the 2 images")
        assert refused(analyse("--explain", FILES[0], "--model", "me/min"), "did you mean 'me--mine'?")

    def test_image_without_annotation_is_refused(self, analyse, small):
        annotate(small, {FILES[0]: {"correct": ["n01440764"]}})
        assert refused(analyse("--explain", FILES[1], "--model", "me/mine"), "not annotated")


def test_results_folder_that_is_a_file_is_refused(analyse, small):
    (small / "results").write_text("a file where the folder should be")
    assert refused(analyse(), "results")
