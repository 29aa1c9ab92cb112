"""What all commands share: they run in the project's folder, with its environment, and report errors in one line."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from ontime import environment

INTERRUPTED = 128 + signal.SIGINT  # as shells report a process that Ctrl-C has ended
DAY = click.DateTime(["%Y-%m-%d"])
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for scripts.")


def date_of(moment: datetime | None) -> date | None:
    """The value of a DAY, which click parses as midnight."""
    return moment.date() if moment else None


class ProjectPath(click.ParamType[Path]):
    """A path of the caller's folder, as a path that is valid in the project's folder: relative if it is inside."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path, root = Path(value).resolve(), environment.ROOT.resolve()
        if isinstance(self, ExistingPath) and not path.exists():
            self.fail(f"{value} does not exist", param, ctx)
        return path.relative_to(root) if path.is_relative_to(root) else path


class ExistingPath(ProjectPath):
    """Refused if there is neither a file nor a folder."""


class ProjectPlace(click.ParamType[str]):
    """An address such as s3://bucket/folder, which stays as it is, or a path of this type."""

    name = "place"

    def __init__(self, path: ProjectPath) -> None:
        self._path = path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value) if "://" in str(value) else str(self._path.convert(value, param, ctx))


class ProjectCommand(click.Command):
    """Runs in the folder of the project, whatever the caller's folder and environment."""

    def invoke(self, ctx: click.Context) -> Any:
        environment.enforce()  # restarts the process if that changes it
        os.chdir(environment.ROOT)
        with errors_in_one_line(ctx.command_path.partition(" ")[2]):
            return super().invoke(ctx)


@contextmanager
def errors_in_one_line(command: str) -> Iterator[None]:
    """Exit with the reason if settings, parameters or the database are refused; with INTERRUPTED after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        # Their modules are only imported here, because help and completion do not need them.
        from sqlalchemy.exc import OperationalError

        from ontime.database import DatabaseRefused
        from ontime.params import ParamsBroken
        from ontime.settings import BadSettings

        if not isinstance(error, BadSettings | ParamsBroken | DatabaseRefused | OperationalError):
            raise
        sys.exit(f"{command}: {str(error).partition(chr(10))[0]}")


class SectionedGroup(click.Group):
    """A group whose help lists the commands in sections, in the order in which they were added."""

    command_class = ProjectCommand

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sections: Mapping[str, Sequence[click.Command]] = {}

    def add_sections(self, sections: Mapping[str, Sequence[click.Command]]) -> None:
        self.sections = sections
        for command in (each for section in sections.values() for each in section):
            self.add_command(command)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        longest = 1000  # whole sentences: a line that is too long is wrapped
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(each.name or "", each.get_short_help_str(longest)) for each in commands])
