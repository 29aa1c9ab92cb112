"""The README's moving picture and docs/demo.md show one recorded run of `ontime demo`, in which every step happened."""

import json
import re

from PIL import Image

from pipelines.tools.demo_steps import STEPS
from tests import ROOT
from tests.e2e.demo_picture import BLOCK, GUIDE, PICTURE, digest_of_record
from tests.e2e.demo_recording import RECORD

MAX_BYTES, SECONDS = 1_000_000, (20, 45)
LINES = [each["text"] for each in json.loads((ROOT / RECORD).read_text())["lines"]]


def test_the_record_has_every_step_and_ends_with_the_deletion() -> None:
    steps = [line for line in LINES if re.match(r" \d  ", line)]

    assert len(steps) == 1 + len(STEPS)
    assert LINES[-1] == "    The folder is deleted. Next: make train, then make serve."


def test_the_guide_prints_the_record() -> None:
    block = BLOCK.search((ROOT / GUIDE).read_text())

    assert block is not None
    assert block[0].splitlines() == LINES


def test_the_picture_was_drawn_from_the_record_and_is_small_enough_for_the_readme() -> None:
    with Image.open(ROOT / PICTURE) as picture:
        comment, frames = picture.info["comment"].decode(), picture.n_frames  # type: ignore[attr-defined]  # a GIF has it
        duration = 0.0
        for frame in range(frames):
            picture.seek(frame)
            duration += picture.info["duration"] / 1000

    assert comment == digest_of_record()
    assert (ROOT / PICTURE).stat().st_size < MAX_BYTES
    assert SECONDS[0] < duration < SECONDS[1]


def test_the_readme_shows_it_with_words_for_those_who_do_not_see_it() -> None:
    shown = re.search(rf"!\[([^\]]+)\]\({PICTURE}\)", (ROOT / "README.md").read_text())

    assert shown is not None
    assert len(shown[1].split()) > len(["A", "picture", "of", "the", "demo"])
