"""Decision records have one form, stand in the index, and name only commands that exist."""

import re

from tests import ROOT

FOLDER = ROOT / "docs/decisions"
# Without the folder, which may be removed, there is nothing to check.
RECORDS = {path.name: path.read_text() for path in sorted(FOLDER.glob("[0-9]*.md"))}
FORMS = (["Context", "Decision", "Consequences"], ["Context", "Decision", "Alternatives", "Consequences"])
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_each_record_has_context_decision_and_consequences_in_this_order() -> None:
    parts = {name: re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE) for name, text in RECORDS.items()}

    assert {name: headings for name, headings in parts.items() if headings not in FORMS} == {}


def test_each_record_is_in_the_index_with_its_number_and_title() -> None:
    missing = []
    for name, text in RECORDS.items():
        number = int(name.partition("-")[0])
        title = re.match(rf"# {number}\. (.+)\n\n\*\*Context", text)
        row = f"| {number} | [{title[1]}]({name}) |" if title else None
        if row is None or row not in (FOLDER / "README.md").read_text():
            missing.append(row or f"{name}: does not begin with `# {number}. Title` and its context")

    assert missing == []


def test_each_make_command_of_a_record_exists() -> None:
    named = {name: set(re.findall(r"`make ([a-z-]+)", text)) for name, text in RECORDS.items()}

    assert {name: unknown for name, targets in named.items() if (unknown := targets - TARGETS)} == {}
