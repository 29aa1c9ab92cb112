"""The reports in a real browser: in the look of the service's pages, in the dark, on a phone."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from ontime import figures
from pipelines.tools import pages, replay_report
from tests import ROOT, browser

pytestmark = pytest.mark.slow

PAPER = {"light": "rgb(248, 246, 240)", "dark": "rgb(18, 20, 22)"}
INK = {"light": "rgb(26, 28, 30)", "dark": "rgb(236, 232, 222)"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2013's replay, drawn once more from its numbers."""
    folder = tmp_path_factory.mktemp("reports")
    shutil.copy(ROOT / "reports/replay.json", folder)
    return replay_report.write_page(folder / "replay.json")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.running() as started:
        yield started


@pytest.fixture
def shown(chromium: Browser, written: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(written.as_uri())
    yield page
    page.close()


def styles(page: Page, selector: str, name: str) -> set[str]:
    script = "([selector, name]) => [...document.querySelectorAll(selector)].map(each => getComputedStyle(each)[name])"
    return set(page.evaluate(script, [selector, name]))


SIZES: Any = [(width, scheme) for width in (390, 1280) for scheme in ("light", "dark")]


@pytest.mark.parametrize("shown", SIZES, indirect=True)
def test_a_report_is_no_wider_than_its_window(shown: Page) -> None:
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("shown", SIZES, indirect=True)
def test_the_letters_of_its_pictures_are_large_enough_to_read(shown: Page) -> None:
    width = "svg.getBoundingClientRect().width / svg.viewBox.baseVal.width"
    scales = shown.evaluate(f"() => [...document.querySelectorAll('svg')].map(svg => {width})")
    sizes = {float(size.removesuffix("px")) for size in styles(shown, "svg text", "fontSize")}

    assert len(scales) == 3
    assert min(scales) * min(sizes) >= 11


@pytest.mark.parametrize("shown", SIZES, indirect=True)
def test_page_and_pictures_follow_the_readers_colour_scheme(shown: Page) -> None:
    scheme = "dark" if shown.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"

    assert styles(shown, "body", "backgroundColor") == {PAPER[scheme]}
    assert INK[scheme] in styles(shown, "svg text", "fill")
    assert INK["light" if scheme == "dark" else "dark"] not in styles(shown, "svg text", "fill")


def test_every_colour_of_a_report_is_the_style_sheets(written: Path) -> None:
    svg = "".join(re.findall(r"<svg.*?</svg>", written.read_text(), re.DOTALL))

    assert len(svg) > 10_000
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []


def test_the_pictures_own_colours_are_the_style_sheets_in_light() -> None:
    names = ("SHEET", "INK", "SOFT", "RULE", "EDGE", "CALM", "ALERT", "CALM_SOFT", "ALERT_SOFT")
    light = pages.light_colours()

    assert {name: light.get(getattr(figures, name)) for name in names} == {
        name: f"var(--{name.lower().replace('_', '-')})" for name in names
    }


def test_no_id_stands_twice_in_a_page(written: Path) -> None:
    ids = re.findall(r'\bid="([^"]*)"', written.read_text())

    assert len(ids) == len(set(ids)) > 0


def test_the_committed_numbers_are_left_as_they_are(written: Path) -> None:
    assert written.with_suffix(".json").read_bytes() == (ROOT / "reports/replay.json").read_bytes()
    assert sorted(path.name for path in written.with_suffix("").iterdir()) == ["auc.png", "cost.png", "loop.png"]
