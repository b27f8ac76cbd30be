"""The page of figures in a browser: keyboard, linked highlights, deep links, narrow windows, names as text."""

from urllib.parse import urlencode

import pytest

from tests.helpers.browser import console_errors, open_browser
from tests.helpers.figure_pages import COUNT, HOSTILE, write_made_page

pytestmark = pytest.mark.heavy
SECONDS = 30  # to wait for what a page does, at most


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    write_made_page(folder)
    return (folder / "out/figures/index.html").as_uri()


@pytest.fixture
def browser(address):
    with open_browser() as driver:
        driver.get(address)
        wait(driver, "return document.querySelectorAll('.js-plotly-plot').length > 0")
        yield driver
        assert console_errors(driver) == []


def wait(driver, condition: str):
    """What a script returns, once that is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, SECONDS).until(lambda driver: driver.execute_script(condition), condition)


def press(driver, *keys: str) -> None:
    """Press keys where the focus is."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        ActionChains(driver).send_keys(getattr(Keys, key, key)).perform()


def follow(driver, address: str, *pairs: tuple[str, str]) -> None:
    driver.get("about:blank")
    driver.get(f"{address}#{urlencode(pairs)}")
    wait(driver, "return document.querySelectorAll('.js-plotly-plot').length > 0")


def scroll_through(driver) -> int:
    """Scroll to every panel; returns how many there are."""
    count = driver.execute_script("return document.querySelectorAll('.plot').length")
    for place in range(count):
        driver.execute_script("document.querySelectorAll('.plot')[arguments[0]].scrollIntoView()", place)
        wait(driver, f"return document.querySelectorAll('.plot')[{place}].matches('.js-plotly-plot')")
    return count


def chosen(driver) -> list[str]:
    """The tabs that are selected."""
    return driver.execute_script(
        "return [...document.querySelectorAll('[role=tab][aria-selected=true]')].map((tab) => tab.textContent)"
    )


def listed(driver) -> list[str]:
    """The models of the table."""
    return driver.execute_script(
        "return [...document.querySelectorAll('#highlighted tbody tr')].map((row) => row.cells[1].firstChild.data)"
    )


def ringed(driver) -> list[list[str]]:
    """The models highlighted in each panel that is drawn, once for each cloud."""
    return driver.execute_script(
        "return [...document.querySelectorAll('.js-plotly-plot')].map((panel) =>"
        " [...panel.querySelectorAll('.rings circle')].map((circle) => circle.dataset.model))"
    )


def test_panels_are_drawn_when_they_come_into_view_with_every_point(browser):
    drawn = "return document.querySelectorAll('.js-plotly-plot').length"
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 420, "height": 500, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.refresh()
    wait(browser, f"{drawn} > 0")
    assert browser.execute_script(drawn) < 4
    assert scroll_through(browser) == 6
    marks = "return [...document.querySelectorAll('.plot')].map((panel) => panel.querySelectorAll('path.point').length)"
    clouds = [1, 2, 3, 1, 2, 3]
    found = browser.execute_script(marks)
    assert found == [count * COUNT - (place == 5) for place, count in enumerate(clouds)]  # one share is of no error


def test_slash_searches_enter_keeps_and_escape_clears(browser):
    assert listed(browser) == ["made--model1"]
    press(browser, "ESCAPE")
    wait(browser, "return document.querySelector('#highlighted').hidden")
    press(browser, "/", *"MODEL 12")
    assert browser.switch_to.active_element.get_attribute("id") == "search"
    assert browser.switch_to.active_element.get_attribute("value") == "MODEL 12"
    wait(browser, "return document.querySelectorAll('#highlighted tbody tr').length === 1")
    assert listed(browser) == ["made--model12"]
    scroll_through(browser)
    assert {name for names in ringed(browser) for name in names} == {"made--model12"}
    assert [len(names) for names in ringed(browser)] == [1, 2, 3, 1, 2, 3]
    press(browser, "ENTER")
    wait(browser, "return document.querySelector('#search').value === ''")
    press(browser, *"made/model13")
    wait(browser, "return document.querySelectorAll('#highlighted tbody tr').length === 2")
    assert listed(browser) == ["made--model12", "made--model13"]
    press(browser, "ESCAPE")
    wait(browser, "return document.querySelector('#highlighted').hidden")
    assert not any(ringed(browser))
    press(browser, *"nothing")
    wait(browser, "return document.querySelector('#status').textContent.includes('none matches')")


