"""The command for somebody who only looks."""

import click

from cli.project_commands import ProjectCommand


@click.command(cls=ProjectCommand)
@click.option("--pause", is_flag=True, help="Wait for a key after each step, to look at the pages.")
@click.option("--keep", is_flag=True, help="Keep the folder with releases, database and reports.")
def demo(pause: bool, keep: bool) -> None:
    """Tell the life of a model in minutes: trained, served, broken, retrained, promoted, rolled back."""
    from pipelines.tools import demo as tool

    tool.main(pause=pause, keep=keep)


COMMANDS = (demo,)
