"""The interactive pages: whole in one file, every model in them, and drawn by a browser."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_script
from tests.helpers.plain_figures import (
    CORPORA,
    made_tables,
    multi_label_errors,
    plain_points,
    read,
    read_tables,
    write_tables,
)

CHROMIUM = Path("/usr/bin/chromium")
ROWS = [row for row in read(ROOT / "artefacts/figures.csv") if row["dataset"] == "imagenet"]
FAMILIES = ("class_overlap", "model_failures_to_mle")
COUNT = 26


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Made-up tables, one model of which has no known corpus, no number of parameters and a name like HTML."""
    folder = tmp_path_factory.mktemp("pages")
    tables = made_tables(COUNT)
    for rows in tables.values():
        rows[4] |= {"training_data": "mine", "model_dir_id": "made--<b>&</script>", "num_params": ""}
        rows[5]["training_data"] = ""
    write_tables(folder, tables)
    return folder


@pytest.fixture(scope="module")
def pages(folder) -> dict[str, Path]:
    """{family: page} of the tables."""
    folders = ("--stats_dir", folder, "--results_dir", folder / "out")
    done = run_script("utils_plot", "--dataset", "imagenet", "--interactive", "--family", *FAMILIES, *folders)
    assert done.returncode == 0, done.stderr
    written = {path.stem: path for path in (folder / "out/figures/imagenet").iterdir()}
    assert set(written) == set(FAMILIES)
    return written


def of_family(family: str) -> list[dict[str, str]]:
    return [row for row in ROWS if row["family"] == family]


def test_page_is_self_contained_with_plotly_once(pages):
    for family, path in pages.items():
        page = path.read_text()
        tags = re.findall(
            r"<(?:script|link|img|iframe|style)\b[^>]*>", re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", page)
        )
        assert tags
        assert not [tag for tag in tags if re.search(r"\b(src|href)\s*=", tag)]
        assert page.count("plotly.js v") == 1
        assert page.count("Plotly.newPlot(") == len(of_family(family)) + page.count("Plotly.newPlot()")
        assert f"<title>{family} (imagenet)</title>" in page
        assert len(page) < 12e6


def charts(page: str) -> list[list[dict]]:
    """The traces of every chart, as the page hands them to plotly."""
    decoder, found = json.JSONDecoder(), []
    for match in re.finditer(r"Plotly\.newPlot\(\s*\"figure\d+\",\s*", page):
        found.append(decoder.raw_decode(page, match.end())[0])
    return found


def test_every_point_of_a_page_names_its_model(pages, folder):
    models = {row["model_dir_id"] for row in read_tables(folder, "imagenet")["all"]}
    for family, path in pages.items():
        drawn = charts(path.read_text())
        assert len(drawn) == len(of_family(family))
        for traces, row in zip(drawn, of_family(family), strict=True):
            points = [trace for trace in traces if trace["mode"] == "markers"]
            named = Counter(about[0] for trace in points for about in trace["customdata"])
            assert named == dict.fromkeys(models, len(row["groups"].split()))
            assert all("%{customdata[0]}" in trace["hovertemplate"] for trace in points)
            assert {trace["name"] for trace in points} == {*CORPORA, "unknown"}
            shown = Counter(trace["name"] for trace in points if trace["showlegend"])
            assert shown == dict.fromkeys([*CORPORA, "unknown"], 1)
            lines = [trace for trace in traces if trace["mode"] == "lines"]
            assert bool(lines) == (row["linear_fit"] == "yes")


BASES = {  # by family: what the axis counts a part of, and the column with the errors of an image group
    "class_overlap": ("top-1 errors of the group", lambda row, of_all: int(row["num_group_top1_errors"])),
    "model_failures_to_mle": {
        "relative_to_group_mle": ("multi-label errors of the group", lambda row, of_all: multi_label_errors(row)),
        "relative_to_all_mle": ("multi-label errors on all images", lambda row, of_all: multi_label_errors(of_all)),
    },
}