def test_arrow_keys_change_tabs_and_the_back_button_returns(browser):
    assert chosen(browser) == ["ImageNet", "Class overlap"]
    browser.execute_script("document.querySelector('#families [aria-selected=true]').focus()")
    press(browser, "ARROW_RIGHT")
    wait(browser, "return location.hash.includes('family=model_failures_to_mle')")
    assert chosen(browser) == ["ImageNet", "Model failures / multi-label errors"]
    assert browser.switch_to.active_element.text == "Model failures / multi-label errors"
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press(browser, "ARROW_RIGHT")  # from the last to the first
    wait(browser, "return location.hash.includes('family=class_overlap')")
    browser.back()
    wait(browser, "return location.hash.includes('family=model_failures_to_mle')")
    assert chosen(browser) == ["ImageNet", "Model failures / multi-label errors"]
    browser.execute_script("document.querySelector('#datasets [aria-selected=true]').focus()")
    press(browser, "END")
    wait(browser, "return location.hash.includes('dataset=imagenet-a')")
    assert chosen(browser) == ["ImageNet-A", "Model failures / multi-label errors"]
    assert listed(browser) == ["made--model1"]


def test_address_opens_the_state_that_it_names(browser, address):
    state = [("dataset", "imagenet-a"), ("family", "model_failures_to_mle"), ("query", "model2"), ("hide", "organism")]
    follow(browser, address, *state, ("model", "made--model7"))
    assert chosen(browser) == ["ImageNet-A", "Model failures / multi-label errors"]
    assert listed(browser) == ["made--model7", "made--model2", *(f"made--model{number}" for number in range(20, 26))]
    pressed = "return [...document.querySelectorAll('[aria-pressed=false]')].map((one) => one.textContent)"
    assert browser.execute_script(pressed) == ["organisms"]
    follow(browser, address, ("dataset", "nothing"), ("family", "nothing"), ("model", "nothing"))
    assert chosen(browser) == ["ImageNet", "Class overlap"]
    assert listed(browser) == []


def test_legend_hides_groups_and_values_in_all_panels(browser):
    traces = (
        "return [...document.querySelectorAll('.js-plotly-plot')].flatMap((panel) => panel.data.map((one) => one.name))"
    )
    scroll_through(browser)
    for name in ("organism", "ImageNet-21k (14M)"):
        word = {"organism": "organisms"}.get(name, name)
        assert any(word in trace for trace in browser.execute_script(traces))
        browser.execute_script('document.querySelector(`[data-toggles="${arguments[0]}"]`).focus()', name)
        press(browser, "SPACE")
        wait(browser, f"return document.querySelector(`[data-toggles=\"{name}\"]`).ariaPressed === 'false'")
        assert browser.execute_script("return document.activeElement.dataset.toggles") == name
        assert not any(word in trace for trace in browser.execute_script(traces))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_no_wider_than_420_pixels(address, scheme):
    with open_browser(420, 900, scheme) as driver:
        for dataset in ("imagenet", "imagenet-a"):
            for family in ("class_overlap", "model_failures_to_mle"):
                follow(driver, address, ("dataset", dataset), ("family", family), ("query", "made"))
                scroll_through(driver)
                assert driver.execute_script("return document.documentElement.scrollWidth") == 420
                assert driver.execute_script(
                    "return [...document.querySelectorAll('.plot, figcaption, li')].every((one) => {"
                    " const box = one.getBoundingClientRect(); return box.left >= 0 && box.right <= 420; })"
                )
        ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
        assert console_errors(driver) == []


