"""The open-world test over whole arrays and through files, against a plain one image at a time."""

import ast
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.analysis.open_world import OpenWorld
from imagenet_errors.dataset.samples import read_samples
from imagenet_errors.formats.predictions import read_top1
from imagenet_errors.paths import Artefacts
from tests.conftest import run_script
from tests.helpers import plain_decision
from tests.helpers.analyses import make_images, read_joined
from tests.helpers.plain_facts import plain_annotations, plain_spurious_pairs, plain_superclasses, read_non_prototypical
from tests.helpers.plain_open_world import CLOSED, World
from tests.helpers.synthetic_clip import Made, gates, proposer, train_files, write_train

STEPS = ("--perform_error_analysis", "--collect_results", "--count_spurious_correlation_pairs")
STEPS = (*STEPS, "--list_most_common_errors", "--print")


@pytest.fixture(scope="module")
def world(classes) -> World:
    return World(classes.wnids, plain_superclasses())


# --- a few pairs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(world) -> list[tuple[int, int]]:
    """(prediction, target) of 300 images."""
    drawn = np.random.default_rng(5).integers(0, 1000, (400, 2)).tolist()
    return [(pred, target) for pred, target in drawn if not world.share(pred, target)][:300]


@pytest.fixture(scope="module")
def few(pairs) -> Made:
    """Images of these targets, whose nearest training image has the predicted class."""
    indices = np.random.default_rng(6).integers(0, 1000, (len(pairs), 50))
    indices[:, 0] = [pred for pred, _ in pairs]
    return Made.of([f"n/{row}" for row in range(len(pairs))], indices)


def open_world_of(made: Made, targets) -> OpenWorld:
    images = make_images(
        made.files, targets, [[target] for target in targets], [False] * len(targets), [False] * len(targets)
    )
    embedded, nearest, texts = made.parts()
    return OpenWorld.of(proposer(), images, embedded, nearest, texts)


def outcomes(tested: OpenWorld, rows, predictions) -> list[tuple]:
    """(verdict, number of prompts, [(offset, lemma)], scores) of each pair."""
    verdicts = tested.test(np.array(rows), np.array(predictions))
    return [
        (
            bool(verdicts.is_out_of_vocabulary[row]),
            int(verdicts.num_prompts[row]),
            [tested.names[position] for position in verdicts.best[row] if position >= 0],
            verdicts.scores[row][verdicts.best[row] >= 0].tolist(),
        )
        for row in range(len(rows))
    ]


def check_against_plain(world, made, pairs) -> list:
    """Compare outcomes with plain ones, in random order; returns the plain ones."""
    order = np.random.default_rng(7).permutation(len(pairs)).tolist()
    found = outcomes(open_world_of(made, [target for _, target in pairs]), order, [pairs[row][0] for row in order])
    embedding_of, plain = made.embedding_of, []
    for row, (outcome, num_prompts, best, scores) in zip(order, found, strict=True):
        plain.append(world.decide(made.images[row], made.near[row].tolist(), *pairs[row], embedding_of))
        names, expected = [(offset, lemma) for offset, lemma, _ in plain[-1].best], [s for *_, s in plain[-1].best]
        assert (outcome, num_prompts) == (plain[-1].is_out_of_vocabulary, plain[-1].num_prompts), pairs[row]
        assert best == names, pairs[row]
        assert scores == pytest.approx(expected, rel=1e-5, abs=1e-12)
    return plain


def test_random_embeddings_are_decided_as_by_plain_code(world, few, pairs):
    plain = check_against_plain(world, few, pairs)
    assert all(verdict.num_prompts for verdict in plain)
    assert 0.2 < np.mean([verdict.is_out_of_vocabulary for verdict in plain]) < 0.8


@pytest.mark.parametrize("number", [1, 2, 7])
def test_ties_of_equal_embeddings_go_to_the_first_prompt(world, few, pairs, number):
    which = np.random.default_rng(8).integers(0, number, len(few.prompts))
    plain = check_against_plain(world, replace(few, texts=few.texts[which]), pairs)
    if number == 1:  # all scores are equal: the prediction itself is first
        assert not any(verdict.is_out_of_vocabulary for verdict in plain)


