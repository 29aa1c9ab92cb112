"""The system's Chromium, headless (Debian: apt-get install chromium)."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
WCAG_AA = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


@contextmanager
def running() -> Iterator[Browser]:
    """Raises AssertionError without Chromium: a test that cannot run fails."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert executable, "Chromium is not on this machine: apt-get install chromium"
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()  # it refuses to run as root with one
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*QUIET, *sandbox])
        try:
            yield browser
        finally:
            browser.close()


def accessibility_faults(page: Page) -> list[str]:
    """Faults by the rules of WCAG 2.1, levels A and AA, that axe-core can check."""
    rules = Axe().run(page, options=WCAG_AA).response["violations"]
    return [f"{rule['id']}: {node['html']}: {node['failureSummary']}" for rule in rules for node in rule["nodes"]]
