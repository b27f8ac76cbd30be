"""Names with spaces, quotes, line ends and letters of all kinds: of images, folders, models, members of archives."""

import csv
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagenet_errors.dataset.samples import read_samples
from imagenet_errors.paths import Artefacts
from imagenet_errors.plots import error_bars
from imagenet_errors.plots.model_frames import load_frames
from tests.conftest import FILES, annotate, refused
from tests.helpers.one_of_each import OWN_MODEL, STEPS

ODD = (
    *("with space", 'it\'s "quoted"', "-dash", "--dataset", "ünïcödé 模型 Ω", "عربي", "comma,semi;colon", "a*[x]?{1}"),
    *("%s{}$(x)`y`", "#hash", "&lt;b&gt;", "=1+1", "e\u0301", "🙂", "preds.npz", "x.parts", "nan", "1e5", "True"),
)
UNPRINTABLE = ("two\nlines", "a\ttab", "a\rreturn", "a\x1b[31mred", "a\u2028line", "a\u202eback")
MIXED = ('-it\'s "odd": ünï 模型 🙂, a*[x]?{1}; #%s{}$(x)`y` &lt; =1+1', "two\nlines,\ta\ttab \x1b[31m\u202e")
FOLDERS = (*MIXED, *(pytest.param(name, marks=pytest.mark.heavy) for name in (*ODD, *UNPRINTABLE)))
SOME_UNPRINTABLE = ("two\nlines", *(pytest.param(name, marks=pytest.mark.heavy) for name in UNPRINTABLE[1:]))
WNID = "n01498041"  # a class of ImageNet-A


