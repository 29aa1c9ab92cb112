"""The command that runs the whole loop on a simulated clock."""

from datetime import datetime

import click

from cli.project_commands import DAY, ProjectCommand, date_of


@click.command(cls=ProjectCommand)
@click.option("--months", type=click.IntRange(1, 12), help="The number of months.  [default: all]")
@click.option("--from", "start", type=DAY, metavar="DAY", help="The first day, such as 2013-06-01.")
@click.option("--until", type=DAY, metavar="DAY", help="The day after the last one.")
@click.option("--dataset", help="The dataset to replay.  [default: that of params.yaml]")
@click.option("--stream", is_flag=True, help="Predict with `ontime stream` from a broker, instead of the service.")
def replay(
    months: int | None, start: datetime | None, until: datetime | None, dataset: str | None, stream: bool
) -> None:
    """Replay a year in production on a simulated clock."""
    from pipelines.tools import replay as tool

    tool.main(months, date_of(start), date_of(until), dataset, stream=stream)


COMMANDS = (replay,)