def test_ties_of_different_embeddings_go_to_the_first_prompt(world, few, pairs):
    """Cosines are exactly 0.25, 0.5 or 0.75, whatever the other coordinates are."""
    texts, images = few.texts.copy(), np.zeros_like(few.images)
    texts[:, 0] = np.random.default_rng(9).integers(1, 4, len(texts)) / 4
    images[:, 0] = 1
    check_against_plain(world, replace(few, texts=texts, images=images), pairs)


def test_image_that_equals_every_prompt_is_in_the_vocabulary(world, few, pairs):
    same = replace(few, texts=np.tile(few.texts[:1], (len(few.texts), 1)), images=np.tile(few.texts[:1], (300, 1)))
    for verdict in check_against_plain(world, same, pairs):
        assert not verdict.is_out_of_vocabulary
        assert [score for *_, score in verdict.best] == pytest.approx([1 / verdict.num_prompts] * len(verdict.best))


def test_text_of_two_synsets_belongs_to_the_first(world, few):
    """Both synsets have equal scores; the first decides whether the image is out of vocabulary."""
    cases = []
    for pred in range(0, 1000, 2):
        lemmas = [lemma for _, lemma in world.prompts(pred, 999 - pred)] if not world.share(pred, 999 - pred) else []
        twin = next((lemma for number, lemma in enumerate(lemmas) if lemma in lemmas[:number]), None)
        cases += [(pred, 999 - pred, twin)] * (twin is not None)
    assert len(cases) > 20
    images = np.array([few.embedding_of[f"A photo of a {twin}"] for *_, twin in cases])
    indices = np.tile(np.array([pred for pred, *_ in cases])[:, None], 50)
    made = replace(few, files=few.files[: len(cases)], images=images, indices=indices)
    plain = check_against_plain(world, made, [(pred, target) for pred, target, _ in cases])
    twins = [verdict.best[:2] for verdict in plain]
    assert all(first[1] == second[1] and first[0] != second[0] for first, second in twins)


def test_fewer_than_five_prompts_give_as_many_proposals(world):
    """A class may share its superclasses with no other."""
    pred, target = min(
        ((pred, target) for pred in range(1000) for target in (0, 999) if not world.share(pred, target)),
        key=lambda pair: len(world.prompts(*pair)),
    )
    assert len(world.prompts(pred, target)) < 5
    made = Made.of(["n/0"], np.full((1, 50), pred))
    plain = check_against_plain(world, replace(made, images=-made.images), [(pred, target)])
    assert len(plain[0].best) == plain[0].num_prompts == len(world.prompts(pred, target))


def test_prompts_are_compared_only_where_one_of_ten_neighbours_shares_a_superclass(few, pairs, world):
    alone = next(row for row, (pred, _) in enumerate(pairs) if sum(world.share(pred, c) for c in range(1000)) == 1)
    pred, target = pairs[alone]
    indices = np.full((2, 50), target)
    indices[0, 10], indices[1, 9] = pred, pred
    tested = open_world_of(Made.of(["n/0", "n/1"], indices), [target, target])
    assert [number > 0 for _, number, _, _ in outcomes(tested, [0, 1], [pred, pred])] == [False, True]


# --- twelve models through files -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(twelve) -> Made:
    samples = read_samples(Artefacts(twelve), "imagenet")
    paths = sorted((twelve / "imagenet").glob("*/preds.npz"))
    return Made.of(samples.files, gates(np.array([read_top1(path, samples) for path in paths])))


@pytest.fixture(scope="module")
def tested(twelve, made, tmp_path_factory):
    """A folder with `artefacts/` (the twelve, analysed with the test), `results/` and what was printed."""
    folder = tmp_path_factory.mktemp("tested")
    shutil.copytree(twelve, folder / "artefacts")
    made.write(folder / "artefacts")
    write_train(folder / "artefacts")
    done = evaluate(folder, *STEPS)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


def evaluate(folder, *flags):
    return run_script(
        "evaluation", *flags, "--artefacts_dir", folder / "artefacts", "--results_dir", folder / "results"
    )


