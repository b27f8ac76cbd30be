"""The open-world test without CLIP, from an archive of one model: of four images it tells two and closes a gate."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from imagenet_errors.analysis import study
from imagenet_errors.analysis.analysis_cache import AnalysisCache
from imagenet_errors.analysis.archived_open_world import load
from imagenet_errors.analysis.context import load_context
from imagenet_errors.errors import InputError
from imagenet_errors.formats import error_analyses
from imagenet_errors.paper_archive import archive_contents, archived_outcomes, convert, export
from imagenet_errors.paths import Artefacts
from tests.conftest import FILES, annotate, refused
from tests.helpers.analyses import read_joined
from tests.helpers.archives import pack
from tests.helpers.synthetic_clip import Made

SWING, TRIPOD = 843, 872
IMAGES = [*FILES, "n01484850/ILSVRC2012_val_00002338.JPEG", "n01491361/ILSVRC2012_val_00003735.JPEG"]
YES, NO, CLOSED, UNKNOWN = range(4)  # what is known of a swing on each of them
MINE, OLD, TABLE = "me--mine", "old--one", "imagenet/open_world_outcomes.parquet"
ANALYSE, COLLECT, ARCHIVE = "--perform_error_analysis", "--collect_results", ("--open_world", "archive")
TESTED = ["out_of_vocabulary", "model_failure", "model_failure", "out_of_vocabulary"]
COVERAGE = (
    "open-world test: of 4 distinct errors that reach the test 1 have a closed gate, 2 a recorded outcome, 1 are"
    " unknown: types after the test are bounds"
)


def make_folder(folder, models: dict[str, list[int]]):
    """Four annotated images, few superclasses, which are quickly made, and predictions."""
    for name in ("annotations", "imagenet"):
        (folder / name).mkdir(parents=True)
    annotate(folder, {file: {"correct": [file.split("/")[0]]} for file in IMAGES})
    (folder / "superclasses.json").write_text('{"dogs": [["dog"]]}')
    for model, top1 in models.items():
        (folder / "imagenet" / model).mkdir()
        np.savez(folder / "imagenet" / model / "preds.npz", top1=np.array(top1))
    np.savez(folder / "imagenet/samples_info.npz", sample_files=IMAGES, targets=range(4))
    return folder


def make_clip(folder) -> None:
    """The third gate is closed; the first and the last image show a seesaw, which is no class."""
    indices = np.full((4, 50), SWING)
    indices[CLOSED] = TRIPOD
    seesaw = "A photo of a seesaw"
    Made.of(IMAGES, indices).like(YES, seesaw).like(NO, "A photo of a swing").like(UNKNOWN, seesaw).write(folder)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """{predictions on the last image: a folder with the converted archive of a model with these}."""
    folder, made = tmp_path_factory.mktemp("archives"), {}
    models = {last: f"old--{last}" for last in (3, SWING)}
    direct = make_folder(folder / "direct", {model: [SWING, SWING, 2, last] for last, model in models.items()})
    make_clip(direct)
    context = load_context(Artefacts(direct), "imagenet")
    study.perform_error_analysis(study.load_models(context), with_neighbours=True, jobs=1)
    for last, model in models.items():
        artefacts = Artefacts(make_folder(folder / model, {}))
        content, _ = export._export(Artefacts(direct), "imagenet", model)
        pack(artefacts.archive("imagenet"), {f"imagenet/{OLD}/errors_analysis.pkl": content})
        convert.Conversion(artefacts, "imagenet", True).convert(OLD, content, False)
        archive_contents.write_contents(artefacts, "imagenet", {OLD: hashlib.sha256(content).hexdigest()})
        assert archived_outcomes.update(artefacts, "imagenet")
        made[last] = artefacts.root
    return made


@pytest.fixture
def here(archives, tmp_path):
    """The archive that lacks the last pair, and predictions of another model."""
    folder = shutil.copytree(archives[3], tmp_path / "artefacts")
    (folder / "imagenet" / MINE).mkdir()
    np.savez(folder / "imagenet" / MINE / "preds.npz", top1=np.full(4, SWING))
    return folder


@pytest.fixture
def run(quick, here):
    return lambda *flags: quick("evaluation", "--artefacts_dir", here, "--results_dir", here / "results", *flags)


def stored(folder, *columns):
    table = read_joined(folder / "imagenet" / MINE / "errors_analysis.parquet", list(columns))
    return [tuple(row.values()) for row in table.to_pylist()]


def make_official(folder) -> None:
    """The folder's own table of downloads names its archive."""
    archive = folder / "models-imagenet.tar.gz"
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    row = f"artefacts,archive,http://127.0.0.1:9/,{archive.name},{sha256},theirs"
    (folder / "downloads.csv").write_text(f"name,what,url,path,sha256,description\n{row}\n")


