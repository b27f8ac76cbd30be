"""Profiles: counts and shares are those of the tables, places those of the reference, all formats say the same."""

import csv
import io
import json
import re
import tomllib

import numpy as np
import pandas as pd
import pytest

from imagenet_errors import __version__
from imagenet_errors.analysis.analysed_models import analyse_files
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.profile import make_profile
from imagenet_errors.analysis.profile_report import report_profile
from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.analysis.reports import FORMATS
from imagenet_errors.analysis.shares import ERROR_NAMES
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.error_types import ERROR_CODES, ERROR_TYPES
from imagenet_errors.formats.error_analyses import read
from imagenet_errors.paths import PUBLISHED_TABLES, Artefacts
from tests.conftest import ROOT, refused

MODELS = ("imagenetx--ViT", "pytorch--resnet50", "pytorch--alexnet")


@pytest.fixture(scope="module")
def profiles(analysed):
    from imagenet_errors.analysis.context import load_context

    context, reference = load_context(Artefacts(analysed / "artefacts"), "imagenet"), load_reference("imagenet")
    models = analyse_files([ModelFiles(context, model) for model in MODELS])
    return {model.name: make_profile(context, model, reference) for model in models}


@pytest.mark.parametrize("model", MODELS)
def test_counts_are_those_of_the_stats_tables(profiles, analysed, model):
    profile = profiles[model]
    for group in GROUPS:
        table = pd.read_csv(analysed / f"results/stats-imagenet/non_problematic_stats_{group}.csv")
        row = table[table.model_dir_id == model].iloc[0]
        lines = [line for line in profile.lines if line.group == group]
        assert [line.error_type for line in lines] == list(ERROR_NAMES)
        for code, line in zip(ERROR_CODES, lines, strict=True):
            count = row[ERROR_TYPES[code].column]
            assert np.isnan(count) == (line.count is None or line.is_bound)
            assert np.isnan(count) or line.count == count
        assert lines[0].total == row.num_group_top1_errors
        assert lines[2].total == row.num_group_top1_errors - row.num_collapsed_mappings - row.num_ambiguous
    assert profile.multi_label_accuracy == row.mla_all


def test_known_shares_are_placed_and_others_say_why_not(profiles):
    for profile in profiles.values():
        for line in profile.lines:
            assert (line.place is None) == bool(line.no_place)
            assert (line.place is None) == (line.p_value is None)
            assert line.place is None or not line.is_bound
            if line.share is not None and not line.is_bound:
                assert line.low <= line.share <= line.high


def test_model_outside_the_range_of_accuracies_has_no_place(shared, profiles):
    lines = profiles["pytorch--alexnet"].lines
    assert all("its MLA is 61." in line.no_place or "skipped" in line.no_place for line in lines)


def test_vision_transformer_of_imagenet_x_stands_out(shared, profiles):
    sentence = "Fine-grained errors are 3.1 points above the 150 models nearest in MLA; 149 of them make fewer."
    assert sentence in profiles["imagenetx--ViT"].sentences
    assert not [line for line in profiles["pytorch--resnet50"].lines if line.group == "all" and line.stands_out]


def test_formats_print_the_same_numbers(profiles):
    """Numbers of text, Markdown and LaTeX are those of CSV and JSON, rounded."""
    profile = profiles["imagenetx--ViT"]
    texts = {name: write(report_profile(profile)) for name, write in FORMATS.items()}
    content = json.loads(texts["json"])
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert len(rows) == len(content["error_types"]) == len(GROUPS) * len(ERROR_NAMES)
    for row, entry in zip(rows, content["error_types"], strict=True):
        assert row == {"model": "imagenetx--ViT"} | {key: "" if v is None else str(v) for key, v in entry.items()}
    printed = [re.findall(r"[\d.,]+", line)[:2] for line in texts["text"].splitlines() if line.startswith("fine-gr")]
    expected = [row for row in rows if row["error_type"] == "fine_grained"]
    assert printed == [[f"{int(row['count']):,}", f"{float(row['share']):.1f}"] for row in expected]
    cells = {
        name: [
            re.findall(r"[\d.,]+", line) for line in texts[name].splitlines() if re.match(r"(\| )?fine-grained", line)
        ]
        for name in ("text", "markdown", "latex")
    }
    assert cells["text"] == cells["markdown"] == cells["latex"]
    assert max(map(len, texts["text"].splitlines())) <= 80
    assert {"schema_version", "model", "images", "reference", "sentences"} <= set(content)


def test_part_of_the_images_and_other_references_give_no_place(call, shared, tmp_path):
    table = pd.read_csv(shared / "predictions/imagenetx--ViT.csv").iloc[:5000]
    table.to_csv(tmp_path / "part.csv", index=False)
    done = call("report", "--predictions", tmp_path / "part.csv", "--format", "json", "--artefacts_dir", tmp_path)
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["images"] == "5,000 of 50,000 images"
    assert {entry["expected"] for entry in content["error_types"]} == {None}
    assert not (tmp_path / "imagenet").exists()


def test_model_is_reported_with_its_file_kept(call, small):
    for output in ("--output", small / "report.md"), ():
        done = call("report", "--model", "me/mine", "--artefacts_dir", small, "--format", "markdown", *output)
        assert done.status == 0, done.stderr
    assert (small / "report.md").read_text() == done.stdout
    assert "2 images are counted, and 18,692 in the reference" in done.stdout or "| class overlap | 0 |" in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ["give --model, --predictions or --runs; or --page alone"]),
        (("--model", "a", "--predictions", "b.csv"), ["--predictions: not allowed with argument --model"]),
        (("--runs", "me/mine"), ["at least two"]),
        (("--runs", "me/mine", "b", "--compare", "c"), ["go with --model or --predictions"]),
        (("--model", "me/mine", "--compare", "me/mine"), ["me/mine is given twice"]),
        (("--model", "me/mine", "--compare", "yours.csv"), ["unknown model 'yours.csv'"]),
        (("--model", "me/mine", "--model_name", "b"), ["--model_name goes with --predictions"]),
        (("--predictions", "a.csv", "--model_name", "timm/resnet50.a1_in1k"), ["another model's name"]),
        (("--model", "me/yours"), ["unknown model", "me--mine"]),
        (("--model", "me/mine", "--reference", "/nowhere"), ["/nowhere", "is missing"]),
    ],
)
def test_flags_that_do_not_fit_are_refused(call, small, flags, words):
    assert refused(call("report", "--artefacts_dir", small, *flags), *words)


def test_reference_is_the_published_one_by_default(profiles):
    reference = profiles[MODELS[0]].reference
    assert (reference.folder, len(reference.models)) == (PUBLISHED_TABLES, 962)


def test_json_says_what_it_is_made_from(call, small):
    done = call("report", "--model", "me/mine", "--artefacts_dir", small, "--format", "json")
    content = json.loads(done.stdout)
    assert content["made_from"]["version"] == __version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    stored = read(small / "imagenet/me--mine/errors_analysis.parquet", "me--mine").fingerprints
    assert content["made_from"]["fingerprints"] == {"me--mine": stored}
    assert content["reference"]["fingerprint"] == load_reference("imagenet").fingerprint
    assert content["reference"]["folder"] == "artefacts/published"