def test_hover_texts_count_the_errors_of_the_axis(pages, folder):
    tables = read_tables(folder, "imagenet")
    for family, path in pages.items():
        for traces, row in zip(charts(path.read_text()), of_family(family), strict=True):
            basis = BASES[family]
            words, count = basis if isinstance(basis, tuple) else basis[row["y_computation"]]
            groups = row["groups"].split()
            for trace in (trace for trace in traces if trace["mode"] == "markers"):
                models = {model["model_dir_id"]: model for model in tables[groups[axis(trace)]]}
                of_all = {model["model_dir_id"]: model for model in tables["all"]}
                for model, _, _, part in trace["customdata"]:
                    errors, total = int(models[model][row["y"]]), count(models[model], of_all[model])
                    assert part == f"{errors:,} of {total:,} {words}"


def test_unknown_is_not_printed_as_a_number(pages):
    for path in pages.values():
        for traces in charts(path.read_text()):
            about = [about for trace in traces if trace["mode"] == "markers" for about in trace["customdata"]]
            assert {parameters for model, _, parameters, _ in about if "<b>" in model} == {
                "unknown number of parameters"
            }
            known = [parameters for model, _, parameters, _ in about if "<b>" not in model]
            assert all(re.fullmatch(r"[1-9][\d,]* parameters", text) for text in known)
            assert {corpus for model, corpus, *_ in about if model == "made--model5"} == {"unknown corpus"}


def test_titles_of_charts_name_error_type_and_dataset(pages):
    for family, path in pages.items():
        texts = re.findall(r'"title":\{"text":("[^"]*")', path.read_text())
        titles = [title for text in texts if "<br>" in (title := json.loads(text))]
        heading = {"class_overlap": "Class overlap", "model_failures_to_mle": "Model failure"}[family]
        rows = of_family(family)
        labels = [row["y_label"].removeprefix("" if row["y_unit"] == "count" else "# ") for row in rows]
        assert titles == [f"{heading} · ImageNet<br>{label}" for label in labels]


def numbers(coded) -> list[float]:
    """A column of plotly's: a list, or base64."""
    import base64

    import numpy as np

    if isinstance(coded, dict):
        return np.frombuffer(base64.b64decode(coded["bdata"]), coded["dtype"]).tolist()
    return coded


def test_points_of_a_page_equal_those_of_the_picture(pages, folder):
    tables = read_tables(folder, "imagenet")
    for family, path in pages.items():
        for traces, row in zip(charts(path.read_text()), of_family(family), strict=True):
            found = {
                (axis(trace), about[0]): (x, y)
                for trace in traces
                if trace["mode"] == "markers"
                for about, x, y in zip(trace["customdata"], numbers(trace["x"]), numbers(trace["y"]), strict=True)
            }
            groups = row["groups"].split()
            expected = {(groups.index(g), model): (x, y) for g, model, x, y in plain_points(row, tables)}
            assert found.keys() == expected.keys()
            for key, place in expected.items():
                assert found[key] == pytest.approx(place, abs=1e-9)


def axis(trace: dict) -> int:
    return int(trace["xaxis"].removeprefix("x") or 1) - 1


@pytest.mark.heavy
def test_browser_draws_the_page(pages, tmp_path):
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    family = "model_failures_to_mle"
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    switches += [
        "--dump-dom",
        "--disable-background-networking",
        "--disable-component-update",
        "--virtual-time-budget=8000",
    ]
    logging = ("--enable-logging=stderr", "--v=0")
    done = subprocess.run(
        [CHROMIUM, *switches, *logging, f"--user-data-dir={tmp_path / 'profile'}", pages[family].as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not re.search(r"CONSOLE.*(Uncaught|Error)", done.stderr), done.stderr[-2000:]
    body = re.sub(r"(?s)<script.*?</script>", "", done.stdout)
    groups = [row["groups"].split() for row in of_family(family)]
    assert len(re.findall(r'class="scatterlayer', body)) == sum(map(len, groups))
    assert len(re.findall(r'<path class="point[ "]', body)) == COUNT * sum(map(len, groups))
    legends = re.findall(r'class="legendtext"[^>]*>([^<]*)<', body)
    assert Counter(legends) == dict.fromkeys([*CORPORA, "unknown"], len(groups))
    assert "js-line" in body
