"""An archive of all models but one: what it tells of that one's errors is what the test itself says, every time."""

import shutil

import numpy as np
import pytest

from imagenet_errors.analysis.analysed_models import analyse_predictions
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.pairs import decide_pairs, find_distinct
from imagenet_errors.dataset.samples import read_samples
from imagenet_errors.error_types import CODES
from imagenet_errors.formats import error_analyses
from imagenet_errors.formats.predictions import Predictions, read_top1
from imagenet_errors.paper_archive import archived_outcomes, convert
from imagenet_errors.paths import Artefacts
from tests.conftest import run_script
from tests.helpers.analyses import read_joined
from tests.helpers.archives import read_tables
from tests.helpers.synthetic_clip import Made, gates

FEW = ("pytorch--densenet121", "pytorch--resnet18", "pytorch--resnet50")
STEPS = ("--perform_error_analysis", "--collect_results", "--list_most_common_errors")
FOUND = CODES["out_of_vocabulary"]


def make_direct(twelve, folder, models, rows) -> None:
    """Some images of some of the twelve, with synthetic embeddings."""
    samples = read_samples(Artefacts(twelve), "imagenet")
    top1 = np.array([read_top1(twelve / "imagenet" / model / "preds.npz", samples) for model in models])
    shutil.copytree(twelve / "annotations", folder / "annotations")
    for model, of_model in zip(models, top1, strict=True):
        (folder / "imagenet" / model).mkdir(parents=True)
        np.savez(folder / "imagenet" / model / "preds.npz", top1=of_model[rows])
        shutil.copy(twelve / "imagenet" / model / "metadata.json", folder / "imagenet" / model)
    np.savez(folder / "imagenet/samples_info.npz", sample_files=samples.files[rows], targets=samples.targets[rows])
    Made.of(samples.files[rows], gates(top1[:, rows])).write(folder)


def make_archive(call, direct, path, left_out=()) -> None:
    for model in left_out:
        (direct / "imagenet" / model).rename(direct / model)
    done = call("download_artefacts", "--export_archive", path, "--artefacts_dir", direct, "--jobs", 1)
    assert done.status == 0, done.stderr
    for model in left_out:
        (direct / model).rename(direct / "imagenet" / model)


def make_new(call, direct, archive, folder, models) -> None:
    """A folder with an archive, converted, and predictions of models."""
    folder.mkdir()
    shutil.copy(archive, folder / "models-imagenet.tar.gz")
    assert call("download_artefacts", "--convert_archives", "--artefacts_dir", folder, "--jobs", 1).status == 0
    shutil.copytree(direct / "annotations", folder / "annotations")
    shutil.copy(direct / "imagenet/samples_info.npz", folder / "imagenet")
    for model in models:
        put_predictions(direct, folder, model)


def put_predictions(direct, folder, model) -> None:
    (folder / "imagenet" / model).mkdir()
    for name in ("preds.npz", "metadata.json"):
        shutil.copy(direct / "imagenet" / model / name, folder / "imagenet" / model)


def evaluate(call, folder, open_world):
    where = ("--artefacts_dir", folder, "--results_dir", folder / "results", "--jobs", 1)
    done = call("evaluation", *STEPS, "--open_world", open_world, *where)
    assert done.status == 0, done.stderr
    return done


def list_texts(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "results/common_error_samples").glob("*.txt"))}


def check_smaller_gates(told, direct) -> None:
    """Verdicts on every pair with five neighbours are those of the test; fewer are yes than with ten."""
    archived = load_context(Artefacts(told), "imagenet", open_world="archive")
    tested = load_context(Artefacts(direct), "imagenet", open_world="clip")
    paths = [told / "imagenet" / model / "preds.npz" for model in FEW]
    top1 = [read_top1(path, archived.samples)[archived.images.rows] for path in paths]
    keys = find_distinct(top1, len(archived.images))
    of_five, of_ten = (decide_pairs(archived, keys, size) for size in archived.open_world.gate_sizes)
    assert np.array_equal(of_five.decisions.error_types, decide_pairs(tested, keys, 5).decisions.error_types)
    assert of_five.verdicts.is_known.all()
    assert 0 < of_five.verdicts.is_out_of_vocabulary.sum() < of_ten.verdicts.is_out_of_vocabulary.sum()


