"""The functions that `imagenet_errors` exports: their numbers are those of report.py, their messages fit Python."""

import doctest
import importlib
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

import imagenet_errors
from imagenet_errors import api, classify_errors, compare, load_predictions, profile, simulation
from imagenet_errors.dataset.samples import Samples, register_samples
from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.errors import InputError
from imagenet_errors.paths import Artefacts
from imagenet_errors.simulation import simulate_predictions
from tests.conftest import COMMITTED, ROOT
from tests.helpers.shared_predictions import SHARED

ALL = load_validation_samples(COMMITTED)
TOP1 = simulate_predictions(accuracy=80, seed=0)  # by validation file number
NAMES = np.array([f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 50_001)])
EVERY_25TH = Samples(ALL.files[::25], ALL.targets[::25])
IN_FOLDER = TOP1[EVERY_25TH.numbers - 1]  # by class folder
BY_NUMBER = TOP1[np.sort(EVERY_25TH.numbers) - 1]


@pytest.fixture(autouse=True, scope="module")
def empty(tmp_path_factory):
    """What comes with the repository is enough, whatever its artefacts folder holds besides."""
    empty = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "REPOSITORY", empty)
        yield empty / "artefacts"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An artefacts folder with two images of each class."""
    folder = tmp_path_factory.mktemp("folder")
    register_samples(Artefacts(folder), "imagenet", EVERY_25TH)
    return folder


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> list[Path]:
    """Predictions of two models in CSV: real ones, or where they are absent simulated ones."""
    if SHARED.is_dir():
        return [SHARED / "predictions" / f"{name}.csv" for name in ("imagenetx--ViT", "imagenetx--ResNet50")]
    folder = tmp_path_factory.mktemp("tables")
    for seed in (0, 1):
        table = pd.DataFrame({"file": NAMES, "prediction": simulate_predictions(80, seed)})
        table.to_csv(folder / f"simulated{seed}.csv", index=False)
    return sorted(folder.glob("*.csv"))


def to_entries(frame: pd.DataFrame) -> list[dict]:
    """The rows of a frame as the objects of JSON."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def test_profile_has_the_numbers_of_report(tables, call, tmp_path):
    done = call("report", "--predictions", tables[0], "--format", "json", "--artefacts_dir", tmp_path)
    content = json.loads(done.stdout)
    errors = classify_errors(load_predictions(tables[0]))
    mine = profile(errors)
    assert to_entries(mine.to_frame().drop(columns="model")) == content["error_types"]
    assert mine.to_frame().model.unique().tolist() == [content["model"]]
    assert mine.sentences == content["sentences"] != []
    assert (mine.extent, mine.num_counted) == (content["images"], content["num_counted"])
    assert json.loads(json.dumps([asdict(one) for one in mine.accuracies])) == content["accuracies"]
    counts = errors.to_frame().query("not is_problematic").error_type.value_counts()
    of_all = mine.to_frame().query("group == 'all' and count > 0").set_index("error_type")["count"]
    assert counts.drop("correct").to_dict() == of_all.to_dict()


def test_comparison_has_the_numbers_of_report(tables, call, tmp_path):
    flags = ("--predictions", tables[0], "--compare", tables[1], "--artefacts_dir", tmp_path)
    content = json.loads(call("report", *flags, "--format", "json").stdout)
    found = compare(*map(classify_errors, tables))
    assert to_entries(found.to_frame()) == content["shares"]
    assert [found.fixed, found.broken] == [content["fixed"], content["broken"]]
    assert list(found.models) == content["models"]


def shuffled(**columns) -> pd.DataFrame:
    return pd.DataFrame({"file": EVERY_25TH.files, **columns}).sample(frac=1, random_state=0)


def one_hot() -> np.ndarray:
    return np.eye(1000, dtype=np.float32)[BY_NUMBER]


class Tensor:
    def __array__(self, dtype=None, copy=None):
        return one_hot()