def table(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tables(results: Path, dataset: str = "imagenet") -> list[list[dict]]:
    found = sorted((results / f"stats-{dataset}").glob("non_problematic_stats_*.csv"))
    assert len(found) == 4 or dataset == "imagenet-a"
    return [table(path) for path in found]


@pytest.fixture
def fill():
    """`fill(folder, *models)`: two annotated images, and the same predictions of all these models."""

    def make(root: Path, *models: str) -> Path:
        (root / "annotations").mkdir(parents=True)
        annotate(root, {file: {"correct": [file[:9]]} for file in FILES})
        for model in models:
            folder = root / "imagenet" / model
            folder.mkdir(parents=True)
            np.savez(folder / "preds.npz", top1=np.array([0, 5]))
            (folder / "metadata.json").write_text(json.dumps({"arch": "resnet"}))
        np.savez(root / "imagenet" / "samples_info.npz", sample_files=FILES, targets=[0, 1])
        return root

    return make


@pytest.fixture
def evaluate(call, monkeypatch):
    monkeypatch.setattr(error_bars, "draw", lambda *_: None)

    def run(root: Path, results: Path, *flags):
        return call("evaluation", f"--artefacts_dir={root}", f"--results_dir={results}", *(flags or STEPS))

    return run


class TestFolders:
    @pytest.mark.parametrize("name", FOLDERS)
    def test_folder_with_an_odd_name_makes_the_same_results(self, evaluate, call, fill, tmp_path, monkeypatch, name):
        """Relative, so that a name may begin as a flag does."""
        monkeypatch.chdir(tmp_path)
        fill(Path(name), "me--mine")
        done = evaluate(Path(name), Path(f"{name} results"))
        assert done.status == 0, done
        assert len(table(tmp_path / f"{name} results" / "stats-imagenet" / "non_problematic_stats_all.csv")) == 1
        exported = Path(name) / "models-imagenet.tar.gz"
        assert call("download_artefacts", f"--artefacts_dir={name}", f"--export_archive={exported}").status == 0
        shutil.rmtree(Path(name) / "imagenet" / "me--mine")
        (Path(name) / "imagenet" / "samples_info.npz").unlink()
        assert evaluate(Path(name), Path(f"{name} again")).status == 0
        assert [rows[0]["num_group_correct"] for rows in tables(tmp_path / f"{name} again")] == [
            rows[0]["num_group_correct"] for rows in tables(tmp_path / f"{name} results")
        ]
        done = call("download_artefacts", f"--artefacts_dir={name}", "--verify", f"--results_dir={name} again")
        assert done.status == 0, done
        assert sorted(os.listdir(tmp_path)) == sorted([name, f"{name} results", f"{name} again"])

    def test_message_about_an_odd_folder_is_one_line(self, evaluate, tmp_path):
        for name in UNPRINTABLE:
            done = evaluate(tmp_path / name, tmp_path / "results")
            assert done.status == 2
            assert len(done.stderr.splitlines()) == 1, done.stderr


class TestModels:
    def test_models_with_odd_names_keep_them(self, evaluate, call, fill, tmp_path):
        """All at once, through tables, lists, explanation, export, conversion and verification."""
        root = fill(tmp_path / "artefacts", *ODD)
        done = evaluate(root, tmp_path / "results")
        assert done.status == 0, done
        for rows in tables(tmp_path / "results"):
            assert [row["model_dir_id"] for row in rows] == sorted(ODD)
        assert load_frames(tmp_path / "results", "imagenet")["all"].model_dir_id.tolist() == sorted(ODD)
        why = ("--explain", FILES[1], f"--model={ODD[3]}")
        assert evaluate(root, tmp_path / "results", *why).status == 0
        self.check_archive(evaluate, call, root, tmp_path)

    def check_archive(self, evaluate, call, root, tmp_path):
        """They go into an archive and come out of it."""
        exported = tmp_path / "new" / "models-imagenet.tar.gz"
        assert call("download_artefacts", "--artefacts_dir", root, "--export_archive", exported).status == 0
        with tarfile.open(exported) as archive:
            assert {name.split("/")[1] for name in archive.getnames()} == set(ODD)
        done = evaluate(exported.parent, tmp_path / "again", *STEPS[1:])
        assert done.status == 0, done
        for rows, before in zip(tables(tmp_path / "again"), tables(tmp_path / "results"), strict=True):
            assert [row["model_dir_id"] for row in rows] == [row["model_dir_id"] for row in before]
        done = call("download_artefacts", "--artefacts_dir", exported.parent, "--verify")
        assert done.status == 0, done.stdout

    def test_figures_show_models_with_odd_names(self, evaluate, call, fill, tmp_path):
        root = fill(tmp_path / "artefacts", *ODD)
        assert evaluate(root, tmp_path / "results", *STEPS[:2]).status == 0
        flags = ("--stats_dir", tmp_path / "results", "--results_dir", tmp_path / "results", "--dataset", "imagenet")
        one = ("--figure", "*num_collapsed_mappings_abs*groups=all", "--save_data", "--format", "svg")
        done = call("utils_plot", *flags, *one)
        assert done.status in (0, 1), done
        for path in (tmp_path / "results" / "figures").rglob("*.csv"):
            assert {row["model_dir_id"] for row in table(path)} == set(ODD)

    @pytest.mark.parametrize("name", SOME_UNPRINTABLE)
    def test_unprintable_model_name_is_refused_or_kept(self, evaluate, fill, tmp_path, name):
        """Such a folder is refused in one line, or read and written so that it is read again as it was."""
        root = fill(tmp_path / "artefacts", "me--mine", name)
        done = evaluate(root, tmp_path / "results")
        assert "Traceback" not in done.stderr
        if done.status == 0:
            assert all(
                {row["model_dir_id"] for row in rows} == {"me--mine", name} for rows in tables(tmp_path / "results")
            )
            assert name not in done.stdout
        else:
            assert done.status == 2
            assert len(done.stderr.splitlines()[-1]) > 20

    def test_summary_keeps_odd_names(self, call, fill, tmp_path):
        root = fill(tmp_path / "artefacts", *ODD)
        flags = ("--models_summary_csv", "--collected", "--artefacts_dir", root, "--results_dir", tmp_path)
        assert call("list_latex", *flags).status == 0
        names = {name.replace("--", "/", 1).rpartition("/")[2] for name in ODD}  # without the publisher
        assert {row["model_id"] for row in table(tmp_path / "models_summary.csv")} == names


class TestMembers:
    """Of an archive of analyses."""

    @pytest.fixture
    def archive(self, evaluate, call, fill, tmp_path):
        """`archive(*names)`: an artefacts folder whose archive holds the same analysis under these names."""
        root = fill(tmp_path / "artefacts", "me--mine")
        assert evaluate(root, tmp_path / "results", *STEPS[:1]).status == 0
        exported = tmp_path / "one.tar.gz"
        assert call("download_artefacts", "--artefacts_dir", root, "--export_archive", exported).status == 0
        with tarfile.open(exported) as one:
            content = one.extractfile("imagenet/me--mine/errors_analysis.pkl").read()

        def make(*names: str) -> Path:
            path = tmp_path / "new" / "models-imagenet.tar.gz"
            path.parent.mkdir(exist_ok=True)
            with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as written:
                for name in names:
                    member = tarfile.TarInfo(f"imagenet/{name}/errors_analysis.pkl")
                    member.size = len(content)
                    written.addfile(member, io.BytesIO(content))
            return path.parent

        return make

    def test_unprintable_member_is_refused(self, archive, call):
        for name in UNPRINTABLE:
            done = call("download_artefacts", "--artefacts_dir", archive(name), "--convert_archives")
            assert refused(done, "models-imagenet.tar")
        assert not list(archive(name).rglob("*.parquet"))

    def test_member_that_is_not_a_folder_name_is_refused(self, archive, call):
        for name in ("a\\b", ".hidden", " ", "x" * 201):
            done = call("download_artefacts", "--artefacts_dir", archive(name), "--convert_archives")
            assert done.status in (1, 2)
            assert "Traceback" not in done.stderr
        assert not list(archive(name).rglob("*.parquet"))


@pytest.fixture
def images(tmp_path, monkeypatch):
    """`images(*names)`: ImageNet-A of these images, of one class, in a folder of an odd name."""

    def make(*names: str) -> Path:
        folder = tmp_path / 'it\'s "ImageNet" Ä' / WNID
        folder.mkdir(parents=True)
        for number, name in enumerate(names):
            Image.fromarray(np.full((40, 40, 3), 9 * number, np.uint8)).save(folder / name)
        monkeypatch.setenv("IMAGENET_A_DIR", str(folder.parent))
        (tmp_path / "odd model ' name.py").write_text(OWN_MODEL)
        return tmp_path / "artefacts"

    return make


def collect(call, tmp_path, root: Path):
    own = ("--model", f"{tmp_path}/odd model ' name.py:build", "--model_name", "me/ünü", "--workers", 0)
    return call("collect_predictions", "--dataset", "imagenet-a", "--artefacts_dir", root, *own, "--device", "cpu")


class TestImages:
    def test_images_with_odd_names_keep_them(self, call, evaluate, images, tmp_path):
        names = sorted(f"{name}.png" for name in ODD)
        root = images(*names)
        assert collect(call, tmp_path, root).status == 0
        assert read_samples(Artefacts(root), "imagenet-a").files.tolist() == [f"{WNID}/{name}" for name in names]
        done = evaluate(root, tmp_path / "results", "--dataset", "imagenet-a", *STEPS)
        assert done.status == 0, done
        (row,) = table(tmp_path / "results" / "stats-imagenet-a" / "non_problematic_stats_all.csv")
        assert int(row["num_group_samples"]) == len(ODD)
        lists = (tmp_path / "results" / "common_error_samples-imagenet-a").glob("*.txt")
        text = "".join(path.read_text() for path in lists)
        listed = {line.partition("file = ")[2] for line in text.splitlines() if "file = " in line}
        assert len(listed) == int(row["num_all_top1_errors"])
        assert listed <= {f"{WNID}/{name}" for name in names}
        why = ("--dataset", "imagenet-a", f"--explain={WNID}/{names[0]}", "--model", "me/ünü")
        assert evaluate(root, tmp_path / "results", *why).status == 0

    @pytest.mark.parametrize("name", SOME_UNPRINTABLE)
    def test_unprintable_image_name_is_refused_or_listed_in_one_line(self, call, evaluate, images, tmp_path, name):
        root = images("sound.png", f"{name}.png")
        done = collect(call, tmp_path, root)
        assert "Traceback" not in done.stderr
        if done.status:
            assert done.status == 2
            return
        done = evaluate(root, tmp_path / "results", "--dataset", "imagenet-a", *STEPS)
        assert "Traceback" not in done.stderr
        if done.status == 0:
            lists = (tmp_path / "results" / "common_error_samples-imagenet-a").glob("*.txt")
            shown = [line for path in lists for line in path.read_text().splitlines() if "file = " in line]
            assert all(line.endswith(".png") for line in shown)
