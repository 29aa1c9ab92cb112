"""Files that services and tools outside of the project read: citation, hooks, container, attributes, data licences."""

import json
import re
import subprocess
import tomllib
from typing import Any

import yaml

from tests import ROOT
from tests.repository.test_rules import tracked

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def attribute(name: str, paths: list[str]) -> dict[str, str]:
    """The value of a git attribute for each path."""
    output = subprocess.run(
        ["git", "check-attr", "-z", name, *paths], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    fields = output.split("\0")
    return dict(zip(fields[::3], fields[2::3], strict=False))


def test_the_citation_has_what_its_format_requires_and_the_version_of_the_project() -> None:
    """Citation File Format 1.2.0; an author without `family-names` is an entity, which has a `name`."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"]
    assert all(set(author) == {"name"} for author in citation["authors"])
    assert citation["version"] == PYPROJECT["project"]["version"]
    assert citation["license"] == PYPROJECT["project"]["license"]


def test_the_hooks_before_a_commit_are_make_check_and_come_from_no_other_repository() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = repository["hooks"]

    assert (repository["repo"], hook["entry"], hook["language"]) == ("local", "make check", "system")
    assert hook["always_run"]
    assert not hook["pass_filenames"]


def test_the_dev_container_has_a_python_that_the_project_supports_and_commands_that_exist() -> None:
    container: dict[str, Any] = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    image, tag = container["image"].rsplit(":", 1)
    (oldest,) = re.findall(r"^>=([\d.]+)$", PYPROJECT["project"]["requires-python"])

    assert image.endswith("/python")
    assert tag.split("-")[0] == oldest
    assert container["postCreateCommand"].removeprefix("make ") in TARGETS
    assert container["forwardPorts"] == [8000]


def test_git_knows_which_files_have_lines() -> None:
    """None is guessed from its content: a binary file that looks like text would be changed on Windows."""
    files = tracked()
    binary = {path for path in files if b"\0" in (ROOT / path).read_bytes()}

    assert {path for path, value in attribute("text", files).items() if value == "unset"} >= binary
    assert {path for path, value in attribute("eol", files).items() if value != "lf"} <= binary


def test_generated_documents_are_marked_as_such_for_reviews() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {f"docs/{name}" for name in re.findall(r"^\| \[([\w-]+\.md)\].*\(generated\) \|$", index, re.MULTILINE)}
    written = [path for path in tracked() if path in pages or path.startswith(("reports/", "requirements/"))]

    assert {"docs/sabotage.md", "docs/attacks.md", "reports/sabotage.json", "requirements/all.txt"} <= set(written)
    assert {path for path, value in attribute("linguist-generated", written).items() if value != "set"} == set()


def test_each_issue_template_says_what_it_is_for() -> None:
    templates = tracked(".github/ISSUE_TEMPLATE/*.md")

    assert {path.rpartition("/")[2] for path in templates} == {"bug.md", "idea.md", "question.md"}
    for path in templates:
        head = yaml.safe_load((ROOT / path).read_text().split("---\n")[1])
        assert set(head) == {"name", "about"}


def test_the_notice_names_each_package_with_data_and_its_version() -> None:
    """Data are the only packages of a training with one exact version in pyproject.toml."""
    pins = [each.split("==") for each in PYPROJECT["dependency-groups"]["train"] if re.fullmatch(r"[\w-]+==\S+", each)]
    notice = (ROOT / "NOTICE").read_text()

    assert pins
    assert [f"{name} {version}" for name, version in pins if f"\n{name} {version}" not in notice] == []
