"""Commands for another problem than the one of this repository."""

from pathlib import Path

import click

from cli.project_commands import ExistingPath, ProjectCommand


@click.command(cls=ProjectCommand)
@click.argument("name", help="The name of the problem, such as noshows.")
@click.argument("source", type=ExistingPath(), metavar="FILE", help="The csv or parquet file.")
@click.option("--label", required=True, help="The column that is predicted.")
@click.option("--time", default="", help="The column with the time of the event.")
def new_problem(name: str, source: Path, label: str, time: str) -> None:
    """Write a first problem from a csv or parquet file.

    \b
    ontime new-problem noshows visits.csv --label missed
    """
    from pipelines.tools import new_problem as skeleton

    skeleton.main(name, source, label, time)


@click.command(cls=ProjectCommand)
@click.argument("folder", type=ExistingPath(), help="The folder that new-problem wrote, such as examples/noshows.")
def decisions(folder: Path) -> None:
    """List the decisions that are still open in a new problem."""
    from pipelines.tools import open_decisions

    open_decisions.main(folder)


@click.command(cls=ProjectCommand)
@click.argument("folder", type=ExistingPath(), help="The folder of the other problem, such as examples/bikes.")
@click.option("--replace", is_flag=True, help="Also delete the models and the records of this problem.")
def adopt(folder: Path, replace: bool) -> None:
    """Replace this problem with another one."""
    from pipelines.tools import adopt as adoption

    adoption.main(folder, replace=replace)


@click.command(cls=ProjectCommand)
@click.argument("name", help="The new name, such as mine.")
def rename(name: str) -> None:
    """Rename the project in every file and path."""
    from pipelines.tools import rename as renaming

    renaming.main(name)


@click.command(cls=ProjectCommand)
def profile() -> None:
    """Write the limits by which the contract checks measured columns, from the dataset of params.yaml."""
    from pipelines.tools import profile_columns

    profile_columns.main()


COMMANDS = (new_problem, decisions, adopt, rename, profile)
