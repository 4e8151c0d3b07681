"""The HTML report in a real browser: nothing runs, nothing is asked for, nothing overflows, everything can be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from full_runs import document, hostile, reported

from domainlm.audit.report import to_html

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason="there is no /usr/bin/chromium on this machine")
VIEWS = {"wide": 1280, "narrow": 400}
# WCAG 2.1, 1.4.3: relative luminance of text against the background behind it
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => { for (; node; node = node.parentElement) {
    const found = parse(getComputedStyle(node).backgroundColor); if (found.length < 4 || found[3] > 0) return found; }
    return [255, 255, 255]; };
  const bad = [];
  for (const node of document.querySelectorAll("body *:not(svg *)")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    const [one, two] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) bad.push(`${node.tagName} ${ratio.toFixed(2)} ${node.textContent.slice(0, 30)}`);
  }
  return bad; }"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"], timeout=60_000)
        yield made
        made.close()


@pytest.fixture(params=VIEWS)
def window(browser, request, tmp_path: Path) -> Iterator:
    """Opens a page of a report; fails where anything ran, was asked for, or was complained of."""
    page = browser.new_page(viewport={"width": VIEWS[request.param], "height": 900})
    faults: list[str] = []
    page.on("dialog", lambda dialog: (faults.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda message: faults.append(f"the console: {message.text}"))
    page.on("request", lambda asked: asked.url.startswith("file:") or faults.append(f"asked for {asked.url}"))

    def opened(html: str, name: str):
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        page.goto(file.as_uri())
        if folder := os.environ.get("DOMAINLM_SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / f"report-{name}-{request.param}.png"), full_page=True)
        return page

    yield opened
    page.close()
    assert not faults


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_report_fits_its_window_and_is_read_with_ease(window, tmp_path: Path, language: str) -> None:
    page = window(to_html(document(reported(tmp_path), language)), language)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(CONTRAST) == []
    assert page.locator("section.verdict h2").bounding_box()["y"] < 900  # the verdict is seen without scrolling


def test_hostile_names_do_nothing_and_fit(window, tmp_path: Path) -> None:
    page = window(to_html(document(hostile(tmp_path))), "hostile")
    assert page.evaluate("document.scripts.length + document.images.length") == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "<script>alert(1)</script>" in page.inner_text("h1")


def test_the_contents_lead_by_keyboard_to_every_section(window, tmp_path: Path) -> None:
    found = document(reported(tmp_path))
    page = window(to_html(found), "keyboard")
    for section in found.sections:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getAttribute('href')") == f"#{section.id}"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == f"#{found.sections[-1].id}"


def test_a_screen_reader_is_told_headings_tables_and_the_picture(window, tmp_path: Path) -> None:
    page = window(to_html(document(reported(tmp_path))), "tree")
    told = page.locator("body").aria_snapshot()
    for part in ('heading "Model report: domainlm-finance/2" [level=1]', "main", "navigation", "contentinfo", "table",
                 "rowheader", "columnheader", 'heading "Proof and how to check it" [level=2]'):  # fmt: skip
        assert part in told, part
    assert page.get_by_role("img", name="15 steps from 4 sources to domainlm-finance/2").count() == 1