FORMS = {
    "by validation file number": lambda wnids: BY_NUMBER,
    "by class folder": lambda wnids: IN_FOLDER.astype(np.uint16),
    "lists, best first": lambda wnids: np.stack([IN_FOLDER, (IN_FOLDER + 1) % 1000], axis=1),
    "scores": lambda wnids: one_hot(),
    "a tensor": lambda wnids: Tensor(),
    "WordNet ids": lambda wnids: wnids[IN_FOLDER],
    "WordNet ids as objects": lambda wnids: pd.Series(wnids[IN_FOLDER]),
    "a list": lambda wnids: BY_NUMBER.tolist(),
    "a DataFrame": lambda wnids: shuffled(prediction=IN_FOLDER),
    "its index": lambda wnids: shuffled(prediction=IN_FOLDER).set_index("file"),
    "its categories": lambda wnids: shuffled(label=pd.Categorical(wnids[IN_FOLDER])),
    "its lists": lambda wnids: shuffled(top5=[[one, 3] for one in IN_FOLDER.tolist()]),
    "its nullable integers": lambda wnids: shuffled(pred=pd.array(IN_FOLDER, dtype="Int64")),
    "its scores": lambda wnids: pd.concat([shuffled(), pd.DataFrame(np.eye(1000)[IN_FOLDER])], axis=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_and_tables_are_read_as_files_are(form, folder, classes, tmp_path):
    pd.DataFrame({"file": EVERY_25TH.files, "prediction": IN_FOLDER}).to_csv(tmp_path / "table.csv", index=False)
    expected = load_predictions(tmp_path / "table.csv", artefacts_dir=folder)
    found = load_predictions(FORMS[form](np.array(classes.wnids)), artefacts_dir=folder, name="me/mine")
    assert found.name == "me--mine"
    assert found.to_frame().equals(expected.to_frame())
    assert found.top1_accuracy == expected.top1_accuracy == pytest.approx(80, abs=3)
    assert classify_errors(found).to_frame().equals(classify_errors(expected).to_frame())


def test_images_of_a_folder_are_picked_from_all_by_file_number(folder):
    found = load_predictions(TOP1, artefacts_dir=folder, order="file_number")
    assert np.array_equal(found.predictions.top1, IN_FOLDER)


def test_rows_of_an_array_may_be_named(folder):
    part = load_predictions(IN_FOLDER[5:3:-1], files=map(Path, EVERY_25TH.files[5:3:-1]), artefacts_dir=folder)
    assert part.to_frame().prediction.tolist() == IN_FOLDER[4:6].tolist()
    assert part.to_frame().file.tolist() == EVERY_25TH.files[4:6].tolist()


def test_images_without_prediction_have_no_error_type():
    part = classify_errors(pd.DataFrame({"file": NAMES[:300], "prediction": TOP1[:300]}))
    assert part.extent == "300 of 50,000 images"
    assert len(part.error_types) == 20_000
    assert part.error_types[part.error_types != ""].tolist() == part.to_frame().error_type.tolist()
    assert set(part.to_frame().file.str[-13:-5].astype(int)) <= set(range(1, 301))
    assert profile(part).to_frame().expected.isna().all()


def test_facts_are_read_again_when_the_folder_changes(tmp_path):
    before = load_predictions(TOP1, artefacts_dir=tmp_path)
    register_samples(Artefacts(tmp_path), "imagenet", EVERY_25TH)
    after = load_predictions(IN_FOLDER, artefacts_dir=tmp_path)
    assert [len(one.to_frame()) for one in (before, after)] == [50_000, 2_000]
    assert [classify_errors(one).extent[:6] for one in (before, after)] == ["50,000", "2,000 "]
    with pytest.raises(InputError, match="model and model are not classified with the same images"):
        compare(*map(classify_errors, (before, after)))


class OnGpu:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (IN_FOLDER[:3], {}, ["model has 3 rows without image names, and the dataset 2,000 images", "called files"]),
        (np.zeros((2000, 2, 2)), {}, ["float64 of the shape [2000, 2, 2]", "[N] or [N, k]"]),
        (np.zeros((2000, 500), np.float32), {}, ["no reading of it", "give order"]),
        (np.array(5), {}, ["of the type ndarray, which makes an array of int64 of the shape []"]),
        (None, {}, ["of the type NoneType", "give a file, a DataFrame, or an array"]),
        ([[1], [1, 2]], {}, ["cannot be made an array (ValueError:"]),
        (OnGpu(), {}, ["can't convert cuda:0", "tensor.detach().cpu().numpy()"]),
        (IN_FOLDER + 0.5, {}, ["row 1", "65.5" if IN_FOLDER[0] == 65 else "0.5", "not a class id"]),
        (np.where(np.arange(2000) == 7, 1000, IN_FOLDER), {}, ["row 8: 1000", "say with label_offset or classes how"]),
        (np.full((2000, 1000), np.nan), {}, ["row 1", "nan", "not finite"]),
        (-np.arange(1000.0)[None].repeat(2000, axis=0), {}, ["sorted scores", "in the order of the classes"]),
        (np.roll(IN_FOLDER, 7), {}, ["no reading of it is clearly right", "order='class_folder', label_offset=-1:"]),
        (BY_NUMBER, {"order": "class_folder"}, ["a top-1 accuracy of 0.", "give order='file_number' (arguments"]),
        (np.roll(IN_FOLDER, 7), {"order": "class_folder"}, ["hardly more than chance", "give force=True to"]),
        (EVERY_25TH.targets, {}, ["equals the original labels of 100.00 %"]),
        (IN_FOLDER, {"order": "number"}, ["unknown order 'number', did you mean 'file_number'?"]),
        (IN_FOLDER, {"dataset": "imagenet_a"}, ["unknown dataset 'imagenet_a', did you mean 'imagenet-a'?"]),
        (IN_FOLDER, {"class_column": "a"}, ["model is an array, which has no columns"]),
        (IN_FOLDER, {"files": NAMES[:3], "name": "x"}, ["x: the array files has", "not the names of the 2,000"]),
        ("model.csv", {"files": NAMES}, ["model.csv holds its image names itself"]),
        ("model.csv", {}, ["model.csv is missing"]),
        (["a.npz", "b.npz"], {}, ["a.npz is missing"]),
        (shuffled(prediction=IN_FOLDER), {"files": NAMES}, ["model is a DataFrame", "and not in files"]),
        (shuffled(prediction=IN_FOLDER, label=EVERY_25TH.targets), {}, ["differ", "choose with class_column"]),
        (shuffled(prediction=None), {}, ["row 1: the column prediction has None, which is empty"]),
        (shuffled(), {}, ["no class column of a usual name", "name it with class_column"]),
        (shuffled()[:0], {}, ["no rows"]),
        (pd.DataFrame({"a": [1], "b": [2]}), {}, ["no column of image names", "name it with file_column"]),
        (pd.DataFrame([[1, 2]], columns=["file", "file"]), {}, ["Duplicate column names", "distinct names"]),
        (pd.DataFrame({"file": NAMES[:2], "label": [3, "tench"]}), {}, ["not a readable table", "column label"]),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(folder, source, options, words):
    with pytest.raises(InputError) as caught:
        load_predictions(source, **{"artefacts_dir": folder} | options)
    text = str(caught.value)
    assert "\n" not in text
    assert "--" not in text
    assert all(word in text for word in words), text


def test_low_accuracy_is_accepted_on_request(folder):
    found = load_predictions(np.roll(IN_FOLDER, 7), artefacts_dir=folder, order="class_folder", force=True)
    assert found.top1_accuracy < 0.5


def test_error_types_may_be_by_other_labels(folder):
    errors = classify_errors(load_predictions(IN_FOLDER, artefacts_dir=folder))
    by_original = profile(errors, labels="original").to_frame().query("group == 'all'").set_index("error_type")
    assert by_original["count"].missing_multi_label == 0
    with pytest.raises(InputError, match="unknown label set 'reel', did you mean 'real'"):
        profile(errors, labels="reel")


def test_unknown_choice_of_the_open_world_test_is_refused():
    with pytest.raises(InputError, match="unknown choice of open_world 'cip', did you mean 'clip'"):
        classify_errors(TOP1, open_world="cip")


def test_simulated_classifier_is_as_accurate_as_told_and_the_same_each_time():
    labels = simulate_predictions(accuracy=100, seed=3)
    assert np.array_equal(labels[ALL.numbers - 1], ALL.targets)
    assert 100 * (labels == TOP1).mean() == pytest.approx(80, abs=0.5)
    assert np.array_equal(TOP1, simulate_predictions(accuracy=80, seed=0))


def test_importing_the_package_loads_no_library():
    code = (
        "import sys, imagenet_errors\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'__main__'}))\n"
        "print('typing' in sys.modules, {*imagenet_errors.__all__} <= {*dir(imagenet_errors)})"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert done.stdout == "['imagenet_errors']\nFalse True\n", done.stderr


def test_names_of_functions_and_modules_do_not_clash():
    module = importlib.import_module("imagenet_errors.analysis.profile")
    assert imagenet_errors.profile is api.profile is not module
    assert imagenet_errors.analysis.profile is module
    with pytest.raises(AttributeError, match="no attribute 'profiles'"):
        _ = imagenet_errors.profiles


@pytest.mark.parametrize("module", [api, simulation], ids=lambda module: module.__name__)
def test_examples_of_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0


def test_notebook_is_about_the_file_that_its_first_cell_names(tables, empty, capsys):
    cells = [cell for cell in nbformat.read(ROOT / "src/my_model.ipynb", 4).cells if cell.cell_type == "code"]
    assert cells[0].metadata.tags == ["parameters"]
    names: dict = {}
    for cell in cells:
        exec(cell.source, names)
        names |= {"predictions": tables[0], "artefacts_dir": empty}
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tables[0].stem}: top-1")
    assert f"simulated 2 fixes {names['comparison'].fixed:,} errors of {tables[0].stem}" in printed


def test_examples_of_documents_run(tables, tmp_path, monkeypatch, capsys):
    """The block of Python and the examples of docs/python.md."""
    monkeypatch.chdir(tmp_path)
    for name, table in zip(("my.csv", "other.csv"), tables, strict=True):
        (tmp_path / name).symlink_to(table)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    exec(blocks[0], {})
    assert "models nearest in MLA" in capsys.readouterr().out
    assert doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False).failed == 0
