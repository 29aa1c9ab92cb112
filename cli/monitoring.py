"""Commands of the daily monitor, and of what it asks for."""

from datetime import datetime

import click

from cli.project_commands import AS_JSON, DAY, ProjectCommand, date_of


@click.command(cls=ProjectCommand)
@AS_JSON
def monitor(as_json: bool) -> None:
    """Run the monitor for the last complete day and any missed days: metrics, alerts, the policy's decision."""
    from pipelines.operations import monitor as operation

    operation.main(as_json=as_json)


@click.command(cls=ProjectCommand)
@click.option("--now", is_flag=True, help="Retrain without a request by the policy.")
def retrain(now: bool) -> None:
    """Retrain if the policy has requested it."""
    from pipelines.operations import retrain as operation

    operation.main(now=now)


@click.command(cls=ProjectCommand)
@click.option(
    "--from", "start", type=DAY, metavar="DAY", help="The first day.  [default: the first of the monitor's window]"
)
@click.option("--until", type=DAY, metavar="DAY", help="The day after the last one.")
@click.option("--against-from", type=DAY, metavar="DAY", help="Compare with these days, not with the reference.")
@click.option("--against-until", type=DAY, metavar="DAY", help="The day after the last one of these.")
@AS_JSON
def diagnose(
    start: datetime | None,
    until: datetime | None,
    against_from: datetime | None,
    against_until: datetime | None,
    as_json: bool,
) -> None:
    """Explain why predictions are worse than on the release's reference data: reports/diagnosis.html."""
    if against_until and not against_from:
        raise click.UsageError("--against-until needs --against-from")
    from pipelines.tools import diagnose as tool

    days = map(date_of, (start, until, against_from, against_until))
    tool.main(*days, as_json=as_json)


COMMANDS = (monitor, retrain, diagnose)
