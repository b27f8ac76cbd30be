"""The table of open-world outcomes of an archive: what it tells equals what the pickles' own rows tell."""

import ast
import hashlib
import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from imagenet_errors import public_files
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.formats import open_world_outcomes
from imagenet_errors.paper_archive import archived_outcomes, convert
from imagenet_errors.paper_archive.archived_outcomes import NONE_TELLS, PAPER_CLIP
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED, refused
from tests.helpers.analyses import reseal
from tests.helpers.archives import MODELS, pack, put, stored
from tests.helpers.plain_facts import plain_superclasses

FOUND = "potentially OOV, detected by CLIP"
AFTER = (
    "common co-occurrences (spurious correlations)",
    "non-prototypical (DoughBagel)",
    "error not classified",
)
PROPOSALS = re.compile(r"Top-5 alternative proposals: (.*) \| out of (\d+)")


def plain_outcomes(frames) -> dict[tuple[str, int], tuple[bool, int | None, list]]:
    """{(file, prediction): verdict, number of prompts, [(offset, lemma, percent)]} of the frames' rows."""
    found = {}
    for frame in frames:
        for file, prediction, texts in zip(frame.img_rel_path, frame.top1, frame.error_types, strict=True):
            if FOUND in texts:
                best, number = PROPOSALS.fullmatch(texts[-1]).groups()
                found.setdefault((file, prediction), (True, int(number), ast.literal_eval(best)))
            elif set(AFTER) & set(texts):
                found.setdefault((file, prediction), (False, None, []))
    return found


def told(outcomes) -> dict[tuple[str, int], tuple[bool, int | None, list]]:
    """What a table tells, as `plain_outcomes`."""
    images, predictions = np.divmod(outcomes.keys, NUM_CLASSES)
    found = {}
    for row, (image, prediction) in enumerate(zip(images, predictions.tolist(), strict=True)):
        yes, number, best = outcomes.verdicts.outcome(row, outcomes.names)
        found[outcomes.files[image], prediction] = yes, number, [(o, lemma, f"{s:.2%}") for o, lemma, s in best]
    return found


def read(folder, dataset="imagenet"):
    return open_world_outcomes.read(Artefacts(folder).open_world_outcomes(dataset))


@pytest.fixture
def convert_archives(quick, tmp_path):
    return lambda *flags: quick(
        "download_artefacts", "--convert_archives", "--artefacts_dir", tmp_path, "--jobs", 1, *flags
    )


def test_outcomes_and_gates_are_those_of_the_pickles_rows(small_archives, few, convert_archives):
    done = convert_archives()
    assert done.status == 0, done.stderr
    outcomes, names = read(small_archives), plain_superclasses()
    expected = plain_outcomes(few.values())
    assert told(outcomes) == expected
    assert {yes for yes, *_ in expected.values()} == {True, False}
    assert (
        f"{len(expected)} outcomes of the open-world test from 2 models; 0 on which two models disagree" in done.stderr
    )
    frame = few[MODELS[0]]
    gates = {
        file: {name: rank for rank in reversed(range(10)) for name in names[near[rank]]}
        for file, near in zip(frame.img_rel_path, frame.clip_top10_train_targets, strict=True)
    }
    for file, gate, is_known in zip(outcomes.files, outcomes.gates, outcomes.has_gate, strict=True):
        assert is_known
        assert {outcomes.superclasses[column]: gate[column] for column in np.flatnonzero(gate < 10)} == gates[file]


def test_pairs_on_which_models_disagree_are_left_out_and_counted(tmp_path, few, convert_archives):
    first, second = few.values()
    second = second.assign(top1=first.top1, top1_desc=first.top1_desc, error_types=first.error_types)
    caught = second.error_types.map(lambda texts: FOUND in texts)
    passed = second.error_types.map(lambda texts: texts == [AFTER[2]])
    turned = [*second.index[caught][:3], *second.index[passed][:2]]
    details = next(texts for texts in first.error_types if FOUND in texts)
    for row in turned:
        second.at[row, "error_types"] = [AFTER[2]] if caught[row] else details
    put(tmp_path, MODELS[0], first)
    put(tmp_path, MODELS[1], second)
    assert "5 on which two models disagree are left out" in convert_archives().stderr
    turned_pairs = {(file, top1) for file, top1 in zip(second.img_rel_path[turned], second.top1[turned], strict=True)}
    expected = {pair: outcome for pair, outcome in plain_outcomes([first]).items() if pair not in turned_pairs}
    outcomes = read(tmp_path)
    assert told(outcomes) == expected
    assert outcomes.source.num_disagreeing == 5


