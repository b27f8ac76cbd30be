"""What users get wrong: one line that names what, where and what to do, and exit status 2."""

import json
import shutil

import numpy as np
import pytest

from tests.conftest import FILES, annotate, refused


def test_sound_input_is_refused(analyse):
    done = analyse()
    assert done.status == 0, done.stderr
    assert "2 of 50,000 images" in done.stdout


class TestPredictions:
    @pytest.mark.parametrize("metadata", [{}, {"top1_val_acc": 50.0}])
    def test_of_other_images(self, analyse, small, metadata):
        path = small / "imagenet" / "me--mine" / "preds.npz"
        path.with_name("metadata.json").write_text(json.dumps(metadata))
        np.savez(path, top1=np.array([0, 5, 7]))
        assert refused(analyse(), path, "2 images", "predict again")
        path.unlink()
        assert refused(analyse(), path, "is missing")

    def test_out_of_range(self, analyse, small):
        for wrong in ([0, 1000], [-1, 0], [0.5, 1.0]):
            np.savez(small / "imagenet" / "me--mine" / "preds.npz", top1=np.array(wrong))
            assert refused(analyse(), "not a class id from 0 to 999")

    def test_damaged_or_without_top1(self, analyse, small):
        path = small / "imagenet" / "me--mine" / "preds.npz"
        path.write_bytes(path.read_bytes()[:-30])
        assert refused(analyse(), path, "is no readable npz archive")
        np.savez(path, top5=np.zeros((2, 5), int))
        assert refused(analyse(), path, "lacks the array 'top1'")

    def test_one_bad_model_stops_the_others(self, analyse, small):
        good = small / "imagenet" / "me--good"
        shutil.copytree(small / "imagenet" / "me--mine", good)
        np.savez(small / "imagenet" / "me--mine" / "preds.npz", top1=np.array([0]))
        outcome = analyse()
        assert refused(outcome, "1 of 2 models")
        assert "1 not analysed" in outcome.stderr
        assert "skipped me--mine" in outcome.stderr
        table = (small / "results" / "stats-imagenet" / "non_problematic_stats_all.csv").read_text()
        assert [line.split(",")[0] for line in table.splitlines()] == ["model_dir_id", "me--good"]

    def test_bare_array_and_damaged_compression(self, analyse, small):
        path = small / "imagenet" / "me--mine" / "preds.npz"
        with open(path, "wb") as file:
            np.save(file, np.zeros(2, int))
        assert refused(analyse(), path, "is no readable npz archive")
        np.savez_compressed(path, top1=np.arange(2), filler=np.arange(9999))
        whole = path.read_bytes()
        for position in range(0, 300, 7):
            path.write_bytes(whole[:position] + b"\xff\xfe\xfd" + whole[position + 3 :])
            assert "Traceback" not in analyse().stderr

    def test_numbered_otherwise_than_the_folders(self, analyse, small):
        path = small / "imagenet" / "samples_info.npz"
        np.savez(path, sample_files=FILES, targets=[1, 0])
        assert refused(analyse(), path, "the target 1", FILES[0], "2 such images")
        np.savez(path, sample_files=[FILES[0], FILES[0]], targets=[0, 0])
        assert refused(analyse(), path, "lists a file twice")

    def test_files_without_class_folders(self, analyse, small):
        path = small / "imagenet" / "samples_info.npz"
        np.savez(path, sample_files=[file.split("/")[1] for file in FILES], targets=[0, 1])
        assert refused(analyse(), path, "is not <WordNet id>/<file name>")

    def test_none_yet(self, call, tmp_path):
        outcome = call("evaluation", "--artefacts_dir", tmp_path, "--collect_results")
        assert refused(outcome, tmp_path / "imagenet" / "samples_info.npz", "collect_predictions.py")

    @pytest.mark.parametrize(
        "metadata",
        [
            '{"num_params": "many"}',
            '{"num_params": -1}',
            '{"num_params": 1' + 400 * "0" + "}",
            '{"top1_val_acc": NaN}',
            '{"preds_comp_time": [1]}',
            '{"arch": ["resnet"]}',
            '{"arch": "\\ud800"}',
            '{"extra_annotations": "CLIP"' + "}",
            '{"extra_annotations": {"CLIP": 1}}',
            "[]",
            "{",
        ],
    )
    def test_metadata_that_stop_the_other_models(self, analyse, small, metadata):
        """The model is left out by name; the others have their tables; the status is 2."""
        shutil.copytree(small / "imagenet" / "me--mine", small / "imagenet" / "me--good")
        path = small / "imagenet" / "me--mine" / "metadata.json"
        path.write_text(metadata)
        assert refused(analyse(), "1 of 2 models", path)
        table = (small / "results" / "stats-imagenet" / "non_problematic_stats_all.csv").read_text()
        assert [line.split(",")[0] for line in table.splitlines()] == ["model_dir_id", "me--good"]


