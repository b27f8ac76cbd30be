"""The page of all analysed models: its numbers are those of profiles, tables and lists, and names in it are text."""

import base64
import io
import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from imagenet_errors.analysis.analysed_models import analyse_files
from imagenet_errors.analysis.hardest_images import MOST_PREDICTIONS
from imagenet_errors.analysis.outcomes import OUTCOMES, WRONG
from imagenet_errors.analysis.profile import make_profile
from imagenet_errors.analysis.profile_report import report_profile
from imagenet_errors.analysis.several_report import report_several
from imagenet_errors.error_types import ERROR_TYPES, NO_ERROR_TYPE
from imagenet_errors.formats.stats_tables import read
from imagenet_errors.pages import zoo_page
from imagenet_errors.pages.zoo_page import KAPPA_UNIT, NO_KAPPA, encode_kappas, render
from imagenet_errors.paths import common_errors_list
from imagenet_errors.reporting.zoo import describe_figures
from tests.conftest import COMMITTED, left_out, refused
from tests.helpers.plain_figures import plain_points
from tests.helpers.plain_figures import read as read_csv
from tests.pages.conftest import HOSTILE
from tests.pages.test_error_page import Page, read_data

MAIN = [row for row in read_csv(COMMITTED.root / "figures.csv") if row["linear_fit"] == "yes"]


@pytest.fixture(scope="module")
def analysed_models(context, folder_models):
    return analyse_files(folder_models)


def read_kappas(zoo, wrong_by):
    """[m, m], symmetric, 1 on the diagonal."""
    m = len(zoo["models"]["name"])
    kappas = np.eye(m)
    pairs = np.triu_indices(m, 1)
    kappas[pairs] = np.frombuffer(base64.b64decode(zoo["kappas"][wrong_by]), "<i2") / KAPPA_UNIT
    return np.maximum(kappas, kappas.T)


def test_accuracies_and_counts_are_those_of_the_profiles(context, zoo, analysed_models):
    assert zoo["models"]["name"] == [model.name for model in analysed_models]
    for place, model in enumerate(analysed_models):
        profile = report_profile(make_profile(context, model, None)).content
        accuracies = {one["name"]: one for one in profile["accuracies"]}
        assert zoo["models"]["num_images"][place] == accuracies["top1"]["num_images"]
        for name, values in zoo["models"]["accuracies"].items():
            assert values[place] == accuracies[name]["value"]
        for line in profile["error_types"]:
            found = zoo["models"]["shares"][line["group"]][line["error_type"]]
            assert found["denominator"] == line["denominator"]
            for key in ("count", "low_count", "high_count", "is_upper_bound", "total"):
                assert found[key][place] == line[key]


def test_counts_are_those_of_the_stats_tables(zoo, analysed):
    compared = 0
    for group, table in read(analysed / "results", "imagenet").items():
        assert zoo["models"]["name"] == table.model_dir_id.tolist()
        for name, column in zoo["models"]["shares"][group].items():
            expected = table[next(one.column for one in ERROR_TYPES if one.name == name)]
            if expected.notna().all():
                compared += 1
                assert column["count"] == expected.tolist()
    assert compared >= 12


def test_kappas_are_those_of_the_report_on_several_models(context, zoo, analysed_models):
    content = report_several(context, analysed_models).content
    for wrong_by, kappas in content["kappas"].items():
        assert np.abs(read_kappas(zoo, wrong_by) - np.array(kappas, float)).max() <= 0.5 / KAPPA_UNIT + 1e-12
    assert sorted(zoo["kappas"]["order"]) == list(range(12))


def test_undefined_kappa_is_marked_and_one_model_has_none(context, analyses):
    from imagenet_errors.analysis.several_models import measure_kappas

    of_one = measure_kappas(context.counted_images, analyses[:1])
    assert encode_kappas([of_one])["order"] == [0]
    assert encode_kappas([of_one])["top1"] == ""
    of_two = measure_kappas(context.counted_images, analyses[:2])
    undefined = encode_kappas([replace(of_two, kappas=np.full((2, 2), np.nan))])
    assert np.frombuffer(base64.b64decode(undefined["top1"]), "<i2").tolist() == [NO_KAPPA]


