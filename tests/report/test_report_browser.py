"""The report in a real browser: nothing on the console, nothing fetched, text with contrast, a phone's width, the keyboard, paper."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CONTRAST = """() => {
  const channel = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (words.nextNode()) {
    const text = words.currentNode.textContent.trim(), element = words.currentNode.parentElement;
    if (!text || !element.getClientRects().length) continue;
    const below = ground(element), ink = over(parse(getComputedStyle(element).color), below);
    const [high, low] = [light(ink), light(below)].sort((a, b) => b - a);
    found.push([(high + 0.05) / (low + 0.05), text.slice(0, 40)]);
  }
  return found;
}"""


def browser_path() -> str | None:
    """A Chromium that needs no screen: as `RECSMITH_CHROMIUM` names it, or one of the usual names."""
    named = os.environ.get("RECSMITH_CHROMIUM")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


def unavailable(reason: str) -> None:
    """Skip and say why; where tests run unattended that would be silence, so there it is a failure."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{reason}; in CI the report must be checked in a browser")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = browser_path()
    if path is None:
        unavailable("no Chromium: apt-get install chromium-headless-shell, or name one in RECSMITH_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        unavailable("no playwright: pip install 'recsmith[dev]'")
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser: Any, html: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page on a phone, with what it said and asked for."""
    file = tmp_path_factory.mktemp("browser") / "report.html"
    file.write_text(html, encoding="utf-8")
    page = browser.new_page(viewport={"width": 360, "height": 740})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri(), wait_until="load")
    return {"page": page, "said": said, "asked": asked, "uri": file.as_uri()}


def test_no_console_message_and_no_request(opened: dict[str, Any]) -> None:
    assert opened["said"] == []
    assert [url for url in opened["asked"] if not url.startswith("data:")] == [opened["uri"]]
    broken = "() => [...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert opened["page"].evaluate(broken) == 0


def test_text_has_contrast(opened: dict[str, Any]) -> None:
    found = opened["page"].evaluate(CONTRAST)
    assert len(found) > 300
    assert min(found)[0] >= 4.5, min(found)


def test_contrast_is_measured(browser: Any) -> None:
    page = browser.new_page()
    page.set_content('<body style="background:#fff"><p style="color:#777">grey</p><p style="color:rgba(0,0,0,.5)">half</p></body>')
    assert [round(ratio, 2) for ratio, _ in page.evaluate(CONTRAST)] == [4.48, 3.98]
    page.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_scrolls_sideways_but_wide_tables(opened: dict[str, Any], width: int) -> None:
    page = opened["page"]
    page.set_viewport_size({"width": width, "height": 740})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    outside = """() => [...document.querySelectorAll('main *')]
        .filter((element) => !element.closest('.scroll') && element.getBoundingClientRect().right > innerWidth + 1)
        .map((element) => element.outerHTML.slice(0, 80))"""
    assert page.evaluate(outside) == []


def test_the_keyboard_reaches_every_link_and_table_and_shows_where_it_is(opened: dict[str, Any]) -> None:
    page = opened["page"]
    page.set_viewport_size({"width": 360, "height": 740})
    stops = page.evaluate("() => document.querySelectorAll('a, [tabindex=\"0\"]').length")
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    where = """() => {
        const at = document.activeElement, style = getComputedStyle(at);
        const name = at.textContent.slice(0, 20) + (at.ariaLabel || '');
        return [name, style.outlineStyle, parseFloat(style.outlineWidth), at.getBoundingClientRect().left];
    }"""
    seen = []
    for _ in range(stops):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(where))
    assert seen[0][0] == "To the content"
    assert len({name for name, *_ in seen}) == stops
    assert all(style == "solid" and outline >= 2 and left >= 0 for _, style, outline, left in seen)


def test_a_screen_reader_finds_landmarks_and_headings(opened: dict[str, Any]) -> None:
    tree = opened["page"].locator("body").aria_snapshot()
    for landmark in ("- banner:", '- navigation "Sections":', "- main:", "- contentinfo:", '- region "The question and the answer":'):
        assert landmark in tree
    assert tree.count("[level=1]") == 1
    assert tree.count("[level=2]") == 10


def test_it_can_be_printed(opened: dict[str, Any]) -> None:
    paper = opened["page"].pdf(format="A4")
    assert paper.startswith(b"%PDF")
    opened["page"].emulate_media(media="print")
    assert not opened["page"].locator("nav").is_visible()
    opened["page"].set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins, in CSS pixels
    assert opened["page"].evaluate("() => document.documentElement.scrollWidth") <= 760
    opened["page"].emulate_media(media="screen")


@pytest.mark.parametrize(("unattended", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_browser_is_never_silent(unattended: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", unattended)
    with pytest.raises(outcome, match="no Chromium"):
        unavailable("no Chromium")


def test_the_browser_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSMITH_CHROMIUM", str(tmp_path / "mine"))
    assert browser_path() == str(tmp_path / "mine")