def test_clicked_point_is_highlighted_in_all_panels(browser):
    from selenium.webdriver import ActionChains

    press(browser, "ESCAPE")
    wait(browser, "return document.querySelector('#highlighted').hidden")
    scroll_through(browser)
    browser.execute_script("scrollTo(0, 0)")
    place = "const panel = document.querySelector('.js-plotly-plot'), trace = panel.data.find((one) => one.x.length);"
    box = browser.execute_script(
        f"{place} const box = panel.querySelector('.nsewdrag').getBoundingClientRect(), axes = panel._fullLayout;"
        "return [box.x + axes.xaxis.d2p(trace.x[0]), box.y + axes.yaxis.d2p(trace.y[0]),"
        " state.dataset.models[trace.customdata[0]]]"
    )
    pointer = ActionChains(browser)
    pointer.w3c_actions.pointer_action.move_to_location(round(box[0]), round(box[1]))
    pointer.w3c_actions.pointer_action.click()
    pointer.perform()
    wait(browser, "return document.querySelectorAll('#highlighted tbody tr').length === 1")
    assert [set(names) for names in ringed(browser)] == 6 * [{box[2]}]
    ring = browser.execute_script(
        "const { x, y, width, height } = document.querySelector('.rings circle').getBoundingClientRect();"
        "return [x + width / 2, y + height / 2]"
    )
    assert ring == pytest.approx(box[:2], abs=1.5)


def test_name_like_html_is_shown_as_text_and_unknown_as_a_word(browser, address):
    follow(browser, address, ("dataset", "imagenet"), ("family", "class_overlap"), ("model", HOSTILE))
    assert listed(browser) == [HOSTILE]
    row = "return [...document.querySelector('#highlighted tbody tr').cells].map((cell) => cell.textContent)"
    assert browser.execute_script(row)[2:4] == ["mine", "unknown"]
    press(browser, "/", *"model5")
    wait(browser, "return document.querySelectorAll('#highlighted tbody tr').length === 2")
    assert browser.execute_script(row.replace("tr'", "tr:last-child'"))[2] == "unknown"
    hover = browser.execute_script(
        "const panel = document.querySelector('.js-plotly-plot'), model = state.dataset.models.indexOf(arguments[0]);"
        "const curveNumber = panel.data.findIndex((trace) => trace.customdata.includes(model));"
        "const pointNumber = panel.data[curveNumber].customdata.indexOf(model);"
        "Plotly.Fx.hover(panel, [{ curveNumber, pointNumber }]);"
        "return panel.querySelector('.hoverlayer').textContent",
        HOSTILE,
    )
    assert HOSTILE in hover
    assert "unknown number of parameters" in hover
    assert "top-1 errors of the group" in hover
    assert browser.execute_script("return document.querySelectorAll('main img, main b').length") == 0


def test_print_shows_every_panel_of_the_tab_dark_on_light(address):
    with open_browser(420, 500, "dark") as driver:
        driver.get(address)
        wait(driver, "return document.querySelectorAll('.js-plotly-plot').length > 0")
        texts = "return [...new Set([...document.querySelectorAll('.xtick text')].map((text) => text.style.fill))]"
        assert driver.execute_script(texts) == ["rgb(232, 234, 237)"]
        assert driver.execute_script("return document.querySelectorAll('.plot:not(.js-plotly-plot)').length") > 0
        driver.execute_script("dispatchEvent(new Event('beforeprint'))")
        assert driver.execute_script("return document.querySelectorAll('.plot:not(.js-plotly-plot)').length") == 0
        assert driver.execute_script(texts) == ["rgb(0, 0, 0)"]
        driver.execute_script("dispatchEvent(new Event('afterprint'))")
        assert driver.execute_script(texts) == ["rgb(232, 234, 237)"]
        assert console_errors(driver) == []
