"""The machine's own Chromium, without a window (Debian: apt-get install chromium)."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")


@contextmanager
def running() -> Iterator[Browser]:
    """Raises AssertionError where there is none: a test that cannot run fails."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert executable, "Chromium is not on this machine: apt-get install chromium"
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()  # it refuses to run as root with one
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*QUIET, *sandbox])
        try:
            yield browser
        finally:
            browser.close()