def test_gates_on_which_analyses_disagree_are_not_known(tmp_path, few, convert_archives):
    first, second = few.values()
    second = second.assign(clip_top10_train_targets=list(second.clip_top10_train_targets))
    row = second.index[7]
    second.at[row, "clip_top10_train_targets"] = [
        (int(target) + 500) % 1000 for target in second.at[row, "clip_top10_train_targets"]
    ]
    put(tmp_path, MODELS[0], first)
    put(tmp_path, MODELS[1], second)
    assert "1 images have other near training images in some analyses" in convert_archives().stderr
    outcomes = read(tmp_path)
    assert outcomes.files[~outcomes.has_gate].tolist() == [second.at[row, "img_rel_path"]]


@pytest.mark.parametrize("lacks", ["neighbours", "the test"])
def test_analyses_that_lack_neighbours_or_the_test_tell_nothing(tmp_path, few, convert_archives, lacks):
    first, second = (frame.copy() for frame in few.values())
    if lacks == "neighbours":
        for name in ("indices", "targets", "files"):
            first[f"clip_top10_train_{name}"] = [[] for _ in range(len(first))]
    else:
        first.attrs["open_world"] = "skipped"
    put(tmp_path, MODELS[0], first)
    done = convert_archives()
    assert done.status == 0, done.stderr
    assert f"imagenet: {NONE_TELLS}" in done.stderr
    assert not Artefacts(tmp_path).open_world_outcomes("imagenet").exists()
    put(tmp_path, MODELS[1], second)
    convert_archives()
    assert told(read(tmp_path)) == plain_outcomes([second])


def test_outcomes_that_an_archive_calls_unknown_are_not_told(tmp_path, few, convert_archives):
    frame = few[MODELS[0]].copy()
    unknown = frame.index[frame.error_types.map(lambda texts: texts == [AFTER[2]])][:4]
    frame.attrs["open_world_unknown"] = unknown.tolist()
    put(tmp_path, MODELS[0], frame)
    convert_archives()
    assert told(read(tmp_path)) == plain_outcomes([frame.drop(unknown)])
    provisional = pq.read_table(stored(tmp_path))["provisional"].to_pylist()
    assert sum(provisional) == 4


def test_classes_that_the_archive_groups_otherwise_are_counted(small_archives, few, convert_archives):
    convert_archives()
    assert read(small_archives).source.num_regrouped == 0
    for name in ("imagenet_wnet_id_to_target.json", "wordnet_closure.tsv"):
        shutil.copy(COMMITTED.root / name, small_archives)
    (small_archives / "superclasses.json").write_text(json.dumps({"birds": [["bird"]], "dogs": [["dog"]]}))
    here = plain_superclasses(small_archives)
    there = {
        int(top1): set(text.strip("[]").split(","))
        for frame in few.values()
        for top1, texts in zip(frame.top1, frame.error_types, strict=True)
        for text in texts
        if text.startswith("[")
    }
    expected = {a for a in there for b in there if bool(there[a] & there[b]) != bool(here[a] & here[b])}
    assert len(expected) > 10
    convert_archives()
    assert read(small_archives).source.num_regrouped == len(expected)


# --- which archive ----------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path, contents):
    path = tmp_path / "models-imagenet.tar.gz"
    pack(path, contents)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_outcomes_of_an_archive_are_of_its_models_alone(tmp_path, packed, few, convert_archives):
    put(tmp_path, "other--model", few[MODELS[0]])
    convert_archives()
    source = read(tmp_path).source
    assert (source.archive, source.num_models, source.clip) == (packed[1], 12, None)


def test_outcomes_of_unpacked_analyses_name_no_archive(small_archives, convert_archives):
    convert_archives()
    assert read(small_archives).source.archive is None