def test_covered_verdicts_are_those_of_the_test_and_complete_ones_give_its_tables(twelve, context, quick, tmp_path):
    """Three models on 700 images: the third from an archive of the others, then from one of all."""
    direct, held = tmp_path / "direct", FEW[-1]
    make_direct(twelve, direct, FEW, context.images.rows[::29])
    evaluate(quick, direct, "clip")
    path = f"imagenet/{held}/errors_analysis.parquet"
    of_test = read_joined(direct / path).to_pylist()

    make_archive(quick, direct, tmp_path / "two.tar.gz", [held])
    make_new(quick, direct, tmp_path / "two.tar.gz", tmp_path / "new", [held])
    done = evaluate(quick, tmp_path / "new", "archive")
    told = read_joined(tmp_path / "new" / path).to_pylist()
    known = [(ours, theirs) for ours, theirs in zip(told, of_test, strict=True) if not ours["provisional"]]
    columns = ("img_rel_path", "top1", "note", "error_type", "matching", "superclasses")
    assert [[ours[name] for name in columns] for ours, _ in known] == [
        [his[name] for name in columns] for _, his in known
    ]
    recorded = 0
    for ours, theirs in known:
        if ours["error_type"] == "out_of_vocabulary":
            recorded += 1
            assert ours["num_prompts"] == theirs["num_prompts"]
            assert [list(best.values())[:2] for best in ours["top5"]] == [
                list(best.values())[:2] for best in theirs["top5"]
            ]
            assert [one["score"] for one in ours["top5"]] == pytest.approx(
                [one["score"] for one in theirs["top5"]], abs=6e-5
            )
        elif ours["num_prompts"] == 0:
            assert theirs["num_prompts"] == 0
    unknown = len(told) - len(known)
    assert min(recorded, unknown) > 5
    assert f" {unknown} are unknown" in done.stderr

    make_archive(quick, direct, tmp_path / "all.tar.gz")
    make_new(quick, direct, tmp_path / "all.tar.gz", tmp_path / "complete", [])
    (tmp_path / "complete/models-imagenet.tar.gz").unlink()  # or it would be converted again
    for model in FEW:
        shutil.rmtree(tmp_path / "complete/imagenet" / model)
        put_predictions(direct, tmp_path / "complete", model)
    done = evaluate(quick, tmp_path / "complete", "archive")
    assert "none is unknown" in done.stderr
    assert read_tables(tmp_path / "complete/results") == read_tables(direct / "results")
    assert list_texts(tmp_path / "complete") == list_texts(direct)
    check_smaller_gates(tmp_path / "complete", direct)


@pytest.mark.heavy
def test_eleven_models_tell_the_outcomes_of_the_twelfth(twelve, tmp_path, capsys):
    """Each of the twelve in turn, on all images, from the converted archive of the other eleven."""
    models = sorted(path.parent.name for path in twelve.glob("imagenet/*/preds.npz"))
    direct, converted = tmp_path / "direct", Artefacts(tmp_path / "converted")
    samples = read_samples(Artefacts(twelve), "imagenet")
    make_direct(twelve, direct, models, np.arange(len(samples.files)))
    run = lambda *flags: run_script(*flags, "--artefacts_dir", direct)  # noqa: E731
    assert run("evaluation", "--perform_error_analysis").returncode == 0
    assert run("download_artefacts", "--export_archive", tmp_path / "twelve.tar.gz").returncode == 0
    converted.root.mkdir()
    shutil.unpack_archive(tmp_path / "twelve.tar.gz", converted.root, filter="data")
    convert.convert(converted, "imagenet")
    print()
    for held in models:
        artefacts = Artefacts(tmp_path / "eleven" / held)
        shutil.copytree(converted.root, artefacts.root, ignore=shutil.ignore_patterns(held, "*.pkl", "open_world*"))
        shutil.copytree(direct / "annotations", artefacts.root / "annotations")
        shutil.copy(direct / "imagenet/samples_info.npz", artefacts.root / "imagenet")
        assert archived_outcomes.update(artefacts, "imagenet")
        context = load_context(artefacts, "imagenet", open_world="archive")
        top1 = read_top1(direct / "imagenet" / held / "preds.npz", samples)
        model = analyse_predictions(context, held, Predictions(top1))
        of_test = error_analyses.read(direct / "imagenet" / held / "errors_analysis.parquet", held)
        known = ~model.analysis.provisional
        assert np.array_equal(model.analysis.error_types[known], of_test.error_types[known])
        assert model.coverage.recorded > 300
        with capsys.disabled():
            size = artefacts.open_world_outcomes("imagenet").stat().st_size
            share = 100 * model.coverage.recorded / (model.coverage.recorded + model.coverage.unknown)
            print(f"{held}: {model.coverage.describe()}; {share:.1f} % of open gates; {size:,} bytes")
        shutil.rmtree(artefacts.root)
