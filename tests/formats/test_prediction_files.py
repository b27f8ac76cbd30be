"""Files of predictions that other tools wrote: real ones, and all that timm's inference.py writes."""

import csv
import itertools

import numpy as np
import pytest

from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.formats.prediction_files import read
from tests.conftest import COMMITTED
from tests.helpers import timm_inference
from tests.helpers.raw_predictions import only, refuses


@pytest.mark.parametrize("name", ["ViT", "ResNet50"])
def test_files_of_imagenet_x_are_read(shared, name):
    path = shared / "predictions" / f"imagenetx--{name}.csv"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    found = read(path)
    assert found.names.tolist() == [row["file_name"] for row in rows]
    assert only(found).label == "the column predicted_class"
    assert only(found).ids[:, 0].tolist() == [int(row["predicted_class"]) for row in rows]
    assert only(found).probs[:, 0] == pytest.approx([float(row["predicted_probability"]) for row in rows])


def test_files_that_timm_wrote_agree(shared):
    folder = shared / "prediction_files"
    one, *others = (read(path) for path in sorted(folder.glob("timm-*")))
    assert len(others) == 4
    top1 = dict(zip(one.names, only(one).ids[:, 0], strict=True))
    assert len(top1) == 383
    for file in others:
        top5 = only(file).ids.shape[1] == 5
        names = [name.partition("/")[2] if top5 else name for name in file.names]
        assert dict(zip(names, only(file).ids[:, 0], strict=True)) == top1
        assert only(file).probs.shape == only(file).ids.shape
        assert (np.diff(only(file).probs) <= 0).all()


def test_arrays_of_the_shared_sets_are_read(shared):
    found = only(read(shared / "predictions" / "pytorch--resnet50.npz"))
    with np.load(shared / "predictions" / "pytorch--resnet50.npz") as archive:
        np.testing.assert_array_equal(found.ids, archive["top5"])
        np.testing.assert_array_equal(found.probs, archive["top5_probs"])


@pytest.fixture(scope="session")
def timm_rows():
    """Six images: their files, and made-up top-5 class ids and outputs for all classes, some of them tiny."""
    random, files = np.random.default_rng(0), load_validation_samples(COMMITTED).files[:6].tolist()
    top5 = np.array([random.choice(1000, 5, replace=False) for _ in files])
    outputs = np.exp(random.normal(0, 4, (6, 5)))
    probs = -np.sort(-outputs / outputs.sum(axis=1, keepdims=True)).astype(np.float32)
    outputs = np.repeat(probs[:, 4:] * np.float32(0.001), 1000, axis=1)
    np.put_along_axis(outputs, top5, probs, axis=1)
    return files, top5, outputs


@pytest.mark.parametrize("suffix", ["csv", "json"])
@pytest.mark.parametrize("topk", [1, 5])
def test_helper_writes_what_timm_wrote(shared, tmp_path, suffix, topk):
    real = shared / "prediction_files" / f"timm-top{topk}_index{'_fullname' * (topk == 5)}.{suffix}"
    found = read(real)
    outputs = np.zeros((len(found.names), 1000), np.float32)
    np.put_along_axis(outputs, only(found).ids, only(found).probs, axis=1)
    options = {"include_index": True, "fullname": topk == 5}
    written = timm_inference.write(tmp_path, suffix, found.names.tolist(), outputs, None, topk, **options)
    assert written.read_bytes() == real.read_bytes()


def label_types(classes) -> dict[str, list[str] | None]:
    definitions = (
        f"{text}: it's {'(small)' if number % 2 else 'large'}" for number, text in enumerate(classes.descriptions)
    )
    return {"none": None, "name": [*classes.wnids], "description": [*classes.descriptions], "detail": [*definitions]}


@pytest.mark.parametrize("topk", [1, 5, 100])
@pytest.mark.parametrize("results_format", timm_inference.SUFFIXES)
def test_every_list_of_classes_of_timm_is_read(timm_rows, classes, tmp_path, results_format, topk):
    files, top5, outputs = timm_rows
    for index, separate, (label_type, labels), fullname in itertools.product(
        (True, False), (True, False), label_types(classes).items(), (True, False)
    ):
        if (label_type == "none" and not index) or (topk == 100 and fullname):
            continue
        options = {"include_index": index, "separate": separate, "fullname": fullname}
        path = timm_inference.write(tmp_path, results_format, files, outputs, labels, topk, **options)
        found = read(path)
        assert found.names.tolist() == (files if fullname else [file.split("/")[1] for file in files]), options
        candidates = found.candidates
        assert len(candidates) == index + (label_type != "none"), (options, label_type)
        if index:
            assert candidates[0].ids.shape == (6, topk)
            np.testing.assert_array_equal(candidates[0].ids[:, :5], top5[:, : min(topk, 5)])
            np.testing.assert_allclose(candidates[0].probs, -np.sort(-outputs)[:, :topk], rtol=1e-5, atol=1e-8)
        if labels is not None:
            assert candidates[-1].texts.tolist() == [labels[class_id] for class_id in top5[:, 0]], options


@pytest.mark.parametrize("output_col", ["prob", "logit", "mine"])
@pytest.mark.parametrize("results_format", timm_inference.SUFFIXES)
def test_all_outputs_of_timm_are_read(timm_rows, tmp_path, results_format, output_col):
    files, _, outputs = timm_rows
    for separate, fullname in ((True, False), (False, True)):
        options = {"separate": separate, "fullname": fullname, "output_col": output_col}
        path = timm_inference.write(tmp_path, results_format, files, outputs, None, topk=0, **options)
        np.testing.assert_allclose(only(read(path)).scores, outputs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("results_format", timm_inference.SUFFIXES)
def test_other_options_of_timm_are_read(timm_rows, classes, tmp_path, results_format):
    files, top5, outputs = timm_rows
    names = {"filename_col": "x", "index_col": "y", "label_col": "z", "output_col": "w"}
    path = timm_inference.write(
        tmp_path, results_format, files, outputs, list(classes.wnids), 5, True, exclude_output=True, **names
    )
    found = only(read(path, file_column=None if results_format == "json" else "x", class_column="Y"))
    np.testing.assert_array_equal(found.ids, top5)
    assert found.probs is None
    path = timm_inference.write(tmp_path, results_format, files, np.log(outputs), None, 5, True, output_col="logit")
    assert only(read(path)).probs is None
    path = timm_inference.write(tmp_path, results_format, files, outputs, None, 5)
    assert refuses(path, "no class column", "prob", "--class_column")
