"""docs/cli.md: every command of `ontime` with its arguments and options, from the command line itself."""

import inspect
from collections.abc import Iterator, Mapping, Sequence

import click

INTRODUCTION = """# Command line

`.venv/bin/ontime` works from any folder. `make` has most of these commands too, with variables instead of options:
[commands](commands.md). `ontime COMMAND --help` prints what is below.

`make docs-reference` generates this page from [cli/](../cli/app.py).
"""


def page(group: click.Group, sections: Mapping[str, Sequence[click.Command]]) -> str:
    root = click.Context(group, info_name=group.name)
    lines = [INTRODUCTION, *_synopsis(group, root)]
    for title, commands in sections.items():
        lines.append(f"## {title}\n")
        for command in commands:
            lines += _command(command, root)
    return "\n".join(lines)


def _command(command: click.Command, parent: click.Context) -> Iterator[str]:
    """The commands of a group follow the group."""
    context = click.Context(command, info_name=command.name, parent=parent)
    yield f"### {context.command_path}\n"
    yield from _paragraphs(inspect.cleandoc(command.help or ""))
    yield from _synopsis(command, context)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _command(inner, context)


def _paragraphs(text: str) -> Iterator[str]:
    """Those that click does not wrap, which begin with a backspace, are code."""
    for paragraph in text.split("\n\n"):
        mark, _, code = paragraph.partition("\n")
        if mark == "\b":
            yield f"```bash\n{code}\n```\n"
        else:
            yield " ".join(paragraph.split()) + "\n"


def _synopsis(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```\n"
    records = [record for each in command.params if (record := each.get_help_record(context))]
    if records:
        rows = "".join(f"| `{names}` | {meaning} |\n" for names, meaning in records)
        yield f"| argument or option | meaning |\n| --- | --- |\n{rows}"
