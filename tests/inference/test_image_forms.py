"""Whatever form ImageNet's validation images are in, they are the same images with the same predictions."""

import os
import shutil

import numpy as np
import pytest
import torch

from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.inference.image_sources import find_source
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.predict import predict
from imagenet_errors.inference.preprocessing import Preprocessing, ResizeAndCrop
from imagenet_errors.inference.stored_images import StoredImage
from imagenet_errors.paths import Artefacts
from tests.conftest import refused, run_script
from tests.helpers import image_forms
from tests.helpers.image_forms import FORMS, find_validation_images
from tests.helpers.own_functions import OWN
from tests.helpers.shared_predictions import SHARED

pytest_plugins = "tests.helpers.tiny_clip"
COPIED = ("Hugging Face's archive", "Hugging Face's Parquet")


@pytest.fixture(scope="module")
def images(few):
    """All shared images; made-up ones where these are absent."""
    return find_validation_images((SHARED / "images" if SHARED.is_dir() else few) / "val")


@pytest.fixture
def few_images(few):
    return find_validation_images(few / "val")


@pytest.fixture
def collect(call, tmp_path, monkeypatch):
    """Collect with a small model from this place: `collect(place, *flags)`; the artefacts are `collect.artefacts`."""
    own = tmp_path / "own.py"
    own.write_text(OWN.replace("{fits}", "3").replace("{from_call}", "0").replace("{error}", "MemoryError()"))

    def run(place, *flags, model="good"):
        monkeypatch.setenv("IMAGENET_DIR", str(place))
        flags = ("--artefacts_dir", collect_artefacts, "--device", "cpu", "--workers", 0, "--batch_size", 5, *flags)
        return call("collect_predictions", *flags, "--save_probs", "--model", f"{own}:{model}")

    run.artefacts = collect_artefacts = tmp_path / "artefacts"
    return run


def read_arrays(artefacts, model="own--own.good"):
    return {file: dict(np.load(artefacts / "imagenet" / file)) for file in ("samples_info.npz", f"{model}/preds.npz")}


@pytest.mark.parametrize("form", FORMS)
def test_images_are_the_same_in_every_form(images, form, tmp_path, monkeypatch):
    """Names, classes, and every byte."""
    monkeypatch.setenv("IMAGENET_DIR", str(FORMS[form](images, tmp_path / "images")))
    source = find_source(Artefacts(tmp_path / "artefacts"), DATASETS["imagenet"])
    expected = sorted((f"{image.wnid}/{image.name}", image.class_id, image.file) for image in images)
    assert source.samples.files.tolist() == [file for file, *_ in expected]
    assert source.samples.targets.tolist() == [class_id for _, class_id, _ in expected]
    assert [image.read() for image in source.stored] == [file.read_bytes() for *_, file in expected]


def test_every_form_has_the_same_predictions(few_images, tmp_path, monkeypatch):
    """To the bit."""
    torch.manual_seed(0)
    model, artefacts = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 1000)), Artefacts(tmp_path / "a")
    how = Preprocessing(ResizeAndCrop(8, 8, "bilinear"))
    predictions = []
    for form, make in FORMS.items():
        monkeypatch.setenv("IMAGENET_DIR", str(make(few_images, tmp_path / form)))
        images = Images(find_source(artefacts, DATASETS["imagenet"]).stored, workers=0)
        done = predict(model, how, images, batch_size=5, device=torch.device("cpu"), save_probs=True)
        predictions.append(vars(done) | {"seconds": None})
    for form, others in zip(FORMS, predictions, strict=True):
        np.testing.assert_equal(others, predictions[0], form)
    assert len(np.unique(predictions[0]["probs"], axis=0)) == len(few_images)


def test_predictions_from_one_form_are_kept_in_another(few_images, collect, tmp_path):
    for number, form in enumerate(("tar", "flat folder", "padded numbers", "Hugging Face's Parquet")):
        done = collect(FORMS[form](few_images, tmp_path / form))
        assert done.status == 0, done.stderr
        assert ("own/own.good: kept" in done.stderr) is (number > 0)


