"""The page of errors as it is printed."""

import pytest

from imagenet_errors.pages.error_page import render
from tests.helpers.browser import open_browser

A4_WIDTH = 718  # pixels of 1/96 inch, without margins of 1 cm

pytestmark = pytest.mark.heavy


def test_tables_fit_the_paper(payload, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render(payload))
    with open_browser(A4_WIDTH) as driver:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        driver.get(path.as_uri())
        script = "return [...document.querySelectorAll('#profile-panel, .scroll')].map((one) => one.scrollWidth)"
        widths = driver.execute_script(script)
    assert len(widths) == 3
    assert max(widths) <= A4_WIDTH
