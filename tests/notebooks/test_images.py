"""Images of the notebook by filter are those of the table of errors."""

import numpy as np
import pytest

from imagenet_errors.error_types import CODES
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import read
from imagenet_errors.notebooks.images import open_images

MODEL = "pytorch--resnet50"


@pytest.mark.parametrize("folder", ["analysed", "twelve"])
def test_images_by_type_are_those_of_the_analysis(folder, analysed, twelve):
    """Of the stored one, and where nothing is stored of one made anew; nothing is written."""
    artefacts = {"analysed": analysed / "artefacts", "twelve": twelve}[folder]
    files = sorted(artefacts.rglob("*"))
    images = open_images("imagenet", artefacts, MODEL)
    stored = read(analysed / "artefacts" / "imagenet" / MODEL / "errors_analysis.parquet", MODEL)
    for name in ("fine_grained", "missing_multi_label", "correct"):
        assert np.array_equal(images.by_type(name), np.flatnonzero(stored.error_types == CODES[name]))
    assert sorted(artefacts.rglob("*")) == files


def test_several_filters_give_rows_to_show(analysed, capsys):
    images = open_images("imagenet", analysed / "artefacts", MODEL)
    found = images.select(error_type="fine_grained", text="shark")
    assert 0 < len(found) < len(images.by_type("fine_grained"))
    images.show(found.index, limit=1)
    assert found.file.iloc[0] in capsys.readouterr().out
    with pytest.raises(InputError, match="did you mean 'fine_grained'"):
        images.by_type("fine_grain")
