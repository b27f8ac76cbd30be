"""A headless Chromium for tests of pages."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS = 10  # to wait for what a page does
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-quic", "--hide-scrollbars"),
)


@contextmanager
def open_browser(width: int = 1400, height: int = 900, scheme: str = "light") -> Iterator:
    """A Selenium driver whose window has this size in pixels; `scheme` is `light` or `dark`.

    Skips the test where Selenium, Chromium or its driver is not installed.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip(f"no browser at {CHROMIUM}, or no driver at {DRIVER}")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        yield driver
    finally:
        driver.quit()


def console_errors(driver) -> list[str]:
    """What the page has written to the console as errors since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def open_page(driver, path, address: str = "") -> None:
    driver.get("about:blank")
    driver.get(f"{path.as_uri()}{address}")


def show(driver, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def find(driver, selector: str):
    return driver.find_element("css selector", selector)


def press(driver, *keys) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def wait_until(condition) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def run_axe(driver, axe: str) -> None:
    """Raises where axe-core finds a violation of WCAG 2.2 AA."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    done = driver.execute_async_script(
        "const done = arguments[1]; axe.run({runOnly: arguments[0]}).then((found) => done(JSON.stringify("
        "found.violations.map((one) => [one.id, one.nodes.map((node) => node.html).slice(0, 3)]))))",
        tags,
    )
    assert json.loads(done) == []