def explain(run, image, *flags) -> list[str]:
    done = run("--explain", IMAGES[image], "--model", MINE, *flags)
    assert done.status == 0, done.stderr
    return done.stdout.splitlines()


# --- what is decided --------------------------------------------------------------------------------------------------


def test_recorded_pairs_and_closed_gates_are_decided_and_others_provisional(here, run):
    done = run(ANALYSE, COLLECT, *ARCHIVE)
    assert done.status == 0, done.stderr
    found = stored(here, "error_type", "provisional", "num_prompts", "top5")
    assert [row[:2] for row in found] == [*((name, False) for name in TESTED[:3]), ("model_failure", True)]
    assert [row[2] for row in found] == [136, None, 0, None]
    assert [len(row[3]) if row[3] else row[3] for row in found] == [5, None, [], None]
    assert (found[YES][3][0]["offset"], found[YES][3][0]["lemma"]) == (4167759, "seesaw")
    assert COVERAGE in done.stderr.splitlines()
    line = next(line for line in done.stdout.splitlines() if line.startswith(MINE))
    assert ("≥1 (25.0%)" in line, "≤3 (75.0%)" in line) == (True, True)


def test_cells_that_depend_on_unknown_outcomes_are_empty(here, run):
    run(ANALYSE, COLLECT, *ARCHIVE)
    header, *rows = (here / "results/stats-imagenet/non_problematic_stats_all.csv").read_text().splitlines()
    cells = {row.split(",")[0]: dict(zip(header.split(","), row.split(","), strict=False)) for row in rows}
    empty = {name for name, cell in cells[MINE].items() if not cell} - {
        name for name, cell in cells[OLD].items() if not cell
    }
    assert {name for name in empty if name.startswith(("num_", "mla_")) and "params" not in name} == {
        *("num_OOV_clip", "num_not_classified", "mla_all_minor_error", "mla_all_explainable_error"),
        *("mla_group_minor_error", "mla_group_explainable_error"),
    }
    assert (cells[MINE]["num_common_co_occ"], cells[OLD]["num_OOV_clip"]) == ("0", "1")


def test_all_is_known_where_the_archive_tells_of_every_pair(here, run, archives):
    shutil.copy(archives[SWING] / TABLE, here / TABLE)
    done = run(ANALYSE, COLLECT, "--list_most_common_errors", *ARCHIVE)
    assert "3 a recorded outcome, none is unknown" in done.stderr
    assert [row[0] for row in stored(here, "error_type")] == TESTED
    assert not any(word in done.stdout + done.stderr for word in ("≤", "≥", "provisional", "skipped", "bounds"))


def test_gates_of_other_superclasses_are_not_used(here, run):
    (here / "superclasses.json").write_text('{"dogs": [["dog"]], "birds": [["bird"]]}')
    done = run(ANALYSE, *ARCHIVE)
    assert f"{here / TABLE} was made with other superclasses than those here" in done.stderr
    assert "0 have a closed gate, 2 a recorded outcome, 2 are unknown" in done.stderr


