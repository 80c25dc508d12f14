"""Pages in a real browser, Chromium: no errors, no network, and what a reader does with them. Skipped without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rambit.report import About, Panel, document_page, gallery_page, image_page, series_page, table_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><img src=x onerror=alert(1)>"
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path: Path) -> Iterator[Any]:
    """Opens a page's text; at the end of a test nothing was said on the console, and nothing was asked of a network."""
    wrong: list[str] = []
    pages = []

    def open_(html: str, width: int = 1300, scheme: str = "light") -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        pages.append(page)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on(
            "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
        )
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(html, encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield open_
    for page in pages:
        page.close()
    assert wrong == []


def series(**more: Any) -> str:
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=(2, 2, 5, 40)), rng.normal(size=(2, 5, 40))
    scores[:, :, 3] *= 10  # the feature of the highest scores
    features = ["pulse", "breath", "skin", HOSTILE, "sleep"]
    return series_page(
        scores, About(HOSTILE), features=features, titles=["ann", "bob"], targets=["well", "ill"], values=values,
        stderr=abs(scores) / 10, **more,
    )  # fmt: skip


def names(page: Any) -> list[str]:
    return page.locator(".row[data-feature] b").all_text_contents()


def test_series_are_read_and_moved(open_page):
    times = np.datetime64("2024-03-01") + np.arange(40) * np.timedelta64(1, "h")
    page = open_page(series(times=times))
    page.wait_for_selector(".row[data-feature] canvas")
    assert page.locator("h1").text_content() == HOSTILE
    assert names(page)[0] == HOSTILE
    assert page.locator("img").count() == 0

    box = page.locator(".row[data-feature] .plot").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    said = page.locator(".readout").text_content()
    assert said.startswith(f"{HOSTILE} · time 2024-03-01 ")
    assert " · value " in said
    assert " ± " in said

    view = "() => [...document.querySelectorAll('.row[data-feature] .name .soft')].map((one) => one.textContent)"
    whole = page.evaluate(view)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 30, steps=4)
    page.mouse.up()
    page.wait_for_function(
        f"(before) => JSON.stringify(({view})()) !== before", arg=page.evaluate("JSON.stringify", whole)
    )
    page.keyboard.press("0")
    page.wait_for_function(
        f"(before) => JSON.stringify(({view})()) === before", arg=page.evaluate("JSON.stringify", whole)
    )
    page.keyboard.press("+")
    assert page.evaluate(view) != whole


def test_class_series_order_filter_and_threshold(open_page):
    page = open_page(series())
    page.wait_for_selector(".row[data-feature] canvas")
    totals = page.locator(".row[data-feature] .name .soft").all_text_contents()
    page.select_option("#target", label="ill")
    assert page.locator(".row[data-feature] .name .soft").all_text_contents() != totals
    page.locator("h1").click()
    page.keyboard.press("n")
    assert page.locator("#series").input_value() == "1"
    page.keyboard.press("t")
    assert page.locator("#target").input_value() == "0"
    page.select_option("#order", label="by name")
    assert names(page)[1:] == ["breath", "pulse", "skin", "sleep"]
    page.fill("#filter", "s")
    assert names(page)[1:] == ["pulse", "skin", "sleep"]
    assert page.locator("#kept").text_content() == "200 of 200 cells"
    page.fill("#top", "0")
    assert page.locator("#kept").text_content() == "1 of 200 cells"


@pytest.mark.parametrize("width", [420, 1000, 1900])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_windows_of_any_size(open_page, width, scheme):
    page = open_page(series(), width, scheme)
    page.wait_for_selector(".row[data-feature] canvas")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 384) == (scheme == "dark")
    page.keyboard.press("d")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != background


def test_images_documents_and_tables(open_page):
    score = np.random.default_rng(0).random((8, 12))
    page = open_page(image_page(score, About("image"), picture=np.stack([score] * 3), masks={HOSTILE: score > 0.5}))
    assert page.locator(".readout").text_content() == f"{100 * (score > 0.5).mean():.1f} % of 8 × 12"
    page.fill("#top", "1000")
    assert page.locator(".readout").text_content() == "100.0 % of 8 × 12"
    panels = [Panel(name, "line", score, {"a": score > at, HOSTILE: score > 0}) for name, at in (("x", 0.2), ("y", 2))]
    page = open_page(gallery_page(panels, 2, About("gallery")))
    assert page.locator("canvas").count() == 4
    # Read from a copy, so that the page's own canvas is not read back.
    shown = """canvas => {
        const copy = new OffscreenCanvas(12, 8).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        return copy.getImageData(0, 0, 12, 8).data.filter((one, i) => i % 4 == 3 && one == 255).length;
    }"""
    assert page.locator("canvas").nth(1).evaluate(shown) == (score > 0.2).sum()
    assert page.locator("canvas").nth(3).evaluate(shown) == 0
    page.locator("section select").nth(1).select_option("1")
    assert page.locator("canvas").nth(3).evaluate(shown) == score.size
    page.fill("#filter", "y")
    assert page.locator("section").nth(0).is_hidden()
    page = open_page(document_page({"a": HOSTILE}, About("document"), whole={"a": HOSTILE, "b": 1}))
    assert page.locator(".kept").count() == 3
    page = open_page(
        table_page([{"a": 1.5, "b": "x"}, {"a": 3.0, "b": "y"}, {"a": None, "b": HOSTILE}], About("table"))
    )
    page.locator("th button").first.click()
    assert page.locator("td:first-child").all_text_contents() == ["3", "1.5", "–"]
    page.locator("th button").first.click()
    assert page.locator("td:first-child").all_text_contents() == ["1.5", "3", "–"]
