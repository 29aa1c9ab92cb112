"""The pages about settings and commands are what the code says; those of routes and parameters have all of them."""

import re
from collections.abc import Iterator

import click
import pytest

from cli.app import ontime
from docs.site import architecture, badges, cli_page, http_api_page, params_page, settings_page
from ontime.params import Params
from ontime.settings import PREFIX, Settings
from serving.app import create_app
from tests import PARAMS_YAML, ROOT


def all_commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """By path, such as `ontime study card`."""
    for command in group.commands.values():
        yield f"{group.name} {command.name}", command
        if isinstance(command, click.Group):
            yield from ((f"{group.name} {path}", inner) for path, inner in all_commands(command))


def test_the_page_of_settings_is_up_to_date() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page.page(), "run make docs-reference"


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    assert (ROOT / "docs/cli.md").read_text() == cli_page.page(ontime, ontime.sections), "run make docs-reference"


def test_every_argument_and_option_of_every_command_has_a_meaning() -> None:
    page = cli_page.page(ontime, ontime.sections)

    for path, command in all_commands(ontime):
        section = page.partition(f"### {path}\n")[2].partition("\n### ")[0]
        meanings = re.findall(r"^\| `[^`]+` \| (.*) \|$", section, re.MULTILINE)
        assert len(meanings) == len(command.params)
        assert all(re.match(r"\w", each) for each in meanings), (path, meanings)


@pytest.mark.parametrize("theme", architecture.COLOURS)
def test_the_diagram_is_up_to_date(theme: str) -> None:
    assert (ROOT / f"docs/architecture-{theme}.svg").read_text() == architecture.svg(theme), "run make docs-reference"


def test_the_badges_say_what_the_project_file_says() -> None:
    for name, text in badges.badges(ROOT).items():
        assert (ROOT / "docs/badges" / name).read_text() == text, "run make docs-reference"


def test_every_setting_is_in_it() -> None:
    listed = re.findall(rf"^\| `{PREFIX}(\w+)` \| \S", settings_page.page(), re.MULTILINE)

    assert [name.lower() for name in listed] == list(Settings.model_fields)


def test_every_section_of_the_parameters_has_its_comments_and_limits() -> None:
    text = PARAMS_YAML.read_text()

    page = params_page.page(text)

    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == set(Params.model_fields)
    assert all(line in page.splitlines() for line in text.splitlines()[2:])
    assert "| `cost.alert_threshold` | number above 0, below 1 |" in page
    assert "| `train.lightgbm.num_leaves` | integer at least 2, at most 131,072 |" in page


def test_every_route_is_on_the_page_of_the_http_api_with_every_body_that_it_names(settings: Settings) -> None:
    document = create_app(settings).openapi()

    page = http_api_page.page(document)

    for path, methods in document["paths"].items():
        assert all(f"### {method.upper()} {path}\n" in page for method in methods)
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= headings
    assert "### Prediction" in page