@pytest.fixture(scope="module")
def plain(twelve, made, world):
    """{model: [(decision, verdict or None where the test is not asked)] of the annotated images}, and their rows."""
    accepted, problematic = plain_annotations(twelve)
    non_prototypical, spurious = read_non_prototypical(), plain_spurious_pairs(world.superclasses_of)
    samples = read_samples(Artefacts(twelve), "imagenet")
    targets = samples.targets.tolist()
    names = [file.split("/")[1] for file in made.files]
    rows = [row for row, name in enumerate(names) if name in accepted]
    near, embedding_of, known = made.near.tolist(), made.embedding_of, {}

    def decide(row, pred):
        facts = {"superclasses_of": world.superclasses_of, "spurious_pairs": spurious}
        facts |= {"non_prototypical": names[row] in non_prototypical}
        image = (targets[row], accepted[names[row]], pred)
        decision = plain_decision.decide(*image, **facts)
        if not decision.provisional:
            return decision, None
        verdict = world.decide(made.images[row], near[row], pred, targets[row], embedding_of)
        return plain_decision.decide(*image, **facts, out_of_vocabulary=verdict.is_out_of_vocabulary), verdict

    models = {}
    for path in sorted((twelve / "imagenet").glob("*/preds.npz")):
        top1 = read_top1(path, samples).tolist()
        models[path.parent.name] = [
            known[key] if (key := (row, top1[row])) in known else known.setdefault(key, decide(*key)) for row in rows
        ]
    return models, rows, [names[row] in problematic for row in rows]


def stored(tested, model, *columns):
    path = tested / "artefacts/imagenet" / model / "errors_analysis.parquet"
    return read_joined(path, list(columns)).to_pydict()


def test_stored_error_types_equal_the_plain_ones(tested, plain):
    models, rows, _ = plain
    assert (len(models), len(rows)) == (12, 20_000)
    for model, decided in models.items():
        found = stored(tested, model, "note", "error_type", "matching", "provisional")
        expected = [(d.note, d.error_type, d.matching, False) for d, _ in decided]
        assert list(zip(*found.values(), strict=True)) == expected, model


def test_stored_outcomes_equal_the_plain_ones(tested, plain):
    asked = opened = outside = 0
    for model, decided in plain[0].items():
        found = stored(tested, model, "num_prompts", "top5")
        for (_, verdict), number, best in zip(decided, found["num_prompts"], found["top5"], strict=True):
            if verdict is None:
                assert number is None
                assert best is None
                continue
            names = [(offset, lemma) for offset, lemma, _ in verdict.best]
            assert (number, [(one["offset"], one["lemma"]) for one in best]) == (verdict.num_prompts, names)
            assert [one["score"] for one in best] == pytest.approx([s for *_, s in verdict.best], rel=1e-4)
            asked, opened, outside = asked + 1, opened + (verdict != CLOSED), outside + verdict.is_out_of_vocabulary
    assert 0.2 < opened / asked < 0.9
    assert 0.2 < outside / opened < 0.8


def test_stored_neighbours_are_those_of_the_image(tested, made, plain):
    rows = plain[1]
    for model in ("imagenetx--ViT", "pytorch--vgg16"):
        path = tested / "artefacts/imagenet" / model / "errors_analysis.parquet"
        column = read_joined(path)["neighbours"].combine_chunks()
        assert column.value_lengths().unique().to_pylist() == [10]
        index, target, file = (part.to_numpy(zero_copy_only=False) for part in column.flatten().flatten())
        assert np.array_equal(index.reshape(-1, 10), made.indices[rows, :10])
        assert np.array_equal(target.reshape(-1, 10), made.near[rows, :10])
        assert np.array_equal(file, train_files()[index])


