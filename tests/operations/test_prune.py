"""`make prune`: what is old and not needed is deleted, in batches; the monitor's next day stays as it was."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from monitoring import daily_metrics
from monitoring.daily_metrics import DayContext
from ontime import database, database_tables, decision_chain, release, release_pointer, retention
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params, ParamsBroken, load_params
from ontime.settings import Settings
from pipelines.operations import prune
from tests import PARAMS_YAML
from tests.governed import dead_letter, prediction, stream_event
from tests.production import MONDAY, TUESDAY, WEDNESDAY, simulate_day, start_challenge

pytestmark = pytest.mark.slow

PRUNED = (
    database_tables.shadows,
    database_tables.predictions,
    database_tables.features,
    database_tables.outcomes,
    database_tables.stream_events,
    database_tables.dead_letters,
)
A_YEAR_LATER = timedelta(days=365)
NOW = datetime.now(UTC)


@pytest.fixture
def short(params: Params) -> Params:
    """Two days of retention, and a monitor that looks back one day."""
    periods = dict.fromkeys(
        ("predictions_days", "shadows_days", "features_days", "outcomes_days", "files_days", "events_days"), 2
    )
    monitor = params.monitor.model_copy(update={"window_days": 1, "settle_days": 1, "drift_every_days": 1})
    policy = params.policy.model_copy(update={"refresh_days": 1, "shadow_days": 1, "watch_days": 1})
    kept = params.retention.model_copy(update=periods)
    return params.model_copy(update={"monitor": monitor, "policy": policy, "retention": kept})


@pytest.fixture
def both(on_both: Settings, tmp_path: Path) -> Settings:
    return on_both.model_copy(update={"quarantine": tmp_path / "quarantine", "actor": "ada@desk"})


@pytest.fixture
def two_days(both: Settings, weeks: pd.DataFrame, tables: Tables) -> Iterator[sa.Engine]:
    """Monday and Tuesday: predictions, shadows, features and outcomes."""
    release_pointer.set_challenger(both.releases, "2")
    engine = database.connect(both.database_url)
    for day in (MONDAY, TUESDAY):
        simulate_day(both, engine, weeks, tables, day)
        moments = [midnight(day) + timedelta(minutes=number) for number in range(350)]
        events = [stream_event(None, moment) for moment in moments]
        database.insert_rows(engine, database_tables.stream_events, events)
        letters = [dead_letter(None, NOW + timedelta(microseconds=number)) for number in range(350)]
        database.insert_rows(engine, database_tables.dead_letters, letters)
    release_pointer.set_challenger(both.releases, None)
    yield engine
    engine.dispose()


def lead(params: Params) -> timedelta:
    return timedelta(minutes=params.features.lead_minutes)


def rows_of(engine: sa.Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (*PRUNED, database_tables.entities)
        }


def test_old_rows_of_every_table_are_deleted_and_recorded(
    both: Settings, two_days: sa.Engine, short: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 300)
    before = rows_of(two_days)
    decisions = len(decision_chain.all_rows(two_days))
    feed_now = midnight(WEDNESDAY) + timedelta(days=30)

    result = prune.run(both, short, feed_now, NOW + timedelta(days=30))

    assert set(rows_of(two_days).values()) == {0}
    assert +Counter(result.counts) == before
    assert all(count > 600 for count in before.values())  # more than two batches of each
    row = database.last_decision(two_days, "prune")
    assert row is not None
    assert (row.verdict, row.actor, row.evidence["deleted"]) == ("deleted", "ada@desk", before)
    assert (
        row.evidence["before"]["features"] == f"{midnight(WEDNESDAY + timedelta(days=28)) - lead(short):%Y-%m-%d %H:%M}"
    )
    assert len(decision_chain.all_rows(two_days)) == decisions + 1
    assert decision_chain.breaks(decision_chain.all_rows(two_days)) == []


def test_only_what_is_older_than_its_period_is_deleted(
    both: Settings, two_days: sa.Engine, short: Params, weeks: pd.DataFrame
) -> None:
    """At the end of Wednesday, Monday's features are two days old. All predictions were made just now."""
    moments = weeks.loc[weeks["day"].isin([pd.Timestamp(MONDAY), pd.Timestamp(TUESDAY)]), "moment"]
    limit = midnight(WEDNESDAY) + timedelta(days=1) - timedelta(days=2)
    before = rows_of(two_days)

    result = prune.run(both, short, midnight(WEDNESDAY) + timedelta(days=1), NOW)

    left = rows_of(two_days)
    assert left["features"] == (moments >= limit - lead(short)).sum() > 0  # of every event that is needed
    assert result.counts["features"] == (moments < limit - lead(short)).sum() > 0
    assert (left["predictions"], left["shadows"]) == (before["predictions"], before["shadows"])
    with two_days.connect() as connection:
        oldest = connection.execute(sa.select(sa.func.min(database_tables.outcomes.c.known_at))).scalar_one()
    assert oldest >= limit


