"""A browser for the tests of the pages: one for each module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ...programs import program


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver_path = program("chromium", "google-chrome"), program("chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1300,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    driver.set_script_timeout(300)  # a machine may have other work
    yield driver
    driver.quit()