def test_superclasses_other_than_the_archives_are_warned_of(here, run, monkeypatch):
    monkeypatch.setattr(archived_outcomes, "_count_regrouped", lambda *_: 5)
    (here / TABLE).unlink()
    archived_outcomes.update(Artefacts(here), "imagenet")
    assert f"{here / TABLE} is of analyses that put 5 classes in other superclasses" in run(ANALYSE, *ARCHIVE).stderr


# --- which outcomes are taken, and when they are stale ----------------------------------------------------------------


def test_auto_takes_the_official_archives_outcomes_and_no_others(here, run):
    done = run(ANALYSE)
    assert "give --open_world archive to take what archived analyses tell" in done.stderr
    assert all(provisional for (provisional,) in stored(here, "provisional"))
    make_official(here)
    done = run(ANALYSE)
    assert COVERAGE in done.stderr
    assert "me--mine: analysed again" in done.stderr


def test_auto_prefers_the_test_itself(here, run):
    make_official(here)
    make_clip(here)
    done = run(ANALYSE)
    assert "archived analyses" not in done.stderr
    assert [row[0] for row in stored(here, "error_type")] == TESTED


def test_outcomes_of_the_test_stand_without_its_files_unless_an_archive_is_asked_for(here, run):
    make_official(here)
    make_clip(here)
    run(ANALYSE)
    for name in ("clip_text_embeddings.npz", "imagenet/clip_image_embeddings.npz", "imagenet/valid_clip_knn.npz"):
        (here / name).unlink()
    assert "2 kept" in run(ANALYSE).stderr
    assert any("Of 136 names" in line for line in explain(run, UNKNOWN))
    assert "me--mine: analysed again because its inputs have changed" in run(ANALYSE, *ARCHIVE).stderr
    assert stored(here, "provisional")[UNKNOWN] == (True,)


def test_another_table_makes_analyses_stale(here, run, archives):
    run(ANALYSE, *ARCHIVE)
    assert "2 kept" in run(ANALYSE, *ARCHIVE).stderr
    shutil.copy(archives[SWING] / TABLE, here / TABLE)
    assert "was made from other predictions, labels, superclasses or CLIP files" in run(COLLECT, *ARCHIVE).stderr
    assert "me--mine: analysed again" in run(ANALYSE, *ARCHIVE).stderr
    assert stored(here, "error_type", "provisional")[UNKNOWN] == ("out_of_vocabulary", False)


# --- explanations and reports -----------------------------------------------------------------------------------------


def test_explanation_says_what_an_archive_tells(here, run):
    run(ANALYSE, *ARCHIVE)
    with_table = [explain(run, image, *ARCHIVE) for image in range(4)]
    assert any(
        line.startswith("Of 136 names for what the image shows the best fits are seesaw") for line in with_table[YES]
    )
    assert "The open-world test says no; an archive stores no proposals for a no." in with_table[NO]
    assert any("no near training image is of a class" in line for line in with_table[CLOSED])
    unknown = "The archive has no outcome of the open-world test for this prediction: what follows is provisional."
    assert unknown in with_table[UNKNOWN]
    (here / TABLE).unlink()
    assert [explain(run, image) for image in range(4)] == with_table


def test_report_gives_bounds(here, quick):
    file = here.parent / "mine.csv"
    file.write_text("\n".join(["file,prediction", *(f"{name},{SWING}" for name in IMAGES), ""]))
    where = ("--artefacts_dir", here, "--format", "json", *ARCHIVE)
    stored_ones = quick("report", "--model", MINE, *where)
    of_file = quick("report", "--predictions", file, *where)
    reports = [json.loads(done.stdout) for done in (stored_ones, of_file)]
    for content in reports:
        assert content["open_world"] == {"closed": 1, "recorded": 2, "unknown": 1}
        lines = {line["error_type"]: line for line in content["error_types"] if line["group"] == "all"}
        counts = {name: (line["count"], line["low_count"], line["high_count"]) for name, line in lines.items()}
        assert counts["out_of_vocabulary"] == (None, 1, 2)
        assert counts["model_failure"] == (None, 2, 3)
        assert counts["spurious_correlation"] == (0, 0, 0)
        assert lines["out_of_vocabulary"]["share"] is None
    assert reports[0]["error_types"] == reports[1]["error_types"]
    text = quick("report", "--model", MINE, "--artefacts_dir", here, *ARCHIVE).stdout
    assert "1–2 25.0–50.0" in " ".join(text.split())
    assert "of 4 errors that reach the test 1 have a closed gate" in " ".join(text.split())