def test_tables_are_complete_after_the_test(tested, plain):
    models, _, problematic = plain
    types = {
        "num_collapsed_mappings": "class_overlap",
        "num_ambiguous": "missing_multi_label",
        "num_same_superclass": "fine_grained",
        "num_common_co_occ": "spurious_correlation",
        "num_non_prototypical": "non_prototypical",
        "num_OOV_clip": "out_of_vocabulary",
        "num_not_classified": "model_failure",
    }
    for group in ("all", "organism", "artifact", "other"):
        table = pd.read_csv(tested / f"results/stats-imagenet/non_problematic_stats_{group}.csv")
        counted = table[[c for c in table.columns if "imagenet-m" not in c and c != "num_params"]]
        assert not counted.isna().any(axis=None)
        assert (table.num_group_samples == table.num_group_correct + table.num_group_top1_errors).all()
        assert (table[list(types)].sum(axis=1) == table.num_group_top1_errors).all()
        assert (table.num_OOV_clip > 0).all()
        for scope in ("all", "group"):
            mla, minor, explained = (
                table[f"mla_{scope}{suffix}"] for suffix in ("", "_minor_error", "_explainable_error")
            )
            assert ((mla < minor) & (minor < explained) & (explained <= 100)).all()
        if group == "all":
            assert list(table.model_dir_id) == list(models)
            for column, name in types.items():
                expected = [
                    sum(d.error_type == name and not bad for (d, _), bad in zip(decided, problematic, strict=True))
                    for decided in models.values()
                ]
                assert table[column].tolist() == expected


def test_nothing_is_called_provisional_after_the_test(tested):
    printed = (tested / "stdout.txt").read_text() + (tested / "stderr.txt").read_text()
    assert "12 analysed" in printed
    for word in ("at most", "≤", "skipped", "provisional", "not listed"):
        assert word not in printed


def test_current_outcomes_are_kept(tested):
    path = tested / "artefacts/imagenet/imagenetx--ViT/errors_analysis.parquet"
    before = path.stat().st_mtime_ns
    done = evaluate(tested, "--perform_error_analysis")
    assert done.returncode == 0, done.stderr
    assert "12 kept" in done.stderr
    assert path.stat().st_mtime_ns == before


ENTRY = re.compile(
    r"\d+\) cnt mistakes = (?P<times>\d+), file = (?P<file>\S+)\n(?:.*\n)+?pred = (?P<pred>\d+), .*\n"
    r"(?P<details>.*)\n\n"
)


def test_list_of_out_of_vocabulary_errors_shows_the_plain_proposals(tested, plain, made):
    models, rows, problematic = plain
    text = (tested / "results/common_error_samples/most_common_fg-OOV.txt").read_text()
    assert text in (tested / "stdout.txt").read_text()
    entries = [match.groupdict() for match in ENTRY.finditer(text)]
    assert len(entries) == text.count("cnt mistakes") > 500
    at = {made.files[row]: number for number, row in enumerate(rows)}
    top1 = {m: stored(tested, m, "top1")["top1"] for m in models}
    for entry in entries:
        number, pred = at[entry["file"]], int(entry["pred"])
        making = [models[m][number] for m in models if top1[m][number] == pred]
        assert int(entry["times"]) == len(making)
        assert not problematic[number]
        name, details = ast.literal_eval(entry["details"])
        assert name == "potentially OOV, detected by CLIP"
        best, total = re.fullmatch(r"Top-5 alternative proposals: (\[.*\]) \| out of (\d+)", details).groups()
        verdict = making[0][1]
        assert (int(total), verdict.is_out_of_vocabulary) == (verdict.num_prompts, True)
        for ours, theirs in zip(ast.literal_eval(best), verdict.best, strict=True):
            assert ours[:2] == theirs[:2]
            assert re.fullmatch(r"\d+\.\d\d%", ours[2])
            assert float(ours[2][:-1]) == pytest.approx(100 * theirs[2], abs=0.0051)


def test_accuracy_on_imagenet_needs_no_embeddings(call, small):
    """ImageNet-A's tables repeat it; ImageNet's files of embeddings may be damaged, or large."""
    (small / "imagenet-a/me--mine").mkdir(parents=True)
    np.savez(small / "imagenet-a/samples_info.npz", sample_files=["n01498041/a.jpg"], targets=[6])
    np.savez(small / "imagenet-a/me--mine/preds.npz", top1=[6])
    Made.of(["n/0", "n/1"], np.zeros((2, 50))).write(small)
    steps = ("--dataset", "imagenet-a", "--open_world", "skip", "--perform_error_analysis", "--collect_results")
    done = call("evaluation", *steps, "--artefacts_dir", small, "--results_dir", small / "results")
    assert done.status == 0, done.stderr
    table = pd.read_csv(small / "results/stats-imagenet-a/non_problematic_stats_all.csv")
    assert table.imagenet_mla_val_acc.tolist() == [50]