def test_a_dry_run_deletes_nothing_and_counts_the_same(both: Settings, two_days: sa.Engine, short: Params) -> None:
    before = rows_of(two_days)
    moment = midnight(WEDNESDAY) + timedelta(days=1)

    counted = prune.run(both, short, moment, NOW + A_YEAR_LATER, dry_run=True)

    assert rows_of(two_days) == before
    assert database.last_decision(two_days, "prune") is None
    deleted = prune.run(both, short, moment, NOW + A_YEAR_LATER)
    assert +Counter(deleted.counts) == +Counter(counted.counts)


def test_the_monitors_next_day_is_the_same_after_it(both: Settings, two_days: sa.Engine, short: Params) -> None:
    """Also where the predictions are from a year ago, because the feed's clock has returned to the same days."""
    champion = release.verify(both.releases / "1")
    without_drift = short.monitor.model_copy(update={"drift_every_days": 7})  # Evidently takes seconds
    monitored = short.model_copy(update={"monitor": without_drift})
    context = DayContext(both, monitored, two_days, TUESDAY, midnight(WEDNESDAY))
    before = daily_metrics.read_metrics(context, champion, daily_metrics.read_window(context, champion))

    result = prune.run(both, short, midnight(WEDNESDAY), NOW + A_YEAR_LATER)

    assert result.counts["predictions"] == 0
    assert before == daily_metrics.read_metrics(context, champion, daily_metrics.read_window(context, champion))
    assert before["auc_shortfall"] is not None


def test_a_running_trial_keeps_its_predictions(both: Settings, two_days: sa.Engine, short: Params) -> None:
    start_challenge(both, two_days, "2", MONDAY - timedelta(days=1))
    before = rows_of(two_days)
    later = (midnight(WEDNESDAY) + timedelta(days=20), NOW + A_YEAR_LATER)

    result = prune.run(both, short, *later)

    assert {name for name, count in result.counts.items() if count} == {"dead_letters"}  # no trial needs them
    release_pointer.set_challenger(both.releases, None)
    assert prune.run(both, short, *later).counts["shadows"] == before["shadows"]


