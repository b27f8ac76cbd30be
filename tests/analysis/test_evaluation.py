"""evaluation.py over several runs: what is kept, what is made again, what is reported."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from imagenet_errors.analysis.reports import BOUND_NOTE
from imagenet_errors.paths import REPOSITORY
from tests.conftest import FILES, annotate, refused, run_script


@pytest.fixture
def stored(small):
    return small / "imagenet" / "me--mine" / "errors_analysis.parquet"


def test_current_analysis_is_kept(analyse, stored):
    analyse()
    before = stored.stat().st_mtime_ns
    assert "1 kept" in analyse().stderr
    assert stored.stat().st_mtime_ns == before


@pytest.mark.parametrize("kept", [0, 4, 700, -1])
def test_truncated_analysis_is_made_again(analyse, stored, kept):
    analyse()
    whole = stored.read_bytes()
    stored.write_bytes(whole[:kept])
    skipping = analyse("--collect_results")
    assert refused(skipping, stored, "run evaluation.py --perform_error_analysis")
    assert f"skipped me--mine: {stored} is damaged" in skipping.stderr
    assert "analysed again" in analyse().stderr
    assert stored.read_bytes() == whole


def test_analysis_with_damaged_rows_is_made_again(analyse, stored):
    analyse()
    whole = stored.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    stored.write_bytes(whole[:4] + bytes(len(whole) - 4 - footer) + whole[-footer:])
    done = analyse()
    assert done.status == 0
    assert "me--mine: analysed again because" in done.stderr
    assert stored.read_bytes() == whole


@pytest.mark.parametrize("changed", ["predictions", "annotations", "superclasses"])
def test_stale_analysis_is_made_again(analyse, small, stored, changed):
    analyse()
    before = stored.read_bytes()
    if changed == "predictions":
        np.savez(stored.with_name("preds.npz"), top1=np.array([0, 1]))
    elif changed == "annotations":
        annotate(small, {FILES[0]: {"correct": ["n01440764"]}, FILES[1]: {"correct": ["n01443537"]}})
    else:
        (small / "superclasses.json").write_text('{"fish": [["fish"]]}')
    assert refused(
        analyse("--collect_results"), stored, "was made from other predictions, labels, superclasses or CLIP files"
    )
    assert "me--mine: analysed again because its inputs have changed" in analyse().stderr
    assert stored.read_bytes() != before


def test_newer_schema_is_not_overwritten(analyse, stored):
    analyse()
    table = pq.read_table(stored)
    pq.write_table(table.replace_schema_metadata({"schema_version": "99"}), stored)
    before = stored.read_bytes()
    assert refused(analyse(), stored, "schema 99, newer than")
    assert stored.read_bytes() == before


def test_missing_metadata_are_unknown_in_the_table(analyse, small, stored):
    stored.with_name("metadata.json").unlink()
    assert analyse().status == 0
    row = pd.read_csv(small / "results" / "stats-imagenet" / "non_problematic_stats_all.csv").iloc[0]
    assert row[["training_data", "arch", "arch_family", "arch_group"]].tolist() == ["unknown"] * 4
    assert np.isnan(row["num_params"])
    assert row["extra_annotations"] == "[]"
    assert row["top1_val_acc"] == row["imagenet_top1_val_acc"] == 50
    assert row["imagenet_mla_val_acc"] == row["mla_all"]


def test_group_of_an_unlisted_architecture_is_unknown(analyse, small, stored):
    stored.with_name("metadata.json").write_text(json.dumps({"arch": "nasnet"}))
    analyse()
    table = pd.read_csv(small / "results" / "stats-imagenet" / "non_problematic_stats_all.csv")
    assert table["arch_group"].tolist() == ["unknown"]


def test_explanation_goes_with_the_other_steps(analyse, small):
    done = analyse("--perform_error_analysis", "--collect_results", "--explain", FILES[0], "--model", "me/mine")
    assert f"{FILES[0]}, me/mine: correct" in done.stdout
    assert (small / "results" / "stats-imagenet" / "non_problematic_stats_all.csv").exists()


def test_list_of_a_skipped_error_type_is_refused(analyse):
    done = analyse("--perform_error_analysis", "--list_most_common_errors", "--error_type", "fg-OOV")
    assert refused(done, "fg-OOV", "open-world test was skipped")


def test_paths_of_lists_are_printed_and_on_request_their_texts(analyse, small):
    paths, texts = (
        analyse("--perform_error_analysis", "--list_most_common_errors", *flags).stdout.partition("\nimagenet: ")[0]
        for flags in ((), ("--print",))
    )
    written = [small / line for line in paths.splitlines()]
    assert sorted(written) == sorted((small / "results" / "common_error_samples").glob("*.txt"))
    assert texts == "".join(path.read_text() for path in written)
    assert "1) cnt mistakes = 1" in texts


def test_lists_are_written_though_the_reader_of_stdout_leaves_early(twelve, tmp_path):
    """`evaluation.py --list_most_common_errors | head -1`: all lists are written all the same."""
    shutil.copytree(twelve / "annotations", tmp_path / "annotations")
    shutil.copytree(twelve / "imagenet" / "keras--xception", tmp_path / "imagenet" / "keras--xception")
    shutil.copy(twelve / "imagenet" / "samples_info.npz", tmp_path / "imagenet")
    steps = "--perform_error_analysis --list_most_common_errors"
    command = (
        f"{sys.executable} src/evaluation.py {steps} --artefacts_dir {tmp_path} --results_dir {tmp_path} | head -1"
    )
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "common_error_samples").glob("*.txt"))) == 6


@pytest.mark.filterwarnings("ignore:Glyph")  # Matplotlib's font lacks these characters
@pytest.mark.parametrize("name", ["a$b^$ x", "模型", "two words 'quoted'"])
def test_model_name_may_hold_any_characters(call, small, name):
    shutil.move(small / "imagenet" / "me--mine", small / "imagenet" / name)
    steps = ("--perform_error_analysis", "--collect_results")
    done = call("evaluation", "--artefacts_dir", small, "--results_dir", small / "results", *steps)
    assert done.status == 0, done.stderr
    assert name in done.stdout


def test_terminal_without_unicode_gets_question_marks(small):
    folders = ("--artefacts_dir", small, "--results_dir", small / "results")
    done = run_script("evaluation", "--perform_error_analysis", *folders, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "?0 (0.0%)" in done.stdout


def test_skipped_open_world_test_is_reported(call, small):
    steps = ("--perform_error_analysis", "--collect_results")
    done = call("evaluation", "--artefacts_dir", small, "--results_dir", small / "results", *steps)
    assert "the open-world test is skipped" in done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("me--mine"))
    assert (row.count("≤"), row.count("–")) == (3, 1)
    assert BOUND_NOTE in " ".join(done.stdout.split())
    assert (small / "results" / "figures" / "imagenet" / "error_types.png").read_bytes()[:4] == b"\x89PNG"


def test_out_of_vocabulary_list_is_not_written_without_the_open_world_test(analyse, small):
    assert "fg-OOV: not listed" in analyse("--perform_error_analysis", "--list_most_common_errors").stderr
    listed = {path.name for path in (small / "results" / "common_error_samples").glob("*.txt")}
    assert len(listed) == 6
    assert "most_common_fg-OOV.txt" not in listed


def test_interrupted_write_leaves_no_temporary_file(small, monkeypatch):
    from imagenet_errors import files

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(small / "table.csv", "half")
    assert not list(small.glob("*table*"))