def test_comparisons_and_lists_say_that_outcomes_are_unknown(here, run, quick):
    done = run(ANALYSE, "--list_most_common_errors", *ARCHIVE)
    assert re.search(
        "lists of .*model_failure are provisional: 1 of 2 models without some of its outcomes", done.stderr
    )
    assert "without the open-world test" not in done.stderr
    where = ("--artefacts_dir", here, "--format", "json", *ARCHIVE)
    content = json.loads(quick("report", "--model", MINE, "--compare", OLD, *where).stdout)
    assert content["is_provisional"]
    shares = {one["share"]: one for one in content["shares"]}
    assert (shares["out_of_vocabulary"]["first"], shares["model_failure"]["is_bound"]) == (None, True)


def test_mistakes_of_unknown_outcomes_are_not_compared_with_experts(here, run):
    mistake = {"top_prediction": SWING, "failure category": "Fine-grained error with OOV", "failure severity": "Minor"}
    for name in ("vit3b", "greedy_soups"):
        mistakes = {file.split("/")[1]: mistake for file in IMAGES}
        (here / "annotations" / f"{name}_mistakes.json").write_text(json.dumps(mistakes))
    done = run("--compare_with_experts", *ARCHIVE)
    assert done.status == 0, done.stderr
    assert "2 whose outcome of the open-world test is not known" in done.stdout + done.stderr


def test_unknown_outcomes_stay_unknown_in_an_exported_archive(here, run, tmp_path):
    run(ANALYSE, *ARCHIVE)
    exported = Artefacts(make_folder(tmp_path / "exported", {}))
    export.export(Artefacts(here), "imagenet", [MINE], exported.archive("imagenet"), 1)
    convert.convert(exported, "imagenet", 1)
    path = exported.analysis("imagenet", MINE)
    analysis = error_analyses.read(path, MINE)
    assert analysis.provisional.tolist() == [False, False, False, True]
    assert not analysis.open_world_skipped
    assert error_analyses.read_outcome(path, UNKNOWN) is None


# --- bad input --------------------------------------------------------------------------------------------------------


def test_missing_table_is_refused_with_advice_that_fits(here, run, tmp_path):
    (here / TABLE).unlink()
    explained = ("--explain", IMAGES[YES], "--model", MINE)
    advice = "download_artefacts.py --convert_archives --dataset imagenet makes it"
    assert refused(run(*explained, *ARCHIVE), here / TABLE, "is missing", advice)
    (here / "models-imagenet.tar.gz").unlink()
    assert refused(run(*explained, *ARCHIVE), advice)
    shutil.rmtree(here / "imagenet" / OLD)
    assert refused(run(*explained, *ARCHIVE), here / TABLE, "--what archive")
    with pytest.raises(InputError, match="there is no archive of these images: give --open_world clip or skip"):
        load(Artefacts(tmp_path), "sample", None, None, AnalysisCache(Artefacts(tmp_path), "sample"), True)


def test_damaged_table_is_refused_with_one_line(here, run, quick):
    whole = (here / TABLE).read_bytes()
    for damaged in (whole[:-9], whole[:500] + b"x" + whole[501:], b""):
        (here / TABLE).write_bytes(damaged)
        done = run("--explain", IMAGES[YES], "--model", MINE, *ARCHIVE)
        assert refused(done, here / TABLE, "damaged", "--convert_archives --dataset imagenet")
    assert refused(quick("report", "--model", MINE, "--artefacts_dir", here, *ARCHIVE), here / TABLE, "damaged")
