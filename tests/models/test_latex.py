"""list_latex.py: the summary of models and the superclasses, for papers."""

import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors import latex
from tests.conftest import ROOT, refused

PRINTABLE = "".join(map(chr, range(32, 127)))
NAMED = {
    **{"backslash": "\\", "asciitilde": "~", "asciicircum": "^"},
    **{"less": "<", "greater": ">", "bar": "|", "quotedbl": '"'},
}
COLUMNS = "idx,model_id,source,arch,arch_group,arch_family,dataset,extra_annotations"


def printed(tex: str) -> str:
    """What LaTeX prints of `tex`; fails for a special character that is not escaped."""
    tokens = re.findall(r"\\text([a-z]+)\{\}|\\([&%$#_{}])|([^\\&%$#_{}~^])|(.)", tex, re.DOTALL)
    assert not [token for *_, token in tokens if token], tex
    return "".join(NAMED[name] if name else escaped or plain for name, escaped, plain, _ in tokens)


def compiled(folder, body: str) -> str:
    """What pdflatex says of a minimal document around `body`."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    document = "\\documentclass{article}\n\\usepackage{longtable}\n\\begin{document}\n" + body + "\n\\end{document}\n"
    (folder / "paper.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (folder / "paper.pdf").exists()
    return done.stdout


class TestEscape:
    """Any text is printed as it is."""

    @given(st.text(PRINTABLE))
    def test_special_characters_are_escaped(self, text):
        assert printed(latex.escape(text)) == text

    @pytest.mark.parametrize("tex", ["a_b", "50%", "a\\b", "{", "a~b", "x^2", "a & b", "#", "$", "a\\\\_b"])
    def test_reader_of_these_tests_fails_for_unescaped_characters(self, tex):
        with pytest.raises(AssertionError):
            printed(tex)

    def test_document_with_every_character_compiles(self, tmp_path):
        every = [f"{character}a{character}{character} {character}" for character in PRINTABLE]
        compiled(tmp_path, "\n\n".join(map(latex.escape, [*every, PRINTABLE])))


class TestModels:
    """The overview of models."""

    def test_summary_equals_the_published_one(self, call, shared, tmp_path):
        done = call("list_latex", "--models_summary_csv", "--results_dir", tmp_path)
        assert done == (0, "", f"wrote {tmp_path / 'models_summary.csv'}: 962 models\n")
        made = (tmp_path / "models_summary.csv").read_bytes()
        assert made == (shared / "published" / "models_summary.csv").read_bytes()
        assert made == (ROOT / "models_summary.csv").read_bytes()
        assert [path.name for path in tmp_path.iterdir()] == ["models_summary.csv"]

    def test_rows_equal_the_summary(self, call, shared):
        with open(shared / "published" / "models_summary.csv", newline="") as file:
            summary = list(csv.DictReader(file))
        done = call("list_latex", "--models-summary-latex")
        assert (done.status, done.stderr) == (0, "")
        rows = [re.fullmatch(r"(\d+)\. & (.+) & (.+) & (.+) & (.+) \\\\", line) for line in done.stdout.splitlines()]
        found = [tuple(map(printed, row.groups())) for row in rows]
        renamed = {"torch.hub": "torch", "torchvision.models": "torch", "transformer": "vit"}
        wanted = sorted(
            ([row["model_id"], row["source"], row["arch_family"], row["dataset"]] for row in summary),
            key=lambda cells: f"{cells[2]} | {cells[0]}",
        )
        wanted = [(str(i), *(renamed.get(cell, cell) for cell in cells)) for i, cells in enumerate(wanted, start=1)]
        assert len(found) == 962
        assert found == wanted
        assert {cells[2] for cells in found} == {"torch", "timm", "huggingface"}
        assert {cells[3] for cells in found} == {"cnn", "hybrid", "mlp", "vit"}

    def test_table_compiles(self, call, tmp_path):
        rows = call("list_latex", "--models_summary_latex").stdout
        compiled(tmp_path, "\\begin{longtable}{rllll}\n" + rows + "\\end{longtable}")


class TestCollected:
    """The models of an artefacts folder, in the table or not."""

    @pytest.fixture
    def folder(self, tmp_path):
        """Three models, an empty folder, results of earlier runs."""
        described = {
            "timm--vit_x_100%": {
                "model_id": "timm/vit_x_100%",
                "source": "timm",
                "arch": "vit",
                "arch_family": "transformer",
                "training_data": "LAION-2B (2.3B)",
                "extra_annotations": ["CLIP Training", "Distillation"],
            },
            "me--a--b": {"arch": "my_net", "arch_family": "mlp"},
            "plain": None,
        }
        for model, metadata in described.items():
            path = tmp_path / "a" / "imagenet" / model
            path.mkdir(parents=True)
            np.savez(path / "preds.npz", top1=np.array([0]))
            if metadata:
                (path / "metadata.json").write_text(json.dumps(metadata))
        (tmp_path / "a" / "imagenet" / "me--empty").mkdir()
        (tmp_path / "r" / "stats-imagenet").mkdir(parents=True)
        (tmp_path / "r" / "stats-imagenet" / "table.csv").write_text("precious")
        return tmp_path

    @pytest.fixture
    def listing(self, call, folder):
        flags = ("--collected", "--artefacts_dir", folder / "a", "--results_dir", folder / "r")
        return lambda *more: call("list_latex", *flags, *more)

    def test_collected_models_are_listed(self, listing, folder):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert listing("--models_summary_csv").status == 0
        written = folder / "r" / "models_summary.csv"
        assert written.read_bytes().decode().split("\r\n") == [
            COLUMNS,
            "1,a--b,unknown,my_net,unknown,mlp,unknown,[]",
            "2,vit_x_100%,timm,vit,ViT,transformer,LAION-2B,\"['CLIP Training', 'Distillation']\"",
            "3,plain,unknown,unknown,unknown,unknown,unknown,[]",
            "",
        ]
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert after == before | {written: written.read_bytes()}

    def test_rows_are_of_the_collected_models(self, listing, folder):
        assert listing("--models_summary_latex").stdout.splitlines() == [
            r"1. & a--b & unknown & mlp & unknown \\",
            r"2. & plain & unknown & unknown & unknown \\",
            r"3. & vit\_x\_100\% & timm & vit & LAION-2B \\",
        ]
        assert not (folder / "r" / "models_summary.csv").exists()

    @pytest.mark.parametrize("key", ["model_id", "source"])
    @pytest.mark.parametrize("value", [5, ["timm"], "two\nlines"])
    def test_metadata_that_are_not_text_are_refused(self, listing, folder, key, value):
        path = folder / "a" / "imagenet" / "plain" / "metadata.json"
        path.write_text(json.dumps({key: value}))
        assert refused(listing("--models_summary_csv", "--models_summary_latex"), path, "correct it")
        assert not (folder / "r" / "models_summary.csv").exists()

    def test_folder_without_models_is_refused(self, listing, folder):
        shutil.rmtree(folder / "a")
        assert refused(
            listing("--models_summary_csv"),
            folder / "a" / "imagenet",
            "run import_predictions.py or collect_predictions.py",
        )
        assert not (folder / "r" / "models_summary.csv").exists()


class TestSuperclasses:
    """The list of superclasses."""

    def test_superclasses_equal_the_committed_listing(self, call):
        listing = (ROOT / "artefacts" / "superclasses.txt").read_text()
        wanted = [block.splitlines() for block in listing.split("\n\n")]
        done = call("list_latex", "--superclasses")
        assert (done.status, done.stderr) == (0, "")
        head, *items = re.split(r"^\\item ", done.stdout, flags=re.MULTILINE)
        assert head == ""
        assert len(items) == len(wanted) == 161 + 1
        for item, (title, *members) in zip(items, wanted, strict=True):
            first, begin, *rows, end = item.splitlines()
            name, size = re.fullmatch(r"(.+): (\d+) wnet classes", title).groups()
            found = re.fullmatch(r"(?:\\textbf\{\\texttt\{(.+)\}\}|(Without a superclass)) \((\d+)\)", first)
            assert found[2] or printed(found[1]) == name
            assert int(found[3]) == int(size) == len(rows)
            assert begin == r"\begin{longtable}{@{}lp{0.75\linewidth}@{}}"
            assert end == r"\end{longtable}"
            cells = [re.fullmatch(r"(n\d{8}) & (.+) \\\\", row).groups() for row in rows]
            assert [f"{wnid} {printed(description)}" for wnid, description in cells] == members
            assert bool(found[2]) == (name == "no superclass") == (item is items[-1])

    def test_list_compiles_and_fits_the_page(self, call, tmp_path):
        items = call("list_latex", "--superclasses").stdout
        said = compiled(tmp_path, "\\begin{enumerate}\n" + items + "\\end{enumerate}")
        assert not [line for line in said.splitlines() if line.startswith("Overfull")]

    def test_superclasses_of_the_user_are_used(self, call, tmp_path):
        """Their definitions take precedence, whatever they are called, and may leave a superclass empty."""
        (tmp_path / "superclasses.json").write_text(json.dumps({"dogs_&_100% {pets}": [["dog"]], "none": [["none"]]}))
        descriptions = json.loads((ROOT / "artefacts" / "labels_map.json").read_text()) | {"151": "chi_hua & 50% ^dog"}
        (tmp_path / "labels_map.json").write_text(json.dumps(descriptions))
        done = call("list_latex", "--superclasses", "--artefacts_dir", tmp_path)
        assert r"n02085620 & chi\_hua \& 50\% \textasciicircum{}dog \\" in done.stdout.splitlines()
        titles = [line for line in done.stdout.splitlines() if line.startswith(r"\item")]
        assert titles == [
            r"\item \textbf{\texttt{dogs\_\&\_100\% \{pets\}}} (118)",
            r"\item \textbf{\texttt{none}} (0)",
            r"\item Without a superclass (882)",
        ]
        compiled(tmp_path, "\\begin{itemize}\n" + done.stdout + "\\end{itemize}")


@pytest.mark.parametrize("flags", [(), ("--collected",), ("--results_dir", "r")])
def test_flags_without_a_table_are_refused(call, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    assert refused(call("list_latex", *flags), "nothing to do: give --models_summary_csv, --models_summary_latex or")
    assert not list(tmp_path.iterdir())
