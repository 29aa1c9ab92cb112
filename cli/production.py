"""Commands that fill, show and keep what production stores."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from cli.project_commands import AS_JSON, DAY, ExistingPath, ProjectCommand, ProjectPath, ProjectPlace, date_of

BACKUP = click.argument(
    "place",
    type=ProjectPlace(ExistingPath()),
    help="The folder of a backup, or its address, such as s3://bucket/monday.",
)


@click.command(cls=ProjectCommand)
@click.option("--test-period", is_flag=True, help="Write the whole test period, so that there are entities to predict.")
def materialise(test_period: bool) -> None:
    """Write new features and outcomes to the online store."""
    from pipelines.operations import materialise as operation

    operation.main(test_period=test_period)


@click.command(cls=ProjectCommand)
@click.argument("source", type=ExistingPath(), metavar="FILE_OR_FOLDER", help="What to score: csv or parquet.")
@click.option("--to", "output", type=ProjectPath(), required=True, help="The parquet file to write.")
@click.option("--history", type=ExistingPath(), help="Build features from these tables, such as data/validated.")
@click.option("--release", "version", metavar="VERSION", help="The release to score with.  [default: the live release]")
@click.option("--reasons", is_flag=True, help="Also explain each prediction, as JSON (slow).")
@click.option("--strict", is_flag=True, help="Stop at the first invalid row.")
@click.option("--log", is_flag=True, help="Also write the predictions to the production log.")
@AS_JSON
def score(
    source: Path,
    output: Path,
    history: Path | None,
    version: str | None,
    reasons: bool,
    strict: bool,
    log: bool,
    as_json: bool,
) -> None:
    """Score a csv or parquet file of any size, or a folder of them, as the service would.

    Invalid rows are written beside the output, for example to scored.rejected.csv, with file, row, field, reason and
    value. After an interruption, the same command resumes where it stopped.
    """
    from pipelines.operations import score as operation

    operation.main(source, output, operation.Options(version, history, reasons, strict, log), as_json=as_json)


@click.command(cls=ProjectCommand)
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@AS_JSON
def prune(dry_run: bool, as_json: bool) -> None:
    """Delete what is older than `retention` in params.yaml allows."""
    from pipelines.operations import prune as operation

    operation.main(dry_run=dry_run, as_json=as_json)


@click.command(cls=ProjectCommand)
@click.option("--from", "start", type=DAY, metavar="DAY", help="The first day.  [default: a year before the last one]")
@click.option("--until", type=DAY, metavar="DAY", help="The day after the last one.")
@AS_JSON
def performance(start: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Write a page about the predictions by day, month, release and slice: var/performance.html."""
    from pipelines.tools import performance_report

    performance_report.main(date_of(start), date_of(until), as_json=as_json)


@click.command(cls=ProjectCommand)
@click.option("--new", "message", metavar="CHANGE", help="Only write the revision for a change in the code's tables.")
def migrate(message: str | None) -> None:
    """Bring the tables of the database to this version, as their owner, before a new version of the service starts."""
    from pipelines.operations import migrate as operation

    operation.main(message)


@click.command(cls=ProjectCommand)
@click.option(
    "--to",
    "place",
    type=ProjectPlace(ProjectPath()),
    help="A new folder, here or in a bucket.  [default: ONTIME_BACKUPS/ and the time]",
)
def backup(place: str | None) -> None:
    """Back up everything that cannot be rebuilt, into one folder or to an address such as s3://bucket/monday."""
    from pipelines.tools import backup as tool

    tool.main("backup", place, tool.make_at)


@click.command(cls=ProjectCommand)
@BACKUP
def verify_backup(place: str) -> None:
    """Check that a backup is complete and unchanged."""
    from pipelines.tools import backup as tool

    tool.main("verify-backup", place, lambda _, each: tool.verify_at(each))


@click.command(cls=ProjectCommand)
@BACKUP
@click.option("--replace", is_flag=True, help="Replace existing data, which are kept under another name.")
def restore(place: str, replace: bool) -> None:
    """Restore a backup."""
    from pipelines.tools import backup as tool

    tool.main("restore", place, lambda settings, each: tool.restore_at(settings, each, replace=replace))


@click.command(cls=ProjectCommand)
@click.argument("name", help="Who uses the key.")
@click.argument("scopes", nargs=-1, required=True, help="Of predict, outcomes and admin.")
def key(name: str, scopes: Sequence[str]) -> None:
    """Create an API key and print it, once.

    \b
    ontime key desk predict outcomes
    """
    from serving import keys

    keys.main(name, [each for words in scopes for each in words.split(",")])


@click.command(cls=ProjectCommand)
@click.option("--head", help="Also look for a head that was noted earlier: its first 12 digits or more.")
@AS_JSON
def audit(head: str | None, as_json: bool) -> None:
    """Verify that no row of decisions was changed, and write who decided what to var/audit.html.

    The exit status is 1 if a row was changed, or if no row has the noted head.
    """
    from pipelines.tools import audit as tool

    tool.main(head, as_json=as_json)


@click.command(cls=ProjectCommand)
@click.argument("entity_ids", nargs=-1, required=True, metavar="ENTITY...", help="The identifiers, as in entity_id.")
@click.option("--reason", required=True, help="Why, recorded: such as the number of a request.")
def forget(entity_ids: Sequence[str], reason: str) -> None:
    """Erase what is stored about entities."""
    from pipelines.tools import forget as tool

    tool.main(entity_ids, reason)


@click.command(cls=ProjectCommand)
@click.argument("entity_id", metavar="ENTITY", help="The identifier, as in entity_id.")
@click.option("--to", "folder", type=ProjectPath(), required=True, help="The folder to write.")
def export(entity_id: str, folder: Path) -> None:
    """Write everything that is stored about an entity as JSON."""
    from pipelines.tools import entity_export

    entity_export.main(entity_id, folder)


COMMANDS = (
    score, materialise, prune, performance, key, audit, forget, export, migrate, backup, verify_backup, restore,
)  # fmt: skip
