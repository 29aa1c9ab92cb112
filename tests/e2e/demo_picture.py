"""`make demo-picture`: runs `ontime demo` -> reports/demo.json, docs/demo.md, demo.gif and operations.png."""

import base64
import html
import io
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Page

from ontime import files
from pipelines.layout import write_json
from tests import ROOT, browser
from tests.e2e.demo_recording import RECORD, SHOWN_PAGES, Line, Recording, as_json, record

PICTURE, GUIDE = Path("docs/screenshots/demo.gif"), Path("docs/demo.md")
OPERATIONS = Path("docs/screenshots/operations.png")
BLOCK = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
SIZE, COLOURS = {"width": 900, "height": 600}, 48
SHOWN_LINES = 31
FIRST_MS, HEADING_MS, STEP_MS, PAGE_MS, LAST_MS = 1200, 500, 1900, 2200, 4000
STYLE = """
* { margin: 0; box-sizing: border-box }
body { width: 900px; height: 600px; background: #161b22; overflow: hidden }
.bar { height: 30px; background: #2d333b; color: #adbac7; padding-left: 14px }
.bar { font: 13px/30px "DejaVu Sans", sans-serif }
.bar b { color: #6cb6ff; font-weight: normal }
pre { font: 13.5px/18.2px "DejaVu Sans Mono", monospace; color: #d6dee6; padding: 2px 14px }
img { width: 900px; display: block }
.heading { color: #6cb6ff; font-weight: bold } .figure { color: #f0c674 } .look { color: #848f9a }
.good { color: #7ee787 } .bad { color: #ff938a }
"""


class Frame(NamedTuple):
    body: str  # HTML
    milliseconds: int


def frames_of(recording: Recording) -> Iterator[Frame]:
    """A page, then the terminal at the beginning and the end of each step, and the pages after it."""
    lines = recording.lines
    starts = [place for place, line in enumerate(lines) if re.match(r" \d  ", line.text)]
    yield Frame(window(SHOWN_PAGES[2], recording.pages[2]), FIRST_MS)  # what a reader sees before it moves
    for step, (start, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True), 1):
        yield Frame(terminal(lines[: start + 1]), HEADING_MS)
        yield Frame(terminal(lines[:end]), STEP_MS if end < len(lines) else LAST_MS)
        if step in recording.pages:
            yield Frame(window(SHOWN_PAGES[step], recording.pages[step]), PAGE_MS)


def terminal(lines: list[Line]) -> str:
    text = "\n".join(f'<span class="{kind}">{html.escape(each)}</span>' for each, kind in classified(lines))
    return f'<div class="bar">$ <b>ontime demo</b></div><pre>{text}</pre>'


def classified(lines: list[Line]) -> list[tuple[str, str]]:
    """The last lines, each with its class. A line of the monitor continues until the next sentence."""
    kinds, kind = [], ""
    for line in lines:
        kind = _kind(line.text, kind)
        kinds.append((line.text, kind))
    return kinds[-SHOWN_LINES:]


def _kind(text: str, before: str) -> str:
    if re.match(r" \d  ", text):
        return "heading"
    if text.startswith("    look at"):
        return "look"
    if text.startswith("      "):
        return "figure"
    if text.startswith("    monitor: "):
        return "bad" if re.search(r": (stop|roll back): ", text) else "good"
    return before if before in ("good", "bad") and re.match(r"    [^A-Z ]", text) else ""


def window(path: str, page: bytes) -> str:
    image = base64.b64encode(page).decode()
    return f'<div class="bar">http://127.0.0.1/<b>{path}</b></div><img src="data:image/png;base64,{image}">'


def draw(recording: Recording, comment: str) -> bytes:
    """An animated GIF, with the digest of the record as its comment."""
    with browser.running() as chromium:
        page = chromium.new_page(viewport=SIZE)  # type: ignore[arg-type]  # its type is a TypedDict
        frames = [(_image(page, frame.body), frame.milliseconds) for frame in frames_of(recording)]
    images, durations = zip(*frames, strict=True)
    content = io.BytesIO()
    images[0].save(
        content, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True,
        comment=comment.encode(),
    )  # fmt: skip
    return content.getvalue()


def _image(page: Page, body: str) -> Image.Image:
    page.set_content(f"<style>{STYLE}</style>{body}")
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return shot.quantize(COLOURS, dither=Image.Dither.NONE)


def digest_of_record() -> str:
    return sha256((ROOT / RECORD).read_bytes()).hexdigest()


def main() -> None:
    recording = record()
    write_json(RECORD, as_json(recording))
    output = "\n".join(line.text for line in recording.lines) + "\n"
    files.write_text(GUIDE, BLOCK.sub(lambda _: output, GUIDE.read_text(encoding="utf-8"), count=1))
    PICTURE.write_bytes(draw(recording, digest_of_record()))
    OPERATIONS.write_bytes(recording.whole[max(SHOWN_PAGES)])
    print(f"demo-picture: {OPERATIONS}; {PICTURE}, {PICTURE.stat().st_size:,} bytes; {RECORD}; {GUIDE}")


if __name__ == "__main__":
    main()
