"""Reports on several models: their numbers are those of the profiles and tables, and all formats say the same."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.analysis.analysed_models import analyse_files, analyse_predictions
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.pair_report import OUTCOME_NAMES, report_pair
from imagenet_errors.analysis.profile import make_profile
from imagenet_errors.analysis.reports import FORMATS
from imagenet_errors.analysis.several_report import report_runs, report_several
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.paths import Artefacts
from tests.conftest import refused

MODELS = ("pytorch--resnet50", "imagenetx--ViT", "pytorch--alexnet")
REPORTS = {"pair": (report_pair, 2), "several": (report_several, 3), "runs": (report_runs, 3)}


@pytest.fixture(scope="module")
def context(analysed):
    return load_context(Artefacts(analysed / "artefacts"), "imagenet")


@pytest.fixture(scope="module")
def models(context):
    return analyse_files([ModelFiles(context, model) for model in MODELS])


@pytest.fixture(scope="module", params=REPORTS)
def report(request, context, models):
    make, number = REPORTS[request.param]
    return make(context, models[:number])


def test_model_in_memory_equals_that_of_its_files(context, models):
    """Also where it has no predictions for some images."""
    model = models[0]
    found = analyse_predictions(context, model.name, model.predictions)
    assert np.array_equal(found.analysis.error_types, model.analysis.error_types)
    assert found.analysis.fingerprints.items() <= model.analysis.fingerprints.items()
    assert (found.extent, found.is_partial, found.top1_accuracy) == (model.extent, False, model.top1_accuracy)
    rows = np.arange(0, 50_000, 7, dtype=np.int32)
    part = analyse_predictions(context, "part", Predictions(model.predictions.top1[rows], rows=rows))
    has_one = part.analysis.top1 >= 0
    assert part.is_partial
    assert part.extent == "7,143 of 50,000 images"
    assert np.array_equal(has_one, np.isin(context.images.rows, rows))
    assert np.array_equal(part.analysis.error_types[has_one], model.analysis.error_types[has_one])


def test_margins_of_transitions_are_both_profiles(context, models):
    content = report_pair(context, models[:2]).content
    table = pd.DataFrame(content["transitions"]).set_index("first")
    for model, margin in zip(models, (table.sum(axis=1), table.sum(axis=0)), strict=False):
        profile = make_profile(context, model, None)
        for line in profile.lines:
            if line.group == "all" and not line.is_bound and line.count is not None:
                # what out-of-vocabulary would take is unknown, so that its row and column are empty
                assert margin[line.error_type] == line.count
    for name, position in (("first", 0), ("second", 1)):
        profile = make_profile(context, models[position], None)
        shares = {one["share"]: one for one in content["shares"]}
        assert shares["multi_label_accuracy"][name] == pytest.approx(profile.multi_label_accuracy)
        for line in profile.lines:
            if line.group == "all":
                assert shares[line.error_type]["is_bound"] == line.is_bound
                assert shares[line.error_type][name] == pytest.approx(line.share)


def test_csv_holds_the_numbers_of_json(report):
    """A cell of CSV is the entry of JSON with its table, row and column."""
    content = json.loads(FORMATS["json"](report))
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](report))))
    assert content["schema_version"] == 1
    for row in rows:
        if row["table"].startswith("kappa"):
            of = content["kappas"][row["table"].removeprefix("kappa_")]
            value = of[content["models"].index(row["row"])][content["models"].index(row["column"])]
        elif "transitions" in content:
            entries = {str(next(iter(entry.values()))): entry for entry in content[row["table"]]}
            value = entries[row["row"]][row["column"]]
        else:
            shares = dict(zip(content["models"], content["shares"], strict=True)) | content
            value = shares[row["row"]][row["column"]]
        assert row["value"] == ("" if value is None else str(value))


def test_text_markdown_and_latex_have_the_same_cells(report):
    cells = [cell for table in report.tables for row in table.lines if not isinstance(row, str) for cell in row]
    texts = {
        name: FORMATS[name](report).replace("\\", "").replace("$le$", "≤") for name in ("text", "markdown", "latex")
    }
    for text in texts.values():
        position = 0
        for cell in cells:
            position = text.index(cell, position) + len(cell)
    assert max(map(len, texts["text"].splitlines())) <= 80


def test_shares_are_rounded_from_those_of_json(context, models):
    report = report_pair(context, models[:2])
    printed = [row for row in report.tables[0].lines if not isinstance(row, str)]
    for row, share in zip(printed, report.content["shares"], strict=True):
        for cell, name in zip(row[1:4], ("first", "second", "difference"), strict=True):
            assert (cell == "–") == (share[name] is None)
            assert share[name] is None or float(cell.removeprefix("≤")) == pytest.approx(share[name], abs=0.005001)


def test_outcomes_are_named_in_the_order_of_the_decision():
    assert OUTCOME_NAMES[0] == "correct"
    assert OUTCOME_NAMES[-1] == "model_failure"


def test_a_model_is_compared_with_a_file(call, small):
    """Nothing of the file is kept."""
    pd.DataFrame({"file": ["ILSVRC2012_val_00000001.JPEG"], "prediction": [3]}).to_csv(small / "b.csv", index=False)
    files = [f"{path.parent.name}/{path.stem}" for path in sorted((small / "imagenet").glob("*/*"))]
    names = np.load(small / "imagenet/samples_info.npz")["sample_files"]
    pd.DataFrame({"file": names, "prediction": [1, 5]}).to_csv(small / "b.csv", index=False)
    done = call("report", "--model", "me/mine", "--compare", small / "b.csv", "--artefacts_dir", small)
    assert done.status == 0, done.stderr
    assert done.stdout.startswith("me--mine (first) and b (second): imagenet, 2 unproblematic images")
    assert "the second model fixes 0 errors of the first and makes 1" in done.stdout.replace("\n", " ")
    kept = [f"{path.parent.name}/{path.stem}" for path in sorted((small / "imagenet").glob("*/*"))]
    assert set(kept) - set(files) == {"me--mine/errors_analysis"}


def test_files_of_one_name_are_refused(call, small):
    for folder in ("one", "two"):
        (small / folder).mkdir()
        (small / folder / "b.csv").write_text("file,prediction\n")
    flags = ("--predictions", small / "one/b.csv", "--compare", small / "two/b.csv")
    assert refused(call("report", *flags, "--artefacts_dir", small), "b is given twice")
