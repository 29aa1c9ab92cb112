"""Commands for predictions from a stream of events."""

from datetime import UTC, datetime
from pathlib import Path

import click

from cli.project_commands import AS_JSON, ExistingPath, ProjectCommand

TIME = click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ"])


@click.command(cls=ProjectCommand)
@click.option("--from", "first", type=TIME, metavar="TIME", help="The first prediction moment, in UTC.  [default: now]")
@click.option("--tables", type=ExistingPath(), help="The tables without a moment.  [default: data/ingested]")
@click.option("--simulated", is_flag=True, help="Take the time from the messages: nothing is too early.")
@click.option("--accept-loss", is_flag=True, help="Continue with what the broker has, although it lost messages.")
@click.option("--status", is_flag=True, help="Print up to when everything is known and scored, and exit.")
@AS_JSON
def stream(
    first: datetime | None, tables: Path | None, simulated: bool, accept_loss: bool, status: bool, as_json: bool
) -> None:
    """Score entities from a stream of events, until Ctrl-C.

    Without ONTIME_BROKER it starts a broker of its own in var/broker. Several may run on one database: one of them
    reads, all of them score. --json needs --status.
    """
    from pipelines.operations import stream as operation

    if status:
        operation.show_status(as_json=as_json)
        return
    operation.main(first.replace(tzinfo=UTC) if first else None, tables, simulated=simulated, accept_loss=accept_loss)


@click.command(cls=ProjectCommand)
def feed() -> None:
    """Publish the data feed as events, as its sources would, until Ctrl-C."""
    from pipelines.operations import stream_feed as operation

    operation.main()


@click.command("dead-letters", cls=ProjectCommand)
@click.option(
    "--resend", "resent", type=int, multiple=True, metavar="NUMBER", help="Send this message again. Can be repeated."
)
@click.option("--resend-all", is_flag=True, help="Send all messages that were not sent again yet.")
@AS_JSON
def dead_letters(resent: tuple[int, ...], resend_all: bool, as_json: bool) -> None:
    """Show the messages that the stream could not use, or send them again."""
    from pipelines.operations import dead_letters as operation

    operation.main(resent, resend_all=resend_all, as_json=as_json)


COMMANDS = (stream, feed, dead_letters)