class TestAnnotations:
    def test_missing(self, analyse, small):
        path = small / "annotations" / "human_accuracy_v3.0.0.json"
        path.unlink()
        assert refused(
            analyse(), path, "is missing: get it with download_artefacts.py --what annotations, or from https://"
        )

    @pytest.mark.parametrize("content", ["{", "[]", '{"initial_annots": []}', "\xff"])
    def test_malformed(self, analyse, small, content):
        path = small / "annotations" / "human_accuracy_v3.0.0.json"
        path.write_bytes(content.encode("latin-1"))
        assert refused(analyse(), path)

    @pytest.mark.parametrize("entry", ["1", '{"correct": {"n01440764": 1}}', '{"correct": ["n0"]}'])
    def test_entry_of_another_shape(self, analyse, small, entry):
        path = small / "annotations" / "human_accuracy_v3.0.0.json"
        name = FILES[0].split("/")[1]
        path.write_text('{"initial_annots": {"' + name + '": ' + entry + '}, "problematic_images": {}}')
        assert refused(analyse(), path, name, "label")

    def test_file_twice(self, analyse, small):
        path = small / "annotations" / "human_accuracy_v3.0.0.json"
        path.write_text('{"initial_annots": {"ILSVRC2012_val_00000293.JPEG": {}, "ILSVRC2012_val_00000293.JPEG": {}}}')
        assert refused(analyse(), path, "'ILSVRC2012_val_00000293.JPEG' stands twice")

    def test_problematic_images_not_named(self, analyse, small):
        path = small / "annotations" / "human_accuracy_v3.0.0.json"
        content = json.loads(path.read_text())
        del content["problematic_images"]
        path.write_text(json.dumps(content))
        assert refused(analyse(), path, "problematic_images")

    def test_target_not_accepted(self, analyse, small):
        annotate(small, {FILES[0]: {"correct": ["n01443537"]}})
        assert refused(analyse(), FILES[0], "original label")

    def test_no_image_annotated(self, analyse, small):
        annotate(small, {})
        assert refused(analyse(), "none of the 2 images is annotated")

    def test_all_problematic(self, analyse, small):
        annotate(small, {FILES[0]: {}}, [FILES[0].split("/")[1]])
        assert refused(analyse(), "all 1 annotated images are problematic", "nothing to count")


class TestKnowledge:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("superclasses.json", '{"a": [[]]}'),
            ("superclasses.json", '{"a": [["dog"]]}\n{"a": [["cat"]]}'),
            ("superclasses.json", '{"a": ["dog"]}'),
            ("superclasses.json", "{}"),
            ("superclasses.json", '{"n01440764": [["fish"]]}'),
            ("superclasses.json", "[1]"),
            ("superclasses.json", "{"),
            ("imagenet_wnet_id_to_target.json", '{"n01440764": 0}'),
            ("labels_map.json", '{"0": "tench"}'),
            ("cooccurrence_counts.csv", "class_a,class_b,count\n5,1000,2\n"),
            ("cooccurrence_counts.csv", "class_a,class_b,count\n5,many,2\n"),
            ("cooccurrence_counts.csv", "a,b\n"),
            ("wordnet_closure.tsv", "offset\tlemmas\thypernyms\tinstance_hypernyms\thyponyms\n1\ta\t2\t\t\n"),
        ],
    )
    def test_damaged_file_of_the_user_is_used(self, analyse, small, name, content):
        (small / name).write_text(content)
        assert refused(analyse(), small / name)


