"""The multi-labels of tensorflow-datasets, with the package itself: it is there, its dataset is not prepared."""

import pytest

from imagenet_errors.dataset.multi_labels import annotations_from_tfds
from imagenet_errors.errors import InputError


@pytest.fixture
def tfds(monkeypatch, tmp_path):
    package = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
    monkeypatch.setattr(package.core.constants, "DATA_DIR", str(tmp_path))
    return package


def test_the_package_knows_the_version_that_is_read(tfds):
    builder = tfds.builder_cls("imagenet2012_multilabel")
    assert str(builder.VERSION) == "3.0.0"


def test_unprepared_dataset_is_refused_in_one_line(tfds):
    with pytest.raises(InputError, match=r"imagenet2012_multilabel:3\.0\.0 is not prepared"):
        annotations_from_tfds()
