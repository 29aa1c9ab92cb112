"""A recording of `ontime demo`: its lines with their times, and pictures of the service's pages at some steps."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Page

from tests import ROOT, browser, without_settings

RECORD = Path("reports/demo.json")
PAUSE = "Press a key to continue"
# The number of a step, whose end shows a page -> the page.
SHOWN_PAGES = {2: "", 4: "ops", 8: "ops"}
PAGE_SIZE = {"width": 1280, "height": 810}
KEY_SECONDS = 0.3  # a key that is pressed before the demo reads the terminal is lost: it is pressed again
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Line(NamedTuple):
    seconds: float  # since the start, without the pauses
    text: str


class Recording(NamedTuple):
    lines: list[Line]
    pages: dict[int, bytes]  # by step, the part that fits on a screen, as PNG
    whole: dict[int, bytes]  # ... and all of it


def record() -> Recording:
    """Run the demo on a terminal of its own, and photograph the pages while it waits.

    Raises RuntimeError if it fails.
    """
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "cli", "--quiet", "demo", "--pause"]
    variables = {**without_settings(), "ONTIME_ACTOR": "operator"}
    with browser.running() as chromium:
        page = chromium.new_page(viewport=PAGE_SIZE, reduced_motion="reduce")  # type: ignore[arg-type]  # its type is a TypedDict
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, text=True
        )
        os.close(terminal)
        recording = _follow(controller, page)
        _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    return recording


def _follow(controller: int, page: Page) -> Recording:
    recording, started, paused, rest, step, url = Recording([], {}, {}), time.monotonic(), 0.0, "", 0, ""
    while True:
        try:
            rest += CODES.sub("", os.read(controller, 65536).decode(errors="replace"))
        except OSError:  # the other end of the terminal is closed
            return recording
        *lines, rest = rest.replace("\r", "").split("\n")
        for text in lines:
            if text.strip() == PAUSE:
                continue
            recording.lines.append(Line(round(time.monotonic() - started - paused, 1), text.rstrip()))
            if begun := re.match(r" (\d)  ", text):
                step = int(begun[1])
            if address := re.search(r"http://127\.0\.0\.1:\d+/", text):
                url = address[0]
        if rest.strip() == PAUSE:
            began = time.monotonic()
            if step in SHOWN_PAGES:
                recording.pages[step], recording.whole[step] = photograph(page, url + SHOWN_PAGES[step])
            while not select.select([controller], [], [], KEY_SECONDS)[0]:
                os.write(controller, b"\n")
            paused += time.monotonic() - began


def photograph(page: Page, url: str) -> tuple[bytes, bytes]:
    page.goto(url)
    page.wait_for_load_state("networkidle")
    return page.screenshot(), page.screenshot(full_page=True)


def as_json(recording: Recording) -> dict[str, Any]:
    return {"command": "ontime demo", "lines": [each._asdict() for each in recording.lines]}


def read_lines(path: Path = RECORD) -> list[Line]:
    return [Line(**each) for each in json.loads((ROOT / path).read_text())["lines"]]
