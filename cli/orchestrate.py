"""The command that runs the others on schedule."""

import click

from cli.project_commands import ProjectCommand


@click.command(cls=ProjectCommand)
def orchestrate() -> None:
    """Run materialise, monitor, prune and retrain on schedule with Prefect, on 127.0.0.1:4200, until Ctrl-C."""
    from pipelines.operations import orchestrate as operation

    operation.main()


COMMANDS = (orchestrate,)
