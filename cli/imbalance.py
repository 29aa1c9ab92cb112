"""The command of a study: class weights."""

import click

from cli.project_commands import ProjectCommand


@click.command(cls=ProjectCommand)
def imbalance() -> None:
    """Measure the effect of class weights on ranking, probabilities and cost."""
    from pipelines.tools import imbalance as study

    study.main()


COMMANDS = (imbalance,)
