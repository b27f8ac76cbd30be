"""Damaged, hostile and unexpected files among archived analyses: each is named, and the others are converted."""

import random

import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.paper_archive import convert
from imagenet_errors.paths import Artefacts
from tests.conftest import left_out, refused
from tests.helpers import hostile_pickles as made
from tests.helpers.archives import MODELS, assert_tables, from_pandas, heavy, pack, put, read_tables, stored


def test_parquet_is_kept_when_its_pickle_changes(small_archives, collect, few):
    """Even where the pickle is damaged by then."""
    assert collect().status == 0
    before = {path: path.read_bytes() for path in small_archives.glob("imagenet/*/*.parquet")}
    put(small_archives, MODELS[0], few[MODELS[1]])
    put(small_archives, MODELS[1], b"damaged")
    done = collect()
    assert done.status == 0
    assert "convert" not in done.stderr
    assert {path: path.read_bytes() for path in small_archives.glob("imagenet/*/*.parquet")} == before


@pytest.mark.parametrize("quarters", [2, *heavy(0, 1, 3)])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_parquet_is_converted_again(small_archives, collect, few, packed, quarters):
    if packed:
        contents = {f"imagenet/{model}/errors_analysis.pkl": from_pandas(frame) for model, frame in few.items()}
        pack(small_archives / "models-imagenet.tar.gz", contents)
        for model in MODELS:
            (small_archives / "imagenet" / model / "errors_analysis.pkl").unlink()
    assert collect().status == 0
    whole = stored(small_archives).read_bytes()
    stored(small_archives).write_bytes(whole[: len(whole) * quarters // 4])
    done = collect()
    assert done.status == 0
    assert "1 archived analyses converted" in done.stderr
    assert stored(small_archives).read_bytes() == whole


@pytest.mark.parametrize("content", ["truncated", "empty", "hostile", "text", "lacks a column", "no rows"])
def test_bad_pickle_is_named_and_left_out(small_archives, collect, few, group_classes, tmp_path, content):
    bad = {
        "truncated": from_pandas(few[MODELS[0]])[:-100],
        "empty": b"",
        "hostile": made.forms("os", "system", f"touch {tmp_path / 'marker'}")["STACK_GLOBAL"],
        "text": b"not a pickle",
        "lacks a column": from_pandas(few[MODELS[0]].drop(columns="error_types")),
        "no rows": from_pandas(few[MODELS[0]].iloc[:0]),
    }[content]
    put(small_archives, "a--bad", bad)
    done = collect()
    assert left_out(done, "1 of 3 models", tmp_path / "imagenet" / "a--bad" / "errors_analysis.pkl")
    assert "os.system" in done.stderr or content != "hostile"
    assert not (tmp_path / "marker").exists()
    assert_tables(tmp_path / "results", few, group_classes)
    assert not stored(tmp_path, "a--bad").exists()


def test_run_with_bad_pickles_alone_is_refused(tmp_path, collect):
    put(tmp_path, "a--bad", b"")
    assert refused(collect(), "a--bad")


def test_circular_link_is_passed_over(small_archives, collect):
    (small_archives / "imagenet" / "a--bad").mkdir()
    (small_archives / "imagenet" / "a--bad" / "errors_analysis.pkl").symlink_to("errors_analysis.pkl")
    assert collect().status == 0


@pytest.fixture
def truncated_archive(tmp_path, contents):
    """A dozen sound analyses; the archive ends within the one after them."""
    path = tmp_path / "models-imagenet.tar.gz"
    rng = random.Random(6)
    noise = {"imagenet/z--last/errors_analysis.pkl": bytes(rng.getrandbits(8) for _ in range(300_000))}
    pack(path, contents | noise)
    whole = path.read_bytes()
    path.write_bytes(whole[:-150_000])
    return path


@pytest.mark.parametrize("jobs", [1, 12, *heavy(2, 4, 13)])
def test_analyses_before_the_damage_are_kept(tmp_path, truncated_archive, contents, jobs):
    """However many processes convert, those that came just before the damage too."""
    with pytest.raises(InputError, match="damaged or cut off"):
        convert.convert(Artefacts(tmp_path), "imagenet", jobs)
    kept = {file.parent.name for file in tmp_path.glob("imagenet/*/*.parquet")}
    assert kept == {name.split("/")[1] for name in contents}


def test_sound_archive_completes_a_truncated_one(collect, truncated_archive, contents, tmp_path):
    assert refused(collect(), truncated_archive, "damaged or cut off")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("imagenet/*/*.parquet")}
    assert before
    pack(truncated_archive, contents)
    assert collect().status == 0
    after = {file: file.stat().st_mtime_ns for file in tmp_path.glob("imagenet/*/*.parquet")}
    assert len(after) == 12
    assert after.items() >= before.items()


def test_hostile_pickle_before_the_damage_is_named(tmp_path, collect, truncated_archive):
    put(tmp_path, "a--bad", made.forms("os", "system", f"touch {tmp_path}/marker")["INST"])
    done = collect()
    assert refused(done, truncated_archive)
    assert "os.system" in done.stderr
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("quarters", [0, 2, *heavy(1, 3)])
def test_truncated_archive_is_refused(tmp_path, collect, contents, quarters):
    path = tmp_path / "models-imagenet.tar.gz"
    pack(path, contents)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * quarters // 4])
    assert refused(collect(), path)
    path.write_bytes(whole)
    assert collect().status == 0
    assert len(list(tmp_path.glob("imagenet/*/*.parquet"))) == len(contents)


def test_hostile_pickle_in_an_archive_is_named_and_left_out(tmp_path, collect, contents):
    hostile = {"imagenet/a--bad/errors_analysis.pkl": made.forms("os", "system", f"touch {tmp_path}/marker")["INST"]}
    metadata = {"imagenet/a--bad/metadata.json": b"{}"}
    pack(tmp_path / "models-imagenet.tar.gz", hostile | metadata | contents)
    for _ in range(2):  # the second run knows the archive
        done = collect()
        assert left_out(
            done, "1 of 13 models", "models-imagenet.tar.gz/imagenet/a--bad/errors_analysis.pkl", "os.system"
        )
        assert len(read_tables(tmp_path / "results")["all"]) == 12
    assert not (tmp_path / "marker").exists()


def test_other_files_of_an_archive_are_named_and_ignored(tmp_path, collect, contents):
    others = {
        "imagenet/a--x/preds.npz": b"x",
        "imagenet-a/b/errors_analysis.pkl": b"",
        "README": b"x",
        "imagenet/y": b"",
    }
    pack(tmp_path / "models-imagenet.tar.gz", others | contents)
    done = collect()
    assert done.status == 0
    for name in others:
        assert f"{name} is ignored" in done.stderr
    assert not (tmp_path / "imagenet" / "a--x").exists()
    assert not (tmp_path / "imagenet-a").exists()
