"""Whatever form predictions come in, they are the same predictions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.samples import Samples, register_samples
from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.formats.predictions import read_top1
from imagenet_errors.importing.importer import Importer, Options
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED
from tests.helpers.prediction_forms import FORMS, Form, Writer
from tests.helpers.shared_predictions import SETS, predictions

ALL = load_validation_samples(COMMITTED)
SOME = Samples(ALL.files[::16], ALL.targets[::16])


def record(name: str) -> ModelRecord:
    return ModelRecord(name, "own", "predictions", name)


def import_form(folder, form: Form, name: str) -> str:
    importer = Importer(Artefacts(folder), DATASETS["imagenet"], Options(**form.options))
    return importer.import_model(record(name), form.paths)


def simulate(targets: np.ndarray, rate: float = 0.7) -> np.ndarray:
    """Class ids that are the targets at this rate."""
    random = np.random.default_rng(0)
    is_right = random.random(len(targets)) < rate
    return np.where(is_right, targets, random.integers(0, 1000, len(targets))).astype(np.int16)


def test_all_forms_of_a_model_give_one_table(tmp_path, classes, call):
    """In one folder of 3,125 images, each form under a name of its own."""
    top1 = simulate(SOME.targets)
    register_samples(Artefacts(tmp_path / "artefacts"), "imagenet", SOME)
    writer = Writer(tmp_path, SOME, top1, classes)
    for name, write in FORMS.items():
        line = import_form(tmp_path / "artefacts", write(writer), name)
        assert f"top-1 {100 * (top1 == SOME.targets).mean():.2f} % on 3,125 of 50,000 images" in line
        stored = read_top1(tmp_path / f"artefacts/imagenet/{name}/preds.npz", SOME)
        assert np.array_equal(stored, top1), name
    steps = ("--perform_error_analysis", "--collect_results", "--open_world", "skip")
    done = call("evaluation", "--artefacts_dir", tmp_path / "artefacts", "--results_dir", tmp_path, *steps)
    assert done.status == 0, done.stderr
    table = pd.read_csv(tmp_path / "stats-imagenet/non_problematic_stats_all.csv")
    assert table.model_dir_id.tolist() == sorted(FORMS)
    assert len(table.drop(columns="model_dir_id").drop_duplicates()) == 1


@pytest.mark.heavy
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_twelve_sets_holds_their_predictions(shared, tmp_path, classes, form):
    for name in SETS:
        top1 = predictions(name, ALL.files)["top1"]
        import_form(tmp_path / "artefacts", FORMS[form](Writer(tmp_path, ALL, top1, classes)), name)
        assert np.array_equal(read_top1(tmp_path / f"artefacts/imagenet/{name}/preds.npz", ALL), top1), name


@settings(max_examples=30)
@given(st.data())
def test_any_rows_in_any_order_are_of_their_images(tmp_path_factory, classes, data):
    """Subsets, repeated rows, other columns in any order."""
    folder = tmp_path_factory.mktemp("rows")
    register_samples(Artefacts(folder), "imagenet", SOME)
    rows = np.array(data.draw(st.lists(st.integers(0, len(SOME.files) - 1), min_size=1, max_size=60)))
    top1 = simulate(SOME.targets)
    columns = {
        "file": [SOME.files[row] for row in rows],
        "pred": top1[rows],
        "prob": np.linspace(0, 1, len(rows)),
        "remark": "a, b",
    }
    order = data.draw(st.permutations(list(columns)))
    pd.DataFrame(columns)[order].to_csv(folder / "model.csv", index=data.draw(st.booleans()))
    line = import_form(folder, Form([folder / "model.csv"]), "model")
    known = np.unique(rows)
    assert f"on {len(known):,} of 50,000 images" in line
    stored = read_top1(folder / "imagenet/model/preds.npz", SOME)
    assert np.array_equal(np.flatnonzero(stored >= 0), known)
    assert np.array_equal(stored[known], top1[known])