def test_rows_that_are_needed_do_not_hold_up_those_behind_them(
    both: Settings, two_days: sa.Engine, short: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batches have only rows that stay."""
    monkeypatch.setattr(retention, "BATCH_ROWS", 10)
    unneeded = {**prediction(0, "UNKNOWN"), "prediction_id": database.new_prediction_ids(1)[0]}
    database.log_predictions(two_days, [unneeded])
    before = rows_of(two_days)

    result = prune.run(both, short, midnight(WEDNESDAY), NOW + A_YEAR_LATER)

    assert result.counts["predictions"] == 1
    assert rows_of(two_days) == {**before, "predictions": before["predictions"] - 1, "dead_letters": 0}


def test_an_interrupted_run_records_what_it_deleted_and_the_next_goes_on(
    both: Settings, two_days: sa.Engine, short: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 300)
    whole, before, later = (
        retention.delete,
        rows_of(two_days),
        (midnight(WEDNESDAY) + timedelta(days=30), NOW + A_YEAR_LATER),
    )

    def fails_at_the_second_batch(engine: sa.Engine, rows: retention.OldRows) -> Iterator[int]:
        yield next(whole(engine, rows))
        raise KeyboardInterrupt

    monkeypatch.setattr(retention, "delete", fails_at_the_second_batch)
    with pytest.raises(KeyboardInterrupt):
        prune.run(both, short, *later)
    monkeypatch.setattr(retention, "delete", whole)
    first = database.last_decision(two_days, "prune")
    second = prune.run(both, short, *later)

    assert first is not None
    assert first.evidence["deleted"] == {"shadows": 300}
    assert second.counts["shadows"] == before["shadows"] - 300
    assert set(rows_of(two_days).values()) == {0}


def test_nothing_to_delete_is_not_recorded(both: Settings, two_days: sa.Engine, short: Params) -> None:
    result = prune.run(both, short, midnight(MONDAY), NOW)

    assert str(result) == "nothing is older than `retention` in params.yaml allows"
    assert database.last_decision(two_days, "prune") is None


def test_old_files_are_deleted_but_never_predictions_of_the_spool(
    settings: Settings, short: Params, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"quarantine": tmp_path / "quarantine"})
    old, new, waiting = (
        settings.quarantine / "2013-02-18-flights.parquet",
        settings.spool / "rejected/new.jsonl",
        settings.spool / "waiting.jsonl",
    )
    rejected = settings.spool / "rejected/old.jsonl"
    for path in (old, new, waiting, rejected):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    last_written = (NOW - timedelta(days=3)).timestamp()
    for path in (old, waiting, rejected):
        os.utime(path, (last_written, last_written))

    result = prune.run(settings, short, midnight(MONDAY), NOW)

    assert (old.exists(), rejected.exists(), new.exists(), waiting.exists()) == (False, False, True, True)
    assert result.counts["files"] == 2


def test_no_batch_scans_a_whole_table(settings: Settings, short: Params) -> None:
    engine = database.connect(settings.database_url)
    for rows in retention.old_rows(short.retention, NOW, NOW, NOW, lead(short)):
        for query in (
            sa.select(rows.column).where(rows.column < rows.limit).order_by(rows.column).offset(9).limit(1),
            sa.delete(rows.table).where(rows.between(rows.limit, rows.limit)),
        ):
            statement = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
            with engine.connect() as connection:
                plan = [row.detail for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {statement}"))]
            assert plan
            assert not any(step.startswith("SCAN") for step in plan), (statement, plan)


@pytest.mark.parametrize("name", ["predictions_days", "shadows_days", "features_days", "outcomes_days"])
def test_a_period_that_is_too_short_for_the_monitor_is_refused(name: str, tmp_path: Path) -> None:
    lines = [
        f"  {name}: 27" if line.strip().startswith(f"{name}:") else line
        for line in PARAMS_YAML.read_text().splitlines()
    ]
    (tmp_path / "params.yaml").write_text("\n".join(lines))

    with pytest.raises(ParamsBroken, match=rf"retention\.{name} is 27, but monitor and policy look back 28 days"):
        load_params(tmp_path / "params.yaml")


def test_the_last_range_of_a_stream_stays_because_the_next_one_begins_where_it_ends(
    both: Settings, two_days: sa.Engine, short: Params
) -> None:
    table = database_tables.stream_ranges
    starts = [midnight(MONDAY) + timedelta(minutes=number) for number in range(5)]
    rows = [
        {"start": each, "end": each + timedelta(minutes=1), "owner": "a", "lease_until": NOW, "id_prefix": str(each),
         "scored": 1, "is_published": True}
        for each in starts
    ]  # fmt: skip
    database.insert_rows(two_days, table, rows)

    result = prune.run(both, short, midnight(WEDNESDAY) + timedelta(days=30), NOW)

    with two_days.connect() as connection:
        assert connection.execute(sa.select(table.c.start)).scalars().all() == starts[-1:]
    assert result.counts["stream_ranges"] == 4