@pytest.mark.heavy
@pytest.mark.parametrize("form", FORMS)
def test_network_predicts_the_same_from_every_form(lite0, shared, form, tmp_path):
    """EfficientNet-Lite 0 on all shared images, as a user would run it, with processes that decode."""
    place = FORMS[form](find_validation_images(shared / "images" / "val"), tmp_path / "images")
    flags = ("--artefacts_dir", tmp_path / "a", "--model", "lite0", "--batch_size", 64, "--workers", 2)
    done = run_script("collect_predictions", *flags, IMAGENET_DIR=place, OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr
    model = "efficientnet_lite--lite0"
    np.testing.assert_equal(read_arrays(tmp_path / "a", model), read_arrays(lite0, model))


class TestClasses:
    """What folders, names and tables say of a validation image's class agrees with its label."""

    def test_folders_numbered_in_another_order_are_refused(self, few_images, collect, tmp_path):
        place = image_forms.link(few_images, tmp_path / "one", lambda one: f"{(one.class_id + 1) % 1000}/{one.name}")
        count = len(few_images)
        assert refused(collect(place), "lies in the folder of class", f"{count} of {count} images differ")

    def test_unnamed_images_in_numbered_folders_are_refused(self, few_images, collect, tmp_path):
        place = image_forms.link(few_images, tmp_path / "one", lambda one: f"{one.class_id}/{one.number}.JPEG")
        assert refused(collect(place), "the class of", "is not known", "ILSVRC2012_val_<number>")

    def test_image_in_the_folder_of_another_class_is_refused(self, few_images, collect, tmp_path):
        place = FORMS["class folders"](few_images, tmp_path / "images")
        first, last = few_images[0], few_images[-1]
        (place / "val" / first.wnid / first.name).rename(place / "val" / last.wnid / first.name)
        assert refused(collect(place), first.name, first.wnid, last.wnid, f"1 of {len(few_images)} images differ")

    def test_name_with_another_class_is_refused(self, few_images, collect, tmp_path):
        place = image_forms.link(few_images, tmp_path / "one", lambda one: one.name.replace(".", "_n01440764."))
        assert refused(collect(place), "has the name of class 0, n01440764: tench")

    def test_table_with_other_labels_is_refused(self, few_images, collect, tmp_path):
        others = [image._replace(class_id=(image.class_id + 1) % 1000) for image in few_images]
        place = image_forms.write_parquet(others, tmp_path / "shards")
        assert refused(collect(place), "differ", "sorted WordNet id")

    def test_number_beyond_the_validation_set_is_refused(self, few_images, collect, tmp_path):
        place = image_forms.link([few_images[0]._replace(number=50_001)], tmp_path / "one", lambda one: one.name)
        assert refused(collect(place), "ILSVRC2012_val_00050001.JPEG is not one of the 50,000 validation images")


class TestPlaces:
    def test_half_sorted_folder_is_read_whole(self, few_images, collect, tmp_path):
        place = image_forms.link(few_images[:9], tmp_path / "images", lambda one: one.name)
        image_forms.link(few_images[9:], place, lambda one: f"{one.wnid}/{one.name}")
        (place / "ILSVRC2012_val_00000001.xml").touch()  # the annotations that Kaggle has beside images
        assert f"{len(few_images)} of 50,000 images in {place}" in collect(place).stderr

    def test_unpacked_images_go_before_archives(self, few_images, collect, tmp_path):
        place = FORMS["tar"](few_images, tmp_path / "images")
        FORMS["class folders"](few_images[:3], place)
        assert f"3 of 50,000 images in {place / 'val'}" in collect(place).stderr

    def test_folder_without_validation_images_is_refused(self, collect, tmp_path):
        (tmp_path / "train" / "n01440764").mkdir(parents=True)
        assert refused(collect(tmp_path), f"{tmp_path} has no validation images", "ILSVRC2012_img_val.tar")

    def test_file_of_another_kind_is_refused(self, collect, tmp_path):
        (tmp_path / "val.zip").touch()
        assert refused(collect(tmp_path / "val.zip"), "has no validation images")

    def test_archive_without_validation_images_is_refused(self, few_images, collect, tmp_path):
        place = image_forms.write_tar(few_images, tmp_path / "any.tar", lambda one: f"{one.number}.JPEG")
        assert refused(collect(place), "any.tar has no validation images")


class TestArchives:
    """Archives that are damaged, and copies of compressed ones."""

    @pytest.mark.parametrize("form", ["tar", *COPIED])
    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
    def test_archive_that_breaks_off_is_refused(self, few_images, collect, tmp_path, form, kept):
        place = FORMS[form](few_images, tmp_path / "images")
        file = max(path for path in place.rglob("*") if path.is_file())
        os.truncate(file, int(kept * file.stat().st_size))
        assert refused(collect(place), file, "copy it again")
        assert not (collect.artefacts / "imagenet" / "copied_images.tar").exists()

    def test_tar_with_a_damaged_header_is_refused(self, few_images, collect, tmp_path):
        place = FORMS["tar"](few_images, tmp_path / "images")
        content = bytearray((place / "ILSVRC2012_img_val.tar").read_bytes())
        content[content.index(few_images[5].name.encode()) + 20] ^= 1
        (place / "ILSVRC2012_img_val.tar").write_bytes(content)
        assert refused(collect(place), "breaks off after 5 members", "copy it again")

    @pytest.mark.parametrize("form", COPIED)
    def test_compressed_images_are_copied_once(self, few_images, collect, tmp_path, form):
        place, copy = FORMS[form](few_images, tmp_path / "images"), collect.artefacts / "imagenet" / "copied_images.tar"
        assert "copied to" in collect(place).stderr
        before = copy.stat().st_mtime_ns
        assert "copied to" not in collect(place).stderr
        assert copy.stat().st_mtime_ns == before
        os.utime(next(path for path in place.rglob("*") if path.is_file()))
        assert "copied to" in collect(place).stderr
        copy.write_bytes(copy.read_bytes()[:5000])
        assert refused(collect(place), copy, "remove it, it is made again")
        copy.unlink()
        assert collect(place).status == 0

    def test_table_of_other_columns_is_refused(self, collect, tmp_path):
        pq, pa = image_forms.pq, image_forms.pa
        pq.write_table(pa.table({"jpg": [b""], "cls": [3]}), tmp_path / "val-0.parquet")
        assert refused(collect(tmp_path), "val-0.parquet", "columns image (bytes, path) and label")
        pq.write_table(
            pa.table({"image": [{"bytes": b"", "path": "1.JPEG"}], "label": [3]}), tmp_path / "val-0.parquet"
        )
        assert refused(collect(tmp_path), "val-0.parquet", "1.JPEG, not ILSVRC2012_val_<number>")


class TestDamagedImages:
    """Images that cannot be read are found before the first model is run, and the others are not decoded again."""

    @pytest.fixture
    def place(self, few_images, tmp_path):
        """Class folders of copies, with three damaged files."""
        place = tmp_path / "images"
        for image in few_images:
            (place / image.wnid).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image.file, place / image.wnid / image.name)
        for number, damage in enumerate((b"", b"no image", few_images[2].file.read_bytes()[:-400])):
            (place / few_images[number].wnid / few_images[number].name).write_bytes(damage)
        return place

    def test_all_are_named_in_one_run(self, few_images, collect, place):
        done = collect(place, model="nan")
        assert refused(done, f"3 of {len(few_images)} images cannot be read", "replace or remove those named")
        for image in few_images[:3]:
            assert f"{image.wnid}/{image.name} cannot be read" in done.stderr
        assert "not-a-number" not in done.stderr

    def test_sound_images_are_decoded_once(self, few_images, collect, place, monkeypatch):
        checked, decode = [], StoredImage.decode

        def spy(image, is_check=False):
            if is_check:
                checked.append(os.path.basename(image.path))
            return decode(image, is_check)

        monkeypatch.setattr(StoredImage, "decode", spy)
        collect(place)
        assert sorted(checked) == [image.name for image in few_images]
        checked.clear()
        assert collect(place).status == 2
        assert sorted(checked) == [image.name for image in few_images[:3]]
        for image in few_images[:3]:
            shutil.copyfile(image.file, place / image.wnid / image.name)
        checked.clear()
        assert collect(place, "--limit", 9).status == 0
        assert len(checked) <= 3
        os.utime(place / few_images[3].wnid / few_images[3].name, ns=(0, 0))
        checked.clear()
        assert collect(place, "--limit", 9).status == 0
        assert checked == []  # there was no model to run

    @pytest.mark.parametrize("damage", [b"", b"no archive"])
    def test_damaged_memory_of_checks_is_made_again(self, few_images, collect, tmp_path, damage):
        place, path = FORMS["tar"](few_images, tmp_path / "images"), collect.artefacts / "imagenet/checked_images.npz"
        collect(place)
        whole = path.read_bytes()
        path.write_bytes(damage)
        collect(place, model="broken")
        assert path.read_bytes() == whole

    def test_damaged_image_of_an_archive_is_named(self, few_images, collect, tmp_path):
        damaged = tmp_path / "damaged"
        damaged.write_bytes(few_images[0].file.read_bytes()[:-400])
        images = [few_images[0]._replace(file=damaged), *few_images[1:]]
        done = collect(FORMS["tar"](images, tmp_path / "images"))
        assert refused(done, f"ILSVRC2012_img_val.tar: {few_images[0].name} cannot be read", "copy it again")
