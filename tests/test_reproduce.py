"""make reproduce: from an archive to results, pages and the comparison with reference tables."""

import csv
import re
import shutil

import pytest

from imagenet_errors.notebooks.pages import execute, read_notebook, write_page
from imagenet_errors.paths import stats_table
from tests.analysis.test_agreement import alter
from tests.conftest import ROOT, run_script
from tests.helpers.notebooks import NAMES
from tests.paper_archive.conftest import archive  # noqa: F401

REQUESTS = [  # what a browser fetches when it opens a page
    r"<(?:script|img|iframe|audio|video|source|embed)\b[^>]*\bsrc\s*=\s*(?![\"']?data:)",
    r"<link\b[^>]*\bhref\s*=\s*(?![\"']?(?:data:|#))",
    r"@import",
    r"url\((?!\s*[\"']?(?:data:|#))",
    r"\bimport\b[^;\n]*[\"']https?:",
]
LARGEST = {"analyse_results_imagenet": 4e6, "analyse_results_imagenet-a": 4e6}  # bytes; others have at most 1 MB


def find_requests(html: str) -> list[str]:
    return [html[found.start() :][:200] for pattern in REQUESTS for found in re.finditer(pattern, html, re.IGNORECASE)]


def check_page(path):
    html = path.read_text()
    assert find_requests(html) == []
    assert "No description" not in html
    assert path.stat().st_size < LARGEST.get(path.stem, 1e6)


def test_requests_are_seen():
    assert find_requests('<script src="https://cdnjs.cloudflare.com/x.js"></script>')
    assert find_requests("<style>@font-face { src: url(fonts/x.woff) }</style>")
    assert find_requests("<img alt='x' src='../figures/a.png'>")
    assert not find_requests('<a href="https://example.org">x</a><img src="data:image/png;base64,AA" alt="x">')


@pytest.mark.heavy
def test_page_of_a_notebook_asks_nothing_of_the_network(tmp_path):
    pytest.importorskip("nbconvert", reason="nbconvert is not installed: requirements-notebooks.txt")
    page = tmp_path / "analyse_results_imagenet.html"
    notebook = read_notebook(ROOT / "src" / "analyse_results_imagenet.ipynb", families=["non_proto"])
    execute(notebook, ROOT / "src")
    write_page(page, notebook)
    html = page.read_text()
    assert "How 962 models fail on ImageNet" in html
    assert html.count('src="data:image/png;base64,') == 3  # a legend and two rows
    assert html.count('alt="The number of non-prototypical errors against MLA') == 1
    check_page(page)


@pytest.mark.heavy
def test_archive_of_two_models_is_reproduced(archive, tmp_path):  # noqa: F811
    pytest.importorskip("nbconvert")
    where = ("--artefacts_dir", tmp_path / "artefacts", "--results_dir", tmp_path / "results")
    done = run_script("reproduce", "--archive", archive, *where)
    assert done.returncode == 0, done.stderr
    assert "imagenet: 2 models, none published" in done.stdout
    assert "has no analyses of imagenet-a" in done.stderr
    pages = sorted((tmp_path / "results" / "notebooks").glob("*.html"))
    assert [path.stem for path in pages] == [name for name in NAMES if name != "analyse_results_imagenet-a"]
    for path in pages:
        check_page(path)
    assert "How 2 models fail on ImageNet" in pages[0].read_text()
    assert len(list((tmp_path / "results" / "figures" / "imagenet").glob("x_axis*.pdf"))) == 50


@pytest.mark.heavy
def test_altered_cell_is_found_in_what_an_archive_reproduces(analysed, tmp_path):
    """An archive exported from the twelve sets, against their own tables: equal but for the cell that is altered."""
    pytest.importorskip("nbconvert")
    path = tmp_path / "models-imagenet.tar.gz"
    done = run_script("download_artefacts", "--export_archive", path, "--artefacts_dir", analysed / "artefacts")
    assert done.returncode == 0, done.stderr
    shutil.copytree(analysed / "results" / "stats-imagenet", tmp_path / "reference" / "stats-imagenet")
    alter(stats_table(tmp_path / "reference", "imagenet", "artifact"), "pytorch--resnet50", "num_same_superclass", "1")
    where = ("--artefacts_dir", tmp_path / "artefacts", "--results_dir", tmp_path / "results")
    done = run_script("reproduce", "--archive", path, "--reference", tmp_path / "reference", *where)
    assert done.returncode == 1, done.stderr
    assert "imagenet: 12 models, all published" in done.stdout
    assert [line for line in done.stdout.splitlines() if "differs" in line] == [
        next(line for line in done.stdout.splitlines() if "artifact, pytorch--resnet50, num_same_superclass: " in line)
    ]
    with open(tmp_path / "results" / "agreement" / "imagenet.csv", newline="") as file:
        assert [row["reference"] for row in csv.DictReader(file) if row["state"] == "differs"] == ["1"]
