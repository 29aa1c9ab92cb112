"""Each message that docs/troubleshooting.md quotes is one that the code prints."""

import re
import subprocess

import pytest

from tests import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
QUOTED = [
    part.strip()
    for message in re.findall(r"^\| (?:503, )?`([^`]+)`", PAGE, re.MULTILINE)
    for part in message.split("...")
    if len(part.strip()) > 5
]
PRINTED = "".join(
    (ROOT / path).read_text()
    for path in subprocess.run(
        ["git", "ls-files", "Makefile", "cli", "pipelines", "serving", "src/ontime"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()
    if path.endswith((".py", "Makefile"))
)  # fmt: skip


@pytest.mark.parametrize("part", QUOTED)
def test_a_quoted_message_is_printed(part: str) -> None:
    assert part in PRINTED


def test_messages_are_quoted() -> None:
    assert len(QUOTED) > 10