class TestFlags:
    @pytest.mark.parametrize(
        ("script", "flags", "words"),
        [
            ("evaluation", ["--dataset", "imagenett"], ["unknown dataset 'imagenett', did you mean 'imagenet'?"]),
            ("evaluation", [], ["nothing to do", "--perform_error_analysis"]),
            ("evaluation", ["--list_most_common_errors", "--error_type", "fine"], ["unknown error type 'fine'"]),
            ("evaluation", ["--collect_results", "--error_type", "fg"], ["goes with --list_most_common_errors"]),
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
    def test_wrong(self, call, tmp_path, script, flags, words):
        assert refused(call(script, "--artefacts_dir", tmp_path, *flags), *words)

    def test_hyphens_are_unknown(self, call, small):
        flags = (
            "--artefacts-dir",
            small,
            f"--results-dir={small / 'r'}",
            "--perform-error-analysis",
            "--open-world=skip",
        )
        assert call("evaluation", *flags).status == 0


class TestImages:
    @pytest.fixture
    def collect(self, call, tmp_path, monkeypatch):
        monkeypatch.setenv("IMAGENET_DIR", str(tmp_path))
        (tmp_path / "val" / "n01440764").mkdir(parents=True)
        return lambda: call("collect_predictions", "--artefacts_dir", tmp_path / "a", "--model", "lite0")

    def test_folder_not_named(self, collect, monkeypatch):
        monkeypatch.delenv("IMAGENET_DIR")
        assert refused(collect(), "$IMAGENET_DIR is not set")

    def test_no_such_folder(self, collect, monkeypatch):
        monkeypatch.setenv("IMAGENET_DIR", "/nowhere")
        assert refused(collect(), "/nowhere/val is not a folder")

    def test_empty_folder(self, collect, tmp_path):
        assert refused(collect(), tmp_path / "val", "has no images")

    def test_class_folder_that_is_no_class(self, collect, tmp_path):
        (tmp_path / "val" / "cats").mkdir()
        assert refused(collect(), tmp_path / "val" / "cats", "not an ImageNet class")

    def test_file_that_is_no_image(self, collect, tmp_path):
        (tmp_path / "val" / "n01440764" / "notes.txt").touch()
        assert refused(collect(), "notes.txt is no image")

    def test_unreadable_image_loses_what_is_written(self, collect, tmp_path, sample_photograph):
        shutil.copyfile(sample_photograph, tmp_path / "val" / "n01440764" / "a.png")
        (tmp_path / "val" / "n01440764" / "b.png").write_bytes(b"no image")
        outcome = collect()
        assert refused(outcome, tmp_path / "val" / "n01440764" / "b.png", "cannot be read")
        assert (tmp_path / "a" / "imagenet" / "samples_info.npz").exists()
        assert not list((tmp_path / "a").rglob("*.tmp"))


@pytest.fixture
def sample_photograph():
    from importlib.util import find_spec
    from pathlib import Path

    return Path(find_spec("skimage").submodule_search_locations[0]) / "data" / "chelsea.png"


class TestExplain:
    def test_unknown_file_and_model(self, analyse):
        assert refused(analyse("--explain", "x.JPEG", "--model", "me/mine"), "x.JPEG", "not among the 2 images")
        assert refused(analyse("--explain", FILES[0], "--model", "me/min"), "did you mean 'me--mine'?")

    def test_not_annotated(self, analyse, small):
        annotate(small, {FILES[0]: {"correct": ["n01440764"]}})
        assert refused(analyse("--explain", FILES[1], "--model", "me/mine"), "not annotated")


def test_results_that_cannot_be_written_end_in_a_traceback(analyse, small):
    (small / "results").write_text("a file where the folder should be")
    assert refused(analyse(), "results")
