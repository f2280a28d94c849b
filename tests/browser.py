"""A page as a headless Chromium sees it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PHONE, DESKTOP = 390, 1440
FACTS = """
const wide = e => e.getBoundingClientRect().width > document.documentElement.clientWidth;
const images = [...document.querySelectorAll('.body img')];
return {
  ids: [...document.querySelectorAll('article')].map(e => e.id),
  width: document.documentElement.scrollWidth,
  viewport: document.documentElement.clientWidth,
  font: parseFloat(getComputedStyle(document.body).fontSize),
  cells: Math.min(...[...document.querySelectorAll('td')]
    .map(e => parseFloat(getComputedStyle(e).fontSize))),
  images: images.map(e => e.alt),
  broken: images.filter(e => !e.naturalWidth).map(e => e.alt),
  boxes: [...document.querySelectorAll('.wide, .figure')].filter(wide).length,
  dangling: [...document.querySelectorAll('a[href^="#"]')]
    .filter(e => !document.getElementById(e.getAttribute('href').slice(1)))
    .map(e => e.getAttribute('href')),
  text: document.body.innerText,
};
"""


@dataclass(frozen=True)
class Facts:
    """What Chromium says of a page at one width.

    Attributes:
        ids: of all exhibits.
        width: of the page, in CSS pixels.
        viewport: of the window.
        font: size of the text.
        cells: size of the smallest text in a table.
        images: names of figures and of pictures of tables.
        broken: names of figures that did not load.
        boxes: number of tables and figures whose scrolling box is wider than the window.
        dangling: links within the page to nowhere.
        text: that a reader sees.
        errors: of the console.
        requests: that left the page.
    """

    ids: list[str]
    width: float
    viewport: float
    font: float
    cells: float
    images: list[str]
    broken: list[str]
    boxes: int
    dangling: list[str]
    text: str
    errors: list[str]
    requests: list[str]


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a network, or a skip where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no chromium and chromedriver: the report was not opened in a browser")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        "host-resolver-rules=MAP * ~NOTFOUND",
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()


def seen(
    browser: webdriver.Chrome, page: Path, width: int, screenshot: Path | None = None
) -> Facts:
    """Open a file at a width, everything that folds unfolded, and say what is there."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.resolve().as_uri())
    if screenshot:
        browser.save_screenshot(str(screenshot))
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    facts = browser.execute_script(FACTS)
    errors = [entry["message"] for entry in browser.get_log("browser")]
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    requests = [url for url in addresses if not url.startswith(("file:", "data:"))]
    return Facts(**facts, errors=errors, requests=requests)


def assert_readable(facts: Facts) -> None:
    """Nothing broken, nothing fetched, nothing beyond the window's edge, no tiny text."""
    assert facts.errors == []
    assert facts.requests == []
    assert facts.broken == []
    assert facts.dangling == []
    assert facts.boxes == 0
    assert facts.width <= facts.viewport
    assert facts.font >= 16
    assert facts.cells >= 13