def test_images_are_those_that_at_least_half_of_the_models_get_wrong(context, zoo, analyses):
    types = np.array([analysis.error_types for analysis in analyses])
    wrong, known = ((types != 0) & (types != NO_ERROR_TYPE)).sum(axis=0), (types != NO_ERROR_TYPE).sum(axis=0)
    half = [row for row in np.flatnonzero(~context.images.problematic) if 2 * wrong[row] >= known[row] > 0]
    unexplained = np.isin(
        types, [code for code, is_wrong in zip(OUTCOMES, WRONG["multi_label"], strict=True) if is_wrong]
    )
    expected = sorted(half, key=lambda row: (-wrong[row], -unexplained[:, row].sum(), row))
    hardest = zoo["hardest"]
    assert hardest["num_half"] == hardest["num_hardest"] == len(expected) > 1_000
    assert hardest["file"][: len(expected)] == [context.images.files[row] for row in expected]
    rows = {file: row for row, file in enumerate(context.images.files.tolist())}
    for file, digits, predictions in zip(hardest["file"], hardest["outcomes"], hardest["predictions"], strict=True):
        row = rows[file]
        codes = [OUTCOMES[int(digit)] if digit != "-" else NO_ERROR_TYPE for digit in digits]
        assert codes == types[:, row].tolist()
        counts = Counter(one.top1[row] for one in analyses if one.error_types[row] not in (0, NO_ERROR_TYPE))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_PREDICTIONS]
        assert list(zip(predictions[::3], predictions[2::3], strict=True)) == ranked


def test_outcomes_that_are_wrong_are_named(zoo):
    for name, is_wrong in WRONG.items():
        assert zoo["wrong"][name] == is_wrong.astype(int).tolist()


def test_galleries_of_types_are_the_lists_of_most_common_errors(zoo, analysed):
    hardest = zoo["hardest"]
    for one in ERROR_TYPES:
        path = common_errors_list(analysed / "results", "imagenet", one.flag or "")
        if one.flag and path.exists():
            common = hardest["common"][one.name]
            found = [(count, hardest["file"][row]) for count, row in zip(common["count"], common["image"], strict=True)]
            listed = re.findall(r"cnt mistakes = (\d+), file = (.*)", path.read_text())
            assert found == [(int(count), file) for count, file in listed]
            assert len(listed) > 10


def test_main_figures_have_points_of_every_model_and_those_of_the_paper(zoo, tables):
    figures = zoo["figures"]
    of_dataset = [row for row in MAIN if row["dataset"] == "imagenet"]
    assert len(MAIN) == 16
    assert [figure["stem"] for figure in figures["figures"]] == [row["file_stem"] for row in of_dataset]
    assert (figures["missing"], figures["is_stand_in"]) == (0, False)
    rows = {group: [{key: str(value) for key, value in row.items()} for row in of] for group, of in tables.rows.items()}
    for figure, row in zip(figures["figures"], of_dataset, strict=True):
        expected = {(group, model): (x, y) for group, model, x, y in plain_points(row, rows)}
        for cloud in figure["clouds"]:
            numbers = [figures["columns"][cloud[axis]] for axis in "xy"]
            for model, x, y in zip(zoo["models"]["name"], *numbers, strict=True):
                assert (x, y) == pytest.approx(expected[cloud["group"], model])
        assert len(figure["behind"]["x"]) == 962 * len(figure["clouds"])
        assert figure["lines"]


