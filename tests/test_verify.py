"""`download_artefacts.py --verify`: every fault of a folder is found and named, and nothing is changed."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors import files
from imagenet_errors.formats import embeddings, error_analyses, image_tables
from imagenet_errors.paths import ANNOTATIONS, SUPERCLASSES, TEXT_EMBEDDINGS, Artefacts
from imagenet_errors.verify import DAMAGED, FOREIGN, LEFTOVER, MISSING, SOUND, STALE, Finding, _Folder, check_path
from tests.conftest import Outcome, refused
from tests.faults.test_damage import BYTES, MORE_BYTES, canonical, changed, content, cut, may_be_whole
from tests.helpers.analyses import reseal
from tests.helpers.kinds_of_files import KINDS, OLD, OWN, PLAIN, PROBS, Kind
from tests.helpers.tiny_clip import arrays

pytest_plugins = "tests.helpers.one_of_each"
ANALYSES = [f"{model}/errors_analysis.parquet" for model in (PLAIN, PROBS)]
TABLES = "../results/stats-imagenet/made_from.json"
COMMON_ERRORS = "../results/common_error_samples/made_from.json"
IN_FOLDER = [name for name, kind in KINDS.items() if not kind.path.startswith("..")]
LISTS = ("non-prototypical files", "classes of ImageNet-A")  # nothing but lines: any may be missing
LEFT = (
    *("imagenet/.samples_info.npz.host.77.tmp", "artefacts.tar.gz.part", "artefacts.tar.gz.part.json"),
    *("imagenet/clip_image_embeddings.parts/00000000.npz", f"{PLAIN}/.preds.npz.host.77.tmp"),
)
STRANGE = ("notes.txt", "imagenet/notes.txt", f"{PLAIN}/notes.txt", "imagenet-b/samples_info.npz", "imagenet/a/b/c")


@pytest.fixture
def world(one_of_each, tmp_path) -> Path:
    """A copy to spoil."""
    shutil.copytree(one_of_each, tmp_path / "world", symlinks=True)
    (tmp_path / "world" / "artefacts" / "downloads_done.csv").unlink()  # or any change of annotations is damage
    return tmp_path / "world"


@pytest.fixture
def verify(world, call):
    """`verify()`: {path below the artefacts folder: its fault}, once the exit status and the folder are checked.

    `verify(tables=True)` checks the tables made from it as well.
    """
    root = world / "artefacts"

    def run(tables: bool = False) -> dict[str, str]:
        before = listed(world)
        flags = ("--results_dir", world / "results") if tables else ()
        done = call("download_artefacts", "--artefacts_dir", root, "--verify", *flags)
        assert listed(world) == before
        found = faults(done, root)
        assert done.status == (1 if found else 0), done
        return found

    return run


def listed(folder: Path) -> dict:
    """All paths in a folder, with times and contents."""
    paths = sorted(folder.rglob("*"))
    return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths}


def faults(done: Outcome, root: Path) -> dict[str, str]:
    """{path: state} as printed; every line but the last names a path and a reason."""
    assert "Traceback" not in done.stderr
    *lines, last = done.stdout.splitlines()
    assert last.startswith(f"{root}: ")
    found = {}
    for line in lines:
        state, rest = line.split(maxsplit=1)
        path, why = rest.split(": ", maxsplit=1)
        assert why
        found[Path(os.path.relpath(path, root)).as_posix()] = state
    return found


def finding(root: Path, path: Path) -> Finding:
    """Of a single file."""
    return check_path(_Folder(Artefacts(root)), path)


def rewrite(path: Path, change) -> None:
    """Change the content of a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def resave(path: Path, **changes) -> None:
    """Change arrays of an npz archive."""
    np.savez(path, **arrays(path) | changes)


def test_sound_folder_has_no_findings(verify):
    assert verify(tables=True) == {}


def test_missing_folder_is_refused(call, tmp_path):
    assert refused(call("download_artefacts", "--artefacts_dir", tmp_path / "x", "--verify"), "there is nothing")


