"""The page of errors as a reader uses it, in a headless Chromium, with all errors of one model against another."""

import csv
import io
import shutil
from urllib.parse import quote

import numpy as np
import pytest

from imagenet_errors.analysis.browse import list_errors, read_others, select
from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.pages.error_page import render, write_error_page
from tests.helpers.browser import console_errors, find, open_browser, open_page, press, run_axe, show, wait_until
from tests.pages.conftest import FIRST, HOSTILE, OTHER

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def path(context, models, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_error_page(context, models, load_reference("imagenet"), path)
    return path


@pytest.fixture(scope="module")
def errors(context, models):
    return list_errors(context, models[0], models[1:], read_others(context, [FIRST]))


@pytest.fixture(scope="module")
def driver():
    with open_browser() as driver:
        yield driver


@pytest.fixture
def page(driver, path):
    """The page, freshly opened; at the end nothing may be in the console."""
    open_page(driver, path)
    yield driver
    assert console_errors(driver) == []


def read_count(driver) -> int:
    return int(find(driver, ".count").text.split()[0].replace(",", ""))


def read_cells(driver, row: str) -> list[str]:
    return [cell.text for cell in find(driver, row).find_elements("css selector", "td")]


def choose(driver, key: str, value) -> None:
    from selenium.webdriver.support.ui import Select

    Select(find(driver, f"#filter-{key}")).select_by_value(str(value))


def focused(driver) -> str:
    return driver.execute_script("return document.activeElement.dataset.row ?? document.activeElement.id")


def export(driver, folder) -> list[dict[str, str]]:
    """The rows of the file that the button saves."""
    folder.mkdir()
    behaviour = {"behavior": "allow", "downloadPath": str(folder)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    find(driver, "#export").click()
    saved = folder / "errors.csv"  # empty at first: the browser keeps the name before it has the rows
    wait_until(lambda: saved.exists() and saved.stat().st_size)
    return list(csv.DictReader(io.StringIO(saved.read_text(), newline="")))


CHOICES = {
    "type": ([("type", "fine_grained")], {"error_type": "fine_grained"}),
    "correct": ([("type", "correct")], {"error_type": "correct"}),
    "group": ([("group", "artifact")], {"group": "artifact"}),
    "superclass": ([("superclass", "snakes")], {"superclass": "snakes"}),
    "label": ([("label", 664)], {"label": 664}),
    "prediction": ([("prediction", 782)], {"prediction": 782}),
    "right": ([("right-0", None)], {"right_in": OTHER}),
    "half": ([("half-1", None)], {"by_half": True}),
    "several": (
        [("type", "missing_multi_label"), ("group", "organism"), ("right-0", None), ("half-1", None)],
        {"error_type": "missing_multi_label", "group": "organism", "right_in": OTHER, "by_half": True},
    ),
}


@pytest.mark.parametrize(("choices", "filters"), CHOICES.values(), ids=CHOICES)
def test_filter_keeps_and_exports_the_rows_of_the_table(page, errors, tmp_path, choices, filters):
    for key, value in choices:
        if value is None:
            find(page, f"#filter-{key}").click()
        else:
            choose(page, key, value)
    expected = select(errors, **filters)
    assert read_count(page) == len(expected) > 0
    rows = export(page, tmp_path / "saved")
    assert [row["file"] for row in rows] == expected.file.tolist()
    assert [row["error_type"] for row in rows] == expected.error_type.tolist()
    assert [int(row["prediction_id"]) for row in rows] == expected.prediction.tolist()
    assert [row["reason"] for row in rows] == [" ".join(sentences) for sentences in expected.reason]
    assert [int(row["num_same"]) for row in rows] == expected.num_same.tolist()


def test_numbers_shown_are_those_of_the_profile(page, payload):
    for group in ("all", *payload["groups"]):
        find(page, f"#tab-{group}").click()
        for line in payload["profile"]["error_types"]:
            if line["group"] == group:
                shown = [
                    cell.text
                    for cell in find(page, f"tr[data-type={line['error_type']}]").find_elements("css selector", "td")
                ]
                bound = "≤" if line["is_upper_bound"] else ""
                assert shown[0] == ("–" if line["count"] is None else f"{bound}{line['count']:,}")
                assert shown[1] == ("–" if line["share"] is None else f"{bound}{line['share']:.1f}")
                assert shown[4] == ("–" if line["expected"] is None else f"{line['expected']:.1f}")
    for one in payload["comparisons"][0]["shares"]:
        shown = read_cells(page, f"tr[data-share={one['share']}]")
        expected = "–" if one["difference"] is None else f"{one['difference']:+.2f}".replace("-", "−")
        assert shown[2] == expected


def test_comparison_names_its_images_and_methods(page, payload):
    pair, shown = payload["comparisons"][0], find(page, "#comparisons").text
    for text in (f"{pair['num_images']:,} unproblematic images", *pair["notes"]):
        assert text in shown
    for one in pair["consistency"]:
        assert f"both on {one['both_wrong']:,} images, only the first on {one['only_first_wrong']:,}" in shown
    assert "?: the open-world test" in find(page, "#filters").text


def test_cells_pairs_and_classes_filter_the_gallery(page, errors):
    number = len(select(errors, error_type="model_failure", types_of={OTHER: "correct"}))
    cell = find(page, f'.transitions [aria-label="{number:,} images: model failure to correct"]')
    cell.click()
    assert read_count(page) == number
    find(page, "#clear").click()
    for column, title in enumerate(("Pairs", "Classes", "Superclasses")):
        row = page.find_elements("css selector", ".facet")[column].find_element("css selector", "tbody tr")
        count = int(row.find_elements("css selector", "td")[1].text)
        row.find_element("css selector", "button").click()
        assert read_count(page) == count, title
        find(page, "#clear").click()
    assert read_count(page) == len(select(errors))


def test_classes_come_in_the_order_of_errors_above_what_is_expected(page, payload, errors):
    def read_classes():
        rows = page.find_elements("css selector", ".facet:nth-child(2) tbody tr")
        return [[cell.text for cell in row.find_elements("css selector", "td")] for row in rows]

    expected = np.array(payload["class_errors"]["expected"])
    counts = np.bincount(select(errors).label, minlength=1000)
    first = np.sort(expected - counts)[:15]
    shown = read_classes()
    assert [float(row[2].rstrip("*")) - int(row[1]) for row in shown] == pytest.approx(first, abs=0.051)
    choose(page, "type", "fine_grained")
    counts = np.bincount(select(errors, error_type="fine_grained").label, minlength=1000)
    assert [int(row[1]) for row in read_classes()] == np.sort(counts)[:-16:-1].tolist()


def test_search_finds_the_rows_of_the_table(page, path, errors):
    file = errors.file.iloc[100].upper()
    for text in ("missile", "TABBY", "n0253", file, "a, ", "; ", "<b>", "\u202e"):
        open_page(page, path, f"#text={quote(text, safe='')}")
        assert read_count(page) == len(select(errors, text=text)), text
        assert find(page, "#filter-text").get_property("value") == text


def test_search_keyboard_and_details(page, errors):
    from selenium.webdriver.common.keys import Keys

    press(page, "/", "shark")
    assert focused(page) == "filter-text"
    expected = select(errors, text="shark")
    assert read_count(page) == len(expected) > 3
    positions = errors.index.get_indexer(expected.index).astype(str).tolist()
    press(page, Keys.ESCAPE)
    assert read_count(page) == len(select(errors))
    press(page, "/", "shark")
    page.execute_script("document.querySelector('.card').focus()")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert focused(page) == positions[1]
    press(page, Keys.END)
    assert focused(page) == positions[-1]
    press(page, Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER)
    wait_until(lambda: find(page, "#details").is_displayed())
    text = find(page, "#details").text
    one = expected.iloc[1]
    for word in (one.file, one.label_text, one.prediction_text, *one.reason, f"{one.num_same} of {one.num_others}"):
        assert word in text
    press(page, Keys.ARROW_RIGHT)
    wait_until(lambda: expected.iloc[2].file in find(page, "#details").text)
    press(page, Keys.ESCAPE)
    wait_until(lambda: not find(page, "#details").is_displayed())
    wait_until(lambda: focused(page) == positions[2])


def test_address_keeps_the_filter_and_back_undoes_it(page, path, errors):
    choose(page, "group", "organism")
    choose(page, "type", "fine_grained")
    number = len(select(errors, error_type="fine_grained", group="organism"))
    assert read_count(page) == number
    address = page.current_url.partition("#")[2]
    find(page, ".card").click()
    opened = page.current_url.partition("#")[2]
    page.back()
    wait_until(lambda: not find(page, "#details").is_displayed())
    page.back()
    wait_until(lambda: read_count(page) == len(select(errors, group="organism")))
    page.forward()
    wait_until(lambda: read_count(page) == number)
    open_page(page, path, f"#{address}")
    assert read_count(page) == number
    open_page(page, path, f"#{opened}")
    assert select(errors, error_type="fine_grained", group="organism").file.iloc[0] in find(page, "#details").text
    open_page(page, path, "#type=<b>&label=9999&right=7&vs=a.b&open=none&half=yes&__proto__=1")
    assert read_count(page) == len(select(errors))


def test_order_is_by_confidence(shared, page, errors, tmp_path):
    choose(page, "sort", "confident")
    rows = export(page, tmp_path / "saved")
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(rows) == len(select(errors))


@pytest.mark.parametrize("width", [420, 800, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_axe_finds_no_violation(page, axe, width, scheme):
    show(page, width, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    panel = find(page, "#profile-panel")
    assert width < 800 or panel.get_property("scrollWidth") == panel.get_property("clientWidth")
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    run_axe(page, axe)
    find(page, ".card").click()
    assert page.execute_script("return document.getElementById('details').scrollWidth <= innerWidth")
    run_axe(page, axe)


def repeat(columns: dict, times: int) -> dict:
    """The columns of errors with every row several times, under other names of files."""
    names = ("sentences", "superclass_names")
    repeated = {
        name: column if column is None or name in names else [copy for copy in column for _ in range(times)]
        for name, column in columns.items()
    }
    repeated["file"] = [f"{file}.{number}" for number, file in enumerate(repeated["file"])]
    repeated["compared"] = [
        {"name": one["name"], **{key: np.repeat(one[key], times).tolist() for key in ("prediction", "type")}}
        for one in columns["compared"]
    ]
    return repeated


def test_filters_of_20000_errors_take_less_than_100_ms(driver, payload, tmp_path, capsys):
    errors = repeat(payload["errors"], -(-20_000 // len(payload["errors"]["file"])))
    assert len(errors["file"]) >= 20_000
    (tmp_path / "page.html").write_text(render(payload | {"errors": errors}))
    show(driver, 1400)
    open_page(driver, tmp_path / "page.html")
    script = """
    const [key, value, done] = arguments, start = performance.now();
    const control = document.getElementById(`filter-${key}`);
    control.value = value;
    control.dispatchEvent(new Event(key === "text" ? "input" : "change"));
    control.getBoundingClientRect();
    const spent = performance.now() - start;
    requestAnimationFrame(() => requestAnimationFrame(() => done(spent)));
    """
    texts, types = [("text", text) for text in ("s", "sh", "")], [("type", one) for one in ("model_failure", "")]
    choices = [*texts, *types, ("group", "artifact"), ("sort", "common"), ("group", ""), ("sort", "file")]
    runs = [
        {f"{key} {value}": driver.execute_async_script(script, key, value) for key, value in choices} for _ in range(5)
    ]
    spent = {name: min(run[name] for run in runs) for name in runs[0]}  # other work on the machine takes turns
    with capsys.disabled():
        print({key: round(value, 1) for key, value in spent.items()})
    assert max(spent.values()) < 100
    assert console_errors(driver) == []


def test_only_cards_in_sight_exist(page):
    from selenium.webdriver.common.keys import Keys

    assert len(page.find_elements("css selector", ".card")) < 100
    page.execute_script("document.querySelector('.card').focus()")
    press(page, Keys.END)
    assert len(page.find_elements("css selector", ".card")) < 100
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_images_of_a_folder_are_shown_where_they_are(shared, driver, context, models, errors, tmp_path):
    folder, path = shared / "images" / "val", tmp_path / "page.html"
    write_error_page(context, models, None, path, folder)
    there = [file for file in select(errors).file if (folder / file).is_file()]
    assert len(there) > 10
    for file in there[:3]:
        open_page(driver, path, f"#open={quote(file, safe='')}")
        loaded = "const image = document.querySelector('#details img'); return image.complete && image.naturalWidth > 0"
        wait_until(lambda loaded=loaded: driver.execute_script(loaded))
    absent = next(file for file in select(errors).file if file not in there)
    open_page(driver, path, f"#open={quote(absent, safe='')}")
    assert absent in find(driver, "#details .no-picture").text
    assert console_errors(driver) == []


def test_embedded_images_are_shown_without_their_folder(shared, driver, context, models, errors, tmp_path):
    folder, path = shared / "images" / "val", tmp_path / "elsewhere" / "page.html"
    write_error_page(context, models, None, path, folder, num_embedded=1)
    file = next(file for file in select(errors).file if (folder / file).is_file())
    shutil.move(path, tmp_path / "page.html")  # so that relative addresses lead nowhere
    open_page(driver, tmp_path / "page.html", f"#open={quote(file, safe='')}")
    loaded = "const image = document.querySelector('#details img'); return image.complete && image.naturalWidth > 0"
    wait_until(lambda: driver.execute_script(loaded))
    assert find(driver, "#details img").get_attribute("src").startswith("data:image/jpeg;base64,")


def test_hostile_names_are_shown_as_text(driver, hostile, tmp_path):
    (tmp_path / "page.html").write_text(render(hostile))
    open_page(driver, tmp_path / "page.html")
    find(driver, ".card").click()
    for selector in ("h1", ".facet", ".card", "#filters", "#comparisons", "#details"):
        assert HOSTILE in find(driver, selector).get_property("textContent"), selector
    assert driver.title != "run"
    assert not driver.find_elements("css selector", "img")
    assert console_errors(driver) == []
