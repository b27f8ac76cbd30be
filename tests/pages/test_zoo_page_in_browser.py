"""The page of all models as a reader uses it, in a headless Chromium: table, linked selection, heat map, images."""

from urllib.parse import quote, urlencode

import numpy as np
import pytest

from imagenet_errors.pages.zoo_page import render
from tests.helpers.browser import console_errors, find, open_browser, open_page, press, run_axe, show, wait_until
from tests.pages.conftest import FIRST, HOSTILE, OTHER
from tests.pages.test_zoo_page import read_kappas, rename

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def path(zoo, tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo") / "zoo.html"
    path.write_text(render(zoo))
    return path


@pytest.fixture(scope="module")
def driver():
    with open_browser() as driver:
        yield driver


@pytest.fixture
def page(driver, path):
    """The page, freshly opened; at the end nothing may be in the console."""
    show(driver, 1400)
    open_page(driver, path)
    yield driver
    assert console_errors(driver) == []


def read_rows(driver) -> list[list[str]]:
    """The texts of the table of models."""
    return read_cells(driver, "#table")


def read_cells(driver, table: str) -> list[list[str]]:
    return driver.execute_script(
        "return [...document.querySelectorAll(`${arguments[0]} tbody tr`)].map((row) =>"
        " [...row.cells].map((one) => one.textContent))",
        table,
    )


def read_files(driver) -> list[str]:
    """The positions of the images whose cards are there, in their order."""
    return driver.execute_script(
        "return [...document.querySelectorAll('.item')].sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)"
        ".map((item) => Number(item.firstChild.dataset.row))"
    )


def count_images(driver) -> int:
    return int(find(driver, "#filters .count").text.split()[0].replace(",", ""))


def choose(driver, key: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(find(driver, f"#filter-{key}")).select_by_value(value)


def click(driver, selector: str) -> None:
    """Click in the middle of the window, where the bar of selected models is not."""
    driver.execute_script("document.querySelector(arguments[0]).scrollIntoView({ block: 'center' })", selector)
    find(driver, selector).click()


def click_box(driver, model: str) -> None:
    click(driver, f'#table input[data-model="{model}"]')


def selected(driver) -> dict[str, list[str]]:
    """The models that are marked in the table, in each drawn figure, in the heat map and in the list above."""
    return driver.execute_script("""
        const texts = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);
        const rings = [...document.querySelectorAll('.js-plotly-plot')].map((panel) =>
          [...new Set([...panel.querySelectorAll('.rings circle')].map((one) => one.dataset.model))].sort());
        return { table: texts('#table tr.chosen th').sort(), map: texts('#map tbody th.chosen').sort(), rings,
          list: texts('.chip bdi').sort() }
    """)


def draw_figures(driver) -> int:
    """Scroll to every figure; returns how many there are."""
    count = driver.execute_script("return document.querySelectorAll('.plot').length")
    for place in range(count):
        driver.execute_script("document.querySelectorAll('.plot')[arguments[0]].scrollIntoView()", place)
        drawn = f"return document.querySelectorAll('.plot')[{place}].matches('.js-plotly-plot')"
        wait_until(lambda drawn=drawn: driver.execute_script(drawn))
    return count


def test_table_shows_the_numbers_of_each_group(page, zoo):
    models = zoo["models"]
    for group in zoo["groups"]:
        click(page, f"#group-{group}")
        for values in ("", "counts"):
            choose(page, "values", values)
            rows = {row[0]: row[1:] for row in read_rows(page)}
            assert rows.keys() == set(models["name"])
            for place, name in enumerate(models["name"]):
                accuracies = [f"{column[place]:.2f}" for column in models["accuracies"].values()]
                assert rows[name][:4] == [f"{models['num_images'][place]:,}", *accuracies]
                shares = models["shares"][group]
                totals = [shares[error_type]["total"][place] for error_type in ("class_overlap", "fine_grained")]
                assert rows[name][4:6] == [f"{total:,}" for total in totals]
                for text, column in zip(rows[name][6:], shares.values(), strict=True):
                    count, total = column["count"][place], column["total"][place]
                    number = "" if count is None else f"{count:,}" if values else f"{100 * (count / total):.1f}"
                    bound = "≤" if column["is_upper_bound"][place] else ""
                    assert text == ("–" if count is None else bound + number)


def test_headings_sort_by_mouse_and_keyboard_and_say_so(page, zoo):
    from selenium.webdriver.common.keys import Keys

    models = zoo["models"]
    top1 = dict(zip(models["name"], models["accuracies"]["top1"], strict=True))
    assert [row[0] for row in read_rows(page)] == sorted(top1, key=top1.get, reverse=True)
    assert find(page, "[aria-sort]").get_attribute("aria-sort") == "descending"
    failures = dict(zip(models["name"], models["shares"]["all"]["model_failure"]["count"], strict=True))
    totals = dict(zip(models["name"], models["shares"]["all"]["model_failure"]["total"], strict=True))
    shares = {name: failures[name] / totals[name] for name in failures}
    headings = page.find_elements("css selector", "#table thead button")
    headings[-1].click()
    assert [row[0] for row in read_rows(page)] == sorted(shares, key=shares.get, reverse=True)
    press(page, Keys.ENTER)
    assert [row[0] for row in read_rows(page)] == sorted(shares, key=shares.get)
    assert find(page, "th:last-child[aria-sort]").get_attribute("aria-sort") == "ascending"
    headings[0].click()
    assert [row[0] for row in read_rows(page)] == sorted(top1, key=str.lower)
    assert len(page.find_elements("css selector", "[aria-sort]")) == 1
    page.back()
    assert [row[0] for row in read_rows(page)] == sorted(shares, key=shares.get)


def test_unknown_values_come_last_in_both_directions(driver, zoo, tmp_path):
    models = zoo["models"]
    real = [None, *models["accuracies"]["real"][1:]]
    changed = models | {"accuracies": models["accuracies"] | {"real": real}}
    (tmp_path / "zoo.html").write_text(render(zoo | {"models": changed}))
    known = sorted((value, name) for value, name in zip(real, models["name"], strict=True) if value is not None)
    for sort, expected in (("real", known), ("-real", known[::-1])):
        open_page(driver, tmp_path / "zoo.html", f"#sort={sort}")
        assert [row[0] for row in read_rows(driver)] == [*(name for _, name in expected), models["name"][0]]
        assert read_rows(driver)[-1][4] == "–"


def test_slash_searches_and_shown_models_can_be_selected(page, zoo):
    from selenium.webdriver.common.keys import Keys

    press(page, "/", "resnet pyTORCH/")
    expected = [name for name in zoo["models"]["name"] if name.startswith("pytorch--") and "resnet" in name]
    assert {row[0] for row in read_rows(page)} == set(expected)
    assert len(expected) == 3
    click(page, "#select-shown")
    assert selected(page)["list"] == sorted(expected)
    click(page, "#filter-text")
    press(page, Keys.ESCAPE)
    assert len(read_rows(page)) == 12
    click(page, "#drop")
    assert selected(page)["list"] == []


def test_model_selected_in_one_part_is_marked_in_all(page):
    click_box(page, FIRST)
    assert draw_figures(page) == 8
    click(page, f'#map button[data-model="{OTHER}"]')
    both = sorted([FIRST, OTHER])
    found = selected(page)
    assert (found["table"], found["map"], found["list"]) == (both, both, both)
    assert found["rings"] == [both] * 8
    assert page.execute_script("return document.activeElement.dataset.model") == OTHER
    page.back()
    assert selected(page)["rings"] == [[FIRST]] * 8
    assert selected(page)["table"] == [FIRST]
    click_box(page, FIRST)
    assert selected(page)["rings"] == [[]] * 8


def test_legend_hides_points_and_keeps_the_focus(page):
    draw_figures(page)
    count = "return document.querySelectorAll('.plot path.point').length"
    before = page.execute_script(count)
    click(page, '#legend [data-toggles="artifact"]')
    assert page.execute_script(count) < before
    assert page.execute_script("return document.activeElement.dataset.toggles") == "artifact"
    assert page.current_url.endswith("#hide=artifact")
    page.back()
    assert page.execute_script(count) == before


def test_click_on_a_point_selects_its_model(page):
    from selenium.webdriver import ActionChains

    page.execute_script("document.querySelector('.plot').scrollIntoView({ block: 'center' })")
    wait_until(lambda: page.execute_script("return document.querySelector('.plot').matches('.js-plotly-plot')"))
    x, y, name = page.execute_script("""
        const panel = document.querySelector('.plot'), trace = panel.data.findIndex((one) => one.customdata);
        const layer = panel.querySelectorAll('.scatterlayer .trace')[trace].querySelector('path.point');
        const box = layer.getBoundingClientRect();
        const data = JSON.parse(document.getElementById('data').textContent);
        return [box.x + box.width / 2, box.y + box.height / 2, data.models.name[panel.data[trace].customdata[0]]]
    """)
    pointer = ActionChains(page)
    pointer.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    pointer.w3c_actions.pointer_action.click()
    pointer.perform()
    wait_until(lambda: selected(page)["list"] == [name])
    assert selected(page)["table"] == selected(page)["map"] == [name]


def test_heat_map_has_the_kappas_and_keys_tell_them(page, zoo):
    from selenium.webdriver.common.keys import Keys

    names = [zoo["models"]["name"][place] for place in zoo["kappas"]["order"]]
    for wrong_by in ("top1", "multi_label"):
        choose(page, "wrong", "" if wrong_by == "top1" else wrong_by)
        kappas = read_kappas(zoo, wrong_by)[np.ix_(zoo["kappas"]["order"], zoo["kappas"]["order"])]
        cells = read_cells(page, "#map")
        assert [row[0] for row in cells] == names
        for row, of_row in enumerate(cells):
            expected = ["" if row == column else f"{kappas[row, column]:.2f}"[1:] for column in range(12)]
            assert of_row[1:] == expected
    page.execute_script("document.querySelector('#map [tabindex=\"0\"]').focus()")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.END)
    assert find(page, "#kappa-told").text == f"{names[1]} and {names[11]}: kappa {kappas[1, 11]:.3f}"
    press(page, Keys.HOME, Keys.ENTER)
    assert selected(page)["table"] == [names[1]]
    assert len(page.find_elements("css selector", "#map [tabindex='0']")) == 1


def test_gallery_shows_the_hardest_images_and_the_lists_of_common_errors(page, zoo):
    hardest = zoo["hardest"]
    assert count_images(page) == hardest["num_hardest"]
    page.execute_script("document.querySelector('#gallery').scrollIntoView()")
    assert read_files(page)[:10] == list(range(10))
    assert find(page, ".card .tag").text == "12 of 12 models wrong"
    choose(page, "type", "fine_grained")
    common = hardest["common"]["fine_grained"]
    assert count_images(page) == len(common["image"])
    assert read_files(page)[:10] == common["image"][:10]
    assert find(page, ".card .tag").text == f"{common['count'][0]} of 12 models: fine-grained"
    choose(page, "type", "")
    choose(page, "wrong", "multi_label")
    wrong = {str(digit) for digit, is_wrong in enumerate(zoo["wrong"]["multi_label"]) if is_wrong}
    counts = [sum(digit in wrong for digit in digits) for digits in hardest["outcomes"][: hardest["num_hardest"]]]
    expected = sorted((-count, row) for row, count in enumerate(counts) if 2 * count >= 12)
    assert count_images(page) == len(expected)
    assert read_files(page)[:10] == [row for _, row in expected[:10]]


def test_filters_of_images_and_of_the_selected_models(page, zoo):
    hardest, number = zoo["hardest"], zoo["hardest"]["num_hardest"]
    choose(page, "label", str(hardest["label"][0]))
    assert count_images(page) == hardest["label"][:number].count(hardest["label"][0])
    click(page, "#clear")
    find(page, "#filter-find").send_keys("axolotl")
    named = {place for place, text in enumerate(zoo["classes"]) if "axolotl" in text}
    has = [
        bool(named & {label, *accepted, *predictions[::3]})
        for label, accepted, predictions in zip(
            hardest["label"], hardest["accepted"], hardest["predictions"], strict=True
        )
    ]
    assert count_images(page) == sum(has[:number]) > 3
    click(page, "#clear")
    assert count_images(page) == number
    assert not find(page, "#filter-selected").is_enabled()
    click_box(page, FIRST)
    click_box(page, OTHER)
    places = [zoo["models"]["name"].index(name) for name in (FIRST, OTHER)]
    wrong = [[digits[place] not in "0-" for place in places] for digits in hardest["outcomes"][:number]]
    for key, keeps in (("all", all), ("some", any), ("none", lambda of_image: not any(of_image))):
        choose(page, "selected", key)
        assert count_images(page) == sum(map(keeps, wrong)) > 0
    assert find(page, ".card .chosen").text == "selected: 0 of 2 wrong"


def test_card_opens_on_what_each_model_makes_of_the_image(page, path, zoo):
    from selenium.webdriver.common.keys import Keys

    hardest = zoo["hardest"]
    row = next(row for row, digits in enumerate(hardest["outcomes"]) if len(set(digits)) > 2)
    open_page(page, path, f"#{urlencode({'open': hardest['file'][row], 'model': FIRST})}")
    text = find(page, "#details").text
    for code, digit in enumerate("01234567"):
        named = [
            name for name, one in zip(zoo["models"]["name"], hardest["outcomes"][row], strict=True) if one == digit
        ]
        if named:
            assert f"{zoo['types'][code]['title']}: {len(named)} of 12 models" in text
            assert ", ".join(named) in text
    assert f"{FIRST}: " in text
    press(page, Keys.ARROW_RIGHT)
    wait_until(lambda: hardest["file"][row + 1] in find(page, "#details").text)
    press(page, Keys.ESCAPE)
    wait_until(lambda: not find(page, "#details").is_displayed())
    assert page.current_url.endswith(f"#model={FIRST}")


def test_address_opens_the_same_view_and_nonsense_is_ignored(page, path, zoo):
    click_box(page, OTHER)
    choose(page, "type", "model_failure")
    click(page, "#group-organism")
    address = page.current_url.partition("#")[2]
    before = (read_rows(page), selected(page)["table"], count_images(page), read_files(page))
    open_page(page, path, f"#{address}")
    assert (read_rows(page), selected(page)["table"], count_images(page), read_files(page)) == before
    open_page(page, path, "#group=<b>&sort=__proto__&model=none&type=correct&label=x&open=none&selected=7&hide=%3Cb%3E")
    assert count_images(page) == zoo["hardest"]["num_hardest"]
    assert selected(page)["list"] == []


@pytest.mark.parametrize("width", [420, 800, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_axe_finds_no_violation(page, path, axe, width, scheme):
    show(page, width, scheme)
    open_page(page, path, f"#{urlencode([('model', FIRST), ('model', OTHER)])}")
    assert draw_figures(page) == 8
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    page.execute_script("scrollTo(0, 0)")
    run_axe(page, axe)
    page.execute_script("document.querySelector('.card').click()")
    assert page.execute_script("return document.getElementById('details').scrollWidth <= innerWidth")
    run_axe(page, axe)


def test_print_shows_every_model_and_every_figure(page):
    show(page, 800)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('.plot:not(.js-plotly-plot)').length") == 0
    assert page.execute_script(
        "const table = document.querySelector('.models'); return table.scrollHeight <= table.clientHeight + 1"
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= 800
    assert find(page, "#printed-note").text == "The first 24 cards are printed."
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_hostile_names_are_shown_as_text(driver, zoo, tmp_path):
    (tmp_path / "zoo.html").write_text(render(rename(zoo, HOSTILE)))
    open_page(driver, tmp_path / "zoo.html", f"#model={quote(FIRST + HOSTILE)}")
    draw_figures(driver)
    driver.execute_script("document.querySelector('.card').click()")
    for selector in ("#head", "#selection", "#table", "#map", ".card", "#filters", "#details"):
        assert HOSTILE in find(driver, selector).get_property("textContent"), selector
    assert driver.title != "run"
    assert not driver.find_elements("css selector", "img")
    ringed = driver.execute_script("return document.querySelector('.rings circle').dataset.model")
    assert ringed == FIRST + HOSTILE
    assert console_errors(driver) == []