class TestDamage:
    @pytest.mark.parametrize("name", IN_FOLDER)
    def test_truncated_file_is_damaged(self, one_of_each, world, name):
        kind = KINDS[name]
        path = world / "artefacts" / kind.path
        for damaged in cut(content(one_of_each, kind)):
            path.write_bytes(damaged)
            state = finding(world / "artefacts", path).state
            assert state == DAMAGED or (damaged and may_be_whole(kind, damaged)) or (damaged and name in LISTS)

    def check(self, one_of_each, world, kind: Kind, contents: list[bytes]) -> None:
        root = world / "artefacts"
        path = root / kind.path
        right = canonical(kind.read(Artefacts(root), path))
        for damaged in contents:
            path.write_bytes(damaged)
            found = finding(root, path)
            assert found.state in (DAMAGED, SOUND, STALE)
            if kind.checked and found.state == SOUND:
                assert canonical(kind.read(Artefacts(root), path)) == right

    @pytest.mark.parametrize("name", IN_FOLDER)
    def test_changed_byte_is_damage_or_harmless(self, one_of_each, world, name):
        kind = KINDS[name]
        self.check(one_of_each, world, kind, changed(content(one_of_each, kind), f"verify {name}", BYTES // 4))

    @pytest.mark.heavy
    @pytest.mark.parametrize("name", IN_FOLDER)
    def test_any_changed_byte_is_damage_or_harmless(self, one_of_each, world, name):
        kind = KINDS[name]
        self.check(one_of_each, world, kind, changed(content(one_of_each, kind), f"verify {name}", MORE_BYTES // 4))

    @pytest.mark.parametrize("name", ["annotations", "logits"])
    def test_changed_download_is_damaged(self, one_of_each, world, name):
        """Whatever its format: the hash of a download is recorded."""
        shutil.copy(one_of_each / "artefacts" / "downloads_done.csv", world / "artefacts")
        path = world / "artefacts" / KINDS[name].path
        for damaged in changed(path.read_bytes(), name, BYTES // 4):
            path.write_bytes(damaged)
            assert finding(world / "artefacts", path).state == DAMAGED

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            (f"{PLAIN}/metadata.json", lambda value: value.update(top1_val_acc=55.6)),
            (f"{PLAIN}/metadata.json", lambda value: value.update(model_id="me/another")),
            (f"{PLAIN}/metadata.json", lambda value: value.update(arch="two\nlines")),
            ("imagenet/archive.json", lambda value: value.update(models="old--one")),
        ],
    )
    def test_contradicting_files_are_damaged(self, world, verify, name, change):
        rewrite(world / "artefacts" / name, change)
        assert verify() == {name: DAMAGED}

    def test_all_faults_are_found(self, one_of_each, world, verify):
        """Faults of every file that others do not need."""
        spoilt = {
            KINDS[name].path
            for name in (
                *("metadata", "predictions with probabilities", "converted analysis", "pickled analysis", "archive"),
                *("neighbours", "embedded training images", "failures", "mistakes", "figures", "logits"),
            )
        }
        for name in spoilt:
            path = world / "artefacts" / name
            path.write_bytes(path.read_bytes()[:-9])
        found = verify()
        assert spoilt <= {name for name, state in found.items() if state == DAMAGED}

    @pytest.mark.parametrize("name", ["samples", "predictions", "predictions with probabilities", "neighbours"])
    def test_only_the_damaged_file_is_reported_as_damaged(self, world, verify, name):
        """Files that depend on it may be stale, or cannot be checked."""
        path = world / "artefacts" / KINDS[name].path
        path.write_bytes(path.read_bytes()[:-9])
        assert [one for one, state in verify().items() if state == DAMAGED] == [KINDS[name].path]

    def test_damaged_downloads_table_does_not_stop_the_check(self, world, verify):
        for name in ("downloads.csv", f"{PLAIN}/preds.npz"):
            path = world / "artefacts" / name
            path.write_bytes(path.read_bytes()[:-9])
        found = verify()
        assert {found["downloads.csv"], found[f"{PLAIN}/preds.npz"]} == {DAMAGED}

    def test_every_check_reads_the_files_again(self, world):
        """Another check of the same folder, in the same process."""
        path = world / "artefacts" / "imagenet" / "samples_info.npz"
        assert finding(world / "artefacts", path).state == SOUND
        path.write_bytes(b"damaged")
        assert finding(world / "artefacts", path).state == DAMAGED

    def test_oversized_table_cell_is_damage(self, world, verify):
        (world / "artefacts" / "weights.csv").write_text("model_id,file\n" + "x" * 200_000 + ",y\n")
        assert verify() == {"weights.csv": DAMAGED}

    def test_folder_in_the_place_of_a_file_is_reported(self, world, verify):
        path = world / "artefacts" / PLAIN / "preds.npz"
        path.unlink()
        path.mkdir()
        assert f"{PLAIN}/preds.npz" in verify()

    @pytest.mark.parametrize("name", [f"{PLAIN}/preds.npz", "models.csv", "notes.txt", f"{OWN}/metadata.json"])
    def test_dangling_link_is_reported(self, world, verify, name):
        path = world / "artefacts" / name
        path.unlink(missing_ok=True)
        path.symlink_to(world / "gone")
        assert name in verify()


class TestNewerVersions:
    @pytest.mark.parametrize(
        ("name", "make"),
        [
            (f"{PLAIN}/preds.npz", partial(resave, schema_version=99)),
            (TEXT_EMBEDDINGS, partial(resave, schema_version=99)),
            ("imagenet/valid_clip_knn.npz", partial(resave, schema_version=99)),
            ("imagenet/archive.json", partial(rewrite, change=lambda value: value.update(schema_version=99))),
            (TABLES, partial(rewrite, change=lambda value: value.update(schema_version=99))),
        ],
    )
    def test_newer_schema_is_reported(self, world, call, name, make):
        make((world / "artefacts" / name).resolve())
        flags = ("--verify", "--results_dir", world / "results")
        done = call("download_artefacts", "--artefacts_dir", world / "artefacts", *flags)
        assert done.status == 1
        place = (world / "artefacts" / name).resolve()
        (line,) = [line for line in done.stdout.splitlines() if line[10:].startswith(f"{place}: ")]
        assert "newer" in line
        assert "update this repository" in line

    def test_newer_analysis_is_reported(self, world, verify, monkeypatch):
        path = world / "artefacts" / PLAIN / "errors_analysis.parquet"
        reseal(path, schema_version=error_analyses.SCHEMA_VERSION + 1)
        assert verify().keys() >= {f"{PLAIN}/errors_analysis.parquet"}


class TestStale:
    def test_changed_annotations_make_analyses_stale(self, world, verify):
        rewrite(
            world / "artefacts" / ANNOTATIONS,
            lambda value: next(iter(value["initial_annots"].values()))["unclear"].append("n01484850"),
        )
        converted = [f"imagenet/{model}/errors_analysis.parquet" for model in ("old--one", "old--two")]
        assert verify(tables=True) == dict.fromkeys([*ANALYSES, *converted, TABLES, COMMON_ERRORS], STALE)

    def test_changed_superclasses_make_our_analyses_stale(self, world, verify):
        """An archive's analysis does not depend on them, but the table of its open-world outcomes does."""
        path = world / "artefacts" / SUPERCLASSES
        path.write_text(path.read_text().rstrip().removesuffix("}") + ', "another": [["fish"]]}')
        made_again = ("imagenet/open_world_outcomes.parquet", f"{OWN}/errors_analysis.parquet")
        assert verify(tables=True) == dict.fromkeys([*ANALYSES, TABLES, COMMON_ERRORS, *made_again], STALE)

    def test_changed_predictions_make_their_analysis_stale(self, world, verify):
        path = world / "artefacts" / PLAIN / "preds.npz"
        top5 = arrays(path)["top5"]
        top5[1, 0] = 700  # as wrong as before
        resave(path, top1=top5[:, 0], top5=top5)
        found = verify(tables=True)
        for name in (TABLES, COMMON_ERRORS):
            assert found.pop(name, STALE) == STALE  # they are of the stored analysis, which has not changed
        assert found == {ANALYSES[0]: STALE}

    def test_changed_embeddings_make_analyses_stale(self, world, verify):
        path = world / "artefacts" / "imagenet" / "clip_image_embeddings.npz"
        resave(path, embeddings=arrays(path)["embeddings"][::-1])
        found = verify(tables=True)
        assert {name: state for name, state in found.items() if name in ANALYSES} == dict.fromkeys(ANALYSES, STALE)
        assert f"{OLD}/errors_analysis.parquet" not in found

    def test_replaced_archive_makes_its_contents_stale(self, world, verify):
        os.utime(world / "artefacts" / "models-imagenet.tar.gz", ns=(0, 0))
        assert verify() == {"imagenet/archive.json": STALE}

    def test_tables_and_lists_of_other_analyses_are_stale(self, world, verify):
        for name in (TABLES, COMMON_ERRORS):
            rewrite((world / "artefacts" / name).resolve(), lambda value: value["models"].pop("old--two"))
            rewrite((world / "artefacts" / name).resolve(), lambda value: value.update(images="1 of 50,000 images"))
        assert verify(tables=True) == {TABLES: STALE, COMMON_ERRORS: STALE}


class TestMissing:
    @pytest.mark.parametrize(
        ("gone", "named"),
        [
            ("imagenet/samples_info.npz", "imagenet/samples_info.npz"),
            (f"{PLAIN}/errors_analysis.parquet", f"{PLAIN}/errors_analysis.parquet"),
            (f"{OWN}/errors_analysis.parquet", f"{OWN}/errors_analysis.parquet"),
            (TEXT_EMBEDDINGS, TEXT_EMBEDDINGS),
            ("imagenet/valid_clip_knn.npz", "imagenet/valid_clip_knn.npz"),
            ("../results/stats-imagenet/made_from.json", TABLES),
            ("../results/common_error_samples/made_from.json", COMMON_ERRORS),
        ],
    )
    def test_missing_file_is_reported(self, world, verify, gone, named):
        (world / "artefacts" / gone).unlink()
        assert verify(tables=named in (TABLES, COMMON_ERRORS))[named] == MISSING

    def test_missing_annotations_are_none(self, world, verify):
        """The archive's labels, or else those in the repository, stand in for them."""
        (world / "artefacts" / ANNOTATIONS).unlink()
        assert MISSING not in verify().values()

    def test_missing_predictions_are_reported(self, world, verify):
        for name in ("preds.npz", "errors_analysis.parquet"):
            (world / "artefacts" / PLAIN / name).unlink()
        assert verify()[f"{PLAIN}/preds.npz"] == MISSING

    def test_tables_of_a_removed_model_are_stale(self, world, verify):
        """The tables and lists still count it."""
        shutil.rmtree(world / "artefacts" / PLAIN)
        found = verify(tables=True)
        assert found[TABLES] == found[COMMON_ERRORS] == STALE


@pytest.mark.parametrize(("names", "state"), [(LEFT, LEFTOVER), (STRANGE, FOREIGN)])
def test_leftovers_and_foreign_files_are_reported(world, verify, names, state):
    for name in names:
        (world / "artefacts" / name).parent.mkdir(parents=True, exist_ok=True)
        (world / "artefacts" / name).write_bytes(b"half")
    assert verify() == dict.fromkeys(names, state)


def test_embeddings_of_two_clips_are_reported(world, verify):
    """Each is whole, but they cannot be used together, so that no analysis can be checked."""
    path = world / "artefacts" / TEXT_EMBEDDINGS
    stored = embeddings.read_embeddings(path, "prompts")
    files.write_npz(path, prompts=stored.names, embeddings=stored.vectors, clip=np.array("another"))
    assert verify()


def test_changed_decision_is_damage(world, verify):
    """The pages' checksums are right: only the fingerprint of the decisions can tell."""
    path = world / "artefacts" / PLAIN / "errors_analysis.parquet"
    reseal(path, reverse="error_type")
    assert verify()[f"{PLAIN}/errors_analysis.parquet"] == DAMAGED


class TestImageTables:
    @pytest.fixture
    def table(self, world) -> Path:
        """The table that an analysis of ours names."""
        path = world / "artefacts" / PLAIN / "errors_analysis.parquet"
        return image_tables.locate(path, error_analyses.read(path, "me--plain").image_table)

    def test_changed_byte_is_damage(self, world, table):
        for damaged in changed(table.read_bytes(), "image table", BYTES // 4):
            table.write_bytes(damaged)
            assert finding(world / "artefacts", table).state == DAMAGED

    def test_content_that_contradicts_the_name_is_damage(self, world, table):
        reseal(table, reverse="target")
        assert finding(world / "artefacts", table).state == DAMAGED

    def test_missing_table_damages_the_analyses_that_name_it(self, world, table):
        table.unlink()
        for name in ANALYSES:
            found = finding(world / "artefacts", world / "artefacts" / name)
            assert found.state == DAMAGED
            assert table.name in found.note
