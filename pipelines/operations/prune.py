"""Deletes what `retention` in params.yaml allows: old rows of the database, rejected spool lines, quarantined batches.

    ontime prune              delete
    ontime prune --dry-run    only count

Runs every night in production (pipelines/operations/flows.py), beside the service. Nothing that the monitor, the
policy or a running trial of a release still needs is deleted. Idempotent: after an interruption, the next run goes on.
"""

import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ontime import database, local_time, locks, release_pointer, retention
from ontime.params import Params, load_params
from ontime.progress import progress_bar
from ontime.settings import REJECTED, Settings, load_settings
from pipelines.operations import feed_clock, transition_log

FILES = "files"


class Pruned(NamedTuple):
    """The number of rows and files by place, and the time before which rows are deleted, in UTC."""

    counts: dict[str, int]
    before: dict[str, str]

    def __str__(self) -> str:
        parts = [
            f"{count:,} {place}" + (f" before {self.before[place]}" if place in self.before else "")
            for place, count in self.counts.items()
            if count
        ]
        return ", ".join(parts) or "nothing is older than `retention` in params.yaml allows"


def run(settings: Settings, params: Params, feed_now: datetime, real_now: datetime, *, dry_run: bool = False) -> Pruned:
    """Delete old rows and files, and record it; or only count them."""
    engine = database.connect(settings.database_url)
    since = needed_since(settings, params, engine, feed_now)
    lead = timedelta(minutes=params.features.lead_minutes)
    steps = retention.old_rows(params.retention, real_now, feed_now, since, lead)
    files = old_files(settings, real_now - timedelta(days=params.retention.files_days))
    counts = {each.table.name: retention.count(engine, each) for each in steps}
    before = retention.times_of(steps)
    if dry_run:
        return Pruned({**counts, FILES: len(files)}, before)
    deleted: Counter[str] = Counter()
    try:
        with progress_bar(total=sum(counts.values()), desc="prune", unit="rows") as bar:
            for each in steps:
                for batch in retention.delete(engine, each):
                    deleted[each.table.name] += batch
                    bar.update(batch)
        for path in files:
            path.unlink(missing_ok=True)
            deleted[FILES] += 1
    finally:  # what an interrupted run has deleted is recorded as well
        if deleted.total():
            evidence = {"reason": str(Pruned(deleted, before)), "deleted": dict(+deleted), "before": before}
            database.record_decision(engine, "prune", "deleted", evidence, actor=settings.actor)
    return Pruned(deleted, before)


def needed_since(settings: Settings, params: Params, engine: sa.Engine, feed_now: datetime) -> datetime:
    """The start of the first day whose events the monitor, the policy or a running trial of a release still reads."""
    day = local_time.day_of(feed_now) - timedelta(days=params.fewest_stored_days)
    pointer = release_pointer.read_pointer(settings.releases)
    trial = transition_log.trial_start(engine, pointer) if pointer else None
    if trial is not None:
        day = min(day, local_time.day_of(feed_clock.time_of(trial, settings, params)))
    return local_time.midnight(day)


def old_files(settings: Settings, before: datetime) -> list[Path]:
    """Rejected lines of the spool, and quarantined batches, last written before that time.

    The other files of the spool are predictions that are not in the database yet.
    """
    paths = [*(settings.spool / REJECTED).glob("*"), *settings.quarantine.glob("*")]
    return sorted(each for each in paths if each.is_file() and each.stat().st_mtime < before.timestamp())


def main(*, dry_run: bool = False, as_json: bool = False) -> None:
    settings, params = load_settings(), load_params()
    try:
        result = run(settings, params, feed_clock.now(settings, params), datetime.now(UTC), dry_run=dry_run)
    except (database.DatabaseRefused, locks.Busy) as refused:
        sys.exit(f"prune: {refused}")
    if as_json:
        print(json.dumps({"dry_run": dry_run, **result._asdict()}))
        return
    print(f"prune: {'would delete' if dry_run else 'deleted'}: {result}")