def test_other_figures_stand_in_where_the_open_world_test_was_skipped(call, analysed, tmp_path):
    done = call("report", "--artefacts_dir", analysed / "artefacts", "--page", tmp_path / "zoo.html")
    assert (done.status, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == f"wrote {tmp_path / 'zoo.html'}: 12 models"
    figures = read_data((tmp_path / "zoo.html").read_text())["figures"]
    assert (figures["missing"], figures["is_stand_in"]) == (8, True)
    assert {figure["stem"].split("y_axis=")[1].split("_abs")[0].split("_rel")[0] for figure in figures["figures"]} == {
        *("num_collapsed_mappings", "num_ambiguous", "num_same_superclass")
    }


def test_figures_of_one_model_say_that_lines_are_missing(tables):
    one = replace(tables, rows={group: rows[:1] for group, rows in tables.rows.items()})
    figures = describe_figures(COMMITTED, "imagenet", one)["figures"]
    assert len(figures) == 8
    assert all("no line" in " ".join(figure["notes"]) for figure in figures)
    assert describe_figures(COMMITTED, "sample", one) is None


def test_page_asks_no_other_host_and_runs_its_own_scripts_alone(zoo):
    text = render(zoo)
    outside = re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", text)
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", outside)
    page = Page(outside)
    assert not [attributes for _, attributes in page.tags if {"src", "srcset"} & attributes.keys()]
    policy = next(one["content"] for tag, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in re.search(r"script-src[^;]*", policy).group()


def rename(payload: dict, suffix: str) -> dict:
    """The payload with names of models, files and classes that end in a text."""
    named = {key: dict(payload[key]) for key in ("models", "hardest", "figures")}
    named["models"]["name"] = [one + suffix for one in payload["models"]["name"]]
    named["hardest"]["file"] = [one + suffix for one in payload["hardest"]["file"]]
    named["figures"]["models"] = named["models"]["name"]
    return payload | named | {"classes": [one + suffix for one in payload["classes"]], "left_out": [suffix]}


def test_hostile_names_are_text(zoo):
    text = render(rename(zoo, HOSTILE))
    assert read_data(text)["models"]["name"][0].endswith(HOSTILE)
    assert [tag for tag, _ in Page(text).tags] == [tag for tag, _ in Page(render(zoo)).tags]


def test_models_that_are_not_analysed_are_left_out_and_told(call, analysed, tmp_path):
    folder = tmp_path / "artefacts"
    shutil.copytree(analysed / "artefacts", folder)
    flags = ("report", "--artefacts_dir", folder, "--page", tmp_path / "zoo.html")
    for path in sorted((folder / "imagenet").glob("*/errors_analysis.parquet"))[1:]:
        path.unlink()
    assert left_out(call(*flags), "wrote")
    data = read_data((tmp_path / "zoo.html").read_text())
    assert (len(data["models"]["name"]), len(data["left_out"])) == (1, 11)
    assert "run evaluation.py --perform_error_analysis" in data["left_out"][0]
    next((folder / "imagenet").glob("*/errors_analysis.parquet")).unlink()
    assert refused(call(*flags), "errors_analysis.parquet is missing: run evaluation.py --perform_error_analysis")


def test_page_holds_thumbnails_of_the_first_images_of_each_gallery(shared, context, folder_models, analyses, tmp_path):
    folder, path = shared / "images" / "val", tmp_path / "zoo.html"
    payload = zoo_page.make_payload(context, folder_models, analyses, None, [], path, folder, num_embedded=2)
    has, hardest = payload["images"]["has"], payload["hardest"]
    lists = [range(hardest["num_hardest"]), *(one["image"] for one in hardest["common"].values())]
    expected = {row for rows in lists for row in [row for row in rows if has[row]][:2]}
    assert payload["images"]["embedded"].keys() == expected
    assert len(expected) > 5
    for thumbnail in payload["images"]["embedded"].values():
        assert Image.open(io.BytesIO(base64.b64decode(thumbnail))).format == "JPEG"
    assert f"It holds {len(expected)} images." in render(payload)


def test_mistaken_flags_are_refused(call, analysed, tmp_path):
    page = ("report", "--artefacts_dir", analysed / "artefacts", "--page", tmp_path / "zoo.html")
    assert refused(call("report"), "give --model", "--page alone")
    for flags in (
        ("--compare", "a"),
        ("--errors", "a.csv"),
        ("--sensitivity",),
        ("--format", "json"),
        ("--output", "a"),
    ):
        assert refused(call(*page, *flags), flags[0], "needs --model")
    assert refused(call(*page, "--labels", "real"), "--labels")
    assert refused(call(*page, "--embed_images", 3), "--embed_images goes with --page and --images")
    assert refused(call(*page[:-1], tmp_path / "zoo.pdf"), "zoo.pdf: a page is a file named .html")
    assert refused(call("report", "--artefacts_dir", tmp_path, "--page", tmp_path / "a.html"), "has no predictions")
    assert not list(tmp_path.iterdir())