def test_outcomes_of_the_official_archive_are_known_to_be_its(tmp_path, packed, contents, quick, convert_archives):
    """Whether the archive of analyses came out of the official one when that was unpacked."""
    inner, sha256 = packed
    outer = tmp_path.parent / f"{tmp_path.name}-artefacts.tar.gz"
    pack(outer, {"artefacts/models-imagenet.tar.gz": inner.read_bytes(), "artefacts/superclasses.txt": b"x"})
    official = hashlib.sha256(outer.read_bytes()).hexdigest()
    row = f"artefacts,archive,http://127.0.0.1:9/,{outer.name},{official},theirs"
    (tmp_path / "downloads.csv").write_text(f"name,what,url,path,sha256,description\n{row}\n")
    convert_archives()
    assert read(tmp_path).source.archive == sha256
    assert quick("download_artefacts", "--from_file", outer, "--artefacts_dir", tmp_path).status == 0
    assert public_files.read_downloaded(Artefacts(tmp_path))[inner.name]["sha256"] == sha256
    convert_archives()
    source = read(tmp_path).source
    assert (source.archive, source.clip) == (official, PAPER_CLIP)
    pack(inner, dict(list(contents.items())[:3]))
    convert_archives()
    assert read(tmp_path).source.archive not in (official, sha256)


# --- made again -------------------------------------------------------------------------------------------------------


def test_table_is_made_again_where_it_must_be(small_archives, few, convert_archives):
    path = Artefacts(small_archives).open_world_outcomes("imagenet")
    convert_archives()
    whole, times = path.read_bytes(), path.stat().st_mtime_ns
    assert "wrote" not in convert_archives().stderr
    assert path.stat().st_mtime_ns == times
    path.write_bytes(whole[:-7])
    assert "made again because" in convert_archives().stderr
    assert path.read_bytes() == whole
    path.unlink()
    convert_archives()
    assert path.read_bytes() == whole
    put(small_archives, "other--model", few[MODELS[0]])
    assert "from 3 models" in convert_archives().stderr


def test_evaluation_makes_the_table_when_it_converts_and_where_it_is_missing(small_archives, collect):
    path = Artefacts(small_archives).open_world_outcomes("imagenet")
    assert collect().status == 0
    whole = path.read_bytes()
    path.unlink()
    assert collect().status == 0
    assert path.read_bytes() == whole
    shutil.copytree(small_archives / "imagenet" / MODELS[0], small_archives / "imagenet" / "me--mine")
    assert "wrote" not in collect("--count_spurious_correlation_pairs").stderr


def test_table_of_a_newer_version_is_not_overwritten(small_archives, few, convert_archives):
    path = Artefacts(small_archives).open_world_outcomes("imagenet")
    convert_archives()
    reseal(path, schema_version=open_world_outcomes.SCHEMA_VERSION + 1)
    before = path.read_bytes()
    put(small_archives, "other--model", few[MODELS[0]])
    assert refused(convert_archives(), path, "update this repository")
    assert path.read_bytes() == before


def stop(*_) -> None:
    raise KeyboardInterrupt


def test_analysis_that_is_being_converted_leaves_no_table_of_fewer(small_archives, few, monkeypatch):
    """A run that ends between converting and the table is followed by one that makes it."""
    artefacts = Artefacts(small_archives)
    convert.convert(artefacts, "imagenet", 1)
    put(small_archives, "other--model", few[MODELS[0]])
    with monkeypatch.context() as patch:
        patch.setattr(archived_outcomes, "_collect", stop)
        with pytest.raises(KeyboardInterrupt):
            convert.convert(artefacts, "imagenet", 1)
    assert not artefacts.open_world_outcomes("imagenet").exists()
    convert.convert(artefacts, "imagenet", 1)
    assert read(small_archives).source.num_models == 3


def test_own_analyses_are_not_an_archives(small_archives, few, convert_archives):
    """An analysis of ours, with the test and neighbours, tells of our embeddings."""
    convert_archives()
    path = stored(small_archives, MODELS[1])
    fingerprints = json.loads(pq.read_schema(path).metadata[b"fingerprints"])
    reseal(path, fingerprints=fingerprints | {"relations": "ours", "open_world": "ours"})
    Artefacts(small_archives).open_world_outcomes("imagenet").unlink()
    convert_archives()
    assert told(read(small_archives)) == plain_outcomes([few[MODELS[0]]])
