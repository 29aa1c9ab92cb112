"""Fills the online store: features as of each entity's prediction moment, and outcomes when they arrive.

    ontime materialise                  what has arrived since the last run, by the feed's clock
    ontime materialise --test-period    the whole test period, so that there are entities to predict

Runs every 15 minutes in production (pipelines/operations/flows.py). Rows are stored by entity, so the command is
idempotent.
"""

import sys
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import pandas as pd
import sqlalchemy as sa

from ontime import database, erasure, features, files, locks, online_store, redis_copy, release_pointer, schema, split
from ontime.datasets import KEY
from ontime.declaration import Question
from ontime.params import Params, load_params
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from ontime.redis_copy import MarkedRows, RedisWriter
from ontime.refusal import Refusal
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.layout import FEATURES, VALIDATED, read_months, write_table
from pipelines.operations import arrivals, feed_clock

BATCH_ROWS = 5000
REQUEST_FIELDS = list(PROBLEM.request.model_fields)
OVERLAP = timedelta(hours=6)  # processed again: an interrupted run may have stored only a part
FIRST_WINDOW = timedelta(days=1)
LOST_OUTCOMES_LIMIT = 0.01  # a share of the outcomes: without the late ones, every metric is biased


class QuestionDiffers(ValueError):
    """The live release was trained with another prediction moment or label than params.yaml declares."""


class Materialised(NamedTuple):
    entities: int
    outcomes: int
    broken: tuple[arrivals.Batch, ...]

    def __str__(self) -> str:
        broken = f"; quarantined: {', '.join(batch.name for batch in self.broken)}" if self.broken else ""
        return f"{self.entities:,} {WORDS.entities} materialised, {self.outcomes:,} outcomes{broken}"


def materialise_rows(
    engine: sa.Engine,
    question: Question,
    rows: pd.DataFrame,
    entities: pd.DataFrame,
    redis: RedisWriter | None = None,
) -> None:
    """`store_rows` in batches, each in a transaction of its own, with a progress bar."""
    for start in progress_bar(range(0, len(rows), BATCH_ROWS), desc="materialise", unit="batches"):
        with engine.begin() as connection:
            marked = store_rows(connection, question, rows.iloc[start : start + BATCH_ROWS], entities, redis)
        if marked is not None:
            marked.publish()


def store_rows(
    connection: sa.Connection,
    question: Question,
    rows: pd.DataFrame,
    entities: pd.DataFrame,
    redis: RedisWriter | None = None,
) -> MarkedRows | None:
    """Write the features of `rows` to the online store, as training sees them, and the requests to the entities' table.

    `entities` has the entities' table, by entity_id. With `redis`, call `publish` of the result after the commit.
    """
    requests = entities.loc[rows[KEY]]
    records = _records(requests[[KEY, *REQUEST_FIELDS]].assign(event_at=requests[DATA.event_at]))
    online_store.store_entities(connection, records)
    ids, moments = rows[KEY].tolist(), rows["moment"].dt.to_pydatetime().tolist()
    vectors, all_texts = features.online_of(rows)
    texts = all_texts if schema.ONLINE_TEXTS else None
    online_store.store_features(connection, question, ids, moments, vectors, texts)
    if redis is None:
        redis_copy.begin_epochs(connection, question)  # a service may use a copy that this process does not know of
        return None
    return redis.mark(connection, question, ids, moments, vectors, texts)


def redis_writer(settings: Settings, params: Params) -> RedisWriter | None:
    """What keeps the copy in Redis; None if the settings name no server."""
    return RedisWriter.of(settings, params.retention.features_days)


def outcomes_of(entities: pd.DataFrame, at_least: float) -> list[dict[str, object]]:
    """Labels, with the moment at which each became known; entities without a value have no label."""
    declared = PROBLEM.label
    labelled = entities[entities[declared.column].notna() & entities[declared.known_at].notna()]
    value = labelled[declared.column].astype(float)
    return _records(labelled[[KEY]].assign(label=value >= at_least, value=value, known_at=labelled[declared.known_at]))


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as the database driver expects them: Python datetimes and numbers, None for missing values."""
    columns = {
        name: values.dt.to_pydatetime().tolist()
        if isinstance(values.dtype, pd.DatetimeTZDtype)
        else values.astype(object).where(values.notna(), None).tolist()
        for name, values in table.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]  # type: ignore[arg-type]  # column names are text


def features_between(arrived: arrivals.Arrived, since: datetime, until: datetime, params: Params) -> pd.DataFrame:
    """The features of the entities with `since <= prediction moment < until`."""
    lead = timedelta(minutes=params.features.lead_minutes)
    return features.build(arrived.tables, since + lead, until + lead, params.features, params.question)


def new_outcomes(arrived: arrivals.Arrived, since: datetime, params: Params) -> list[dict[str, object]]:
    """The labels that became known at or after `since`."""
    entities = arrived.tables[DATA.entities]
    return outcomes_of(entities[entities[PROBLEM.label.known_at] >= since], params.label.at_least)


def refuse_lost_outcomes(entities: pd.DataFrame, params: Params) -> None:
    """Raise Refusal if outcomes become known so late that `run` no longer reads their events."""
    known_at = entities[PROBLEM.label.known_at].dropna()
    lost = known_at - entities[DATA.event_at].loc[known_at.index] > arrivals.lookback(params)
    if lost.mean() > LOST_OUTCOMES_LIMIT:
        raise Refusal(
            f"monitor.settle_days {params.monitor.settle_days}: {lost.mean():.0%} of the outcomes are known more than "
            f"{arrivals.lookback(params)} after the event and would never be stored: increase it to cover that delay"
        )


def run(settings: Settings, params: Params, now: datetime, feed: arrivals.Feed = arrivals.read_feed) -> Materialised:
    """Store the features of entities whose prediction moment has come by `now`, and the labels known by then."""
    refuse_question_mismatch(settings, params)
    engine = database.connect(settings.database_url)
    now = now.replace(second=0, microsecond=0)
    last = online_store.last_moment(engine, params.question, now)
    since = last - OVERLAP if last else now - FIRST_WINDOW
    arrived = arrivals.arrived_by(now, since, feed, params)
    quarantine(settings, engine, arrived.broken, now)
    outcomes = new_outcomes(arrived, since, params)
    erased = erased_entities(engine, (each[KEY] for each in outcomes))
    database.store_outcomes(engine, [each for each in outcomes if each[KEY] not in erased])
    # Last, and ordered by moment: the next run starts at the last moment stored, so everything before it is stored.
    built = features_between(arrived, since, now, params).sort_values("moment", kind="stable")
    built = without_erased(engine, built)
    record_skew(engine, params.question, built, now)
    entities = arrived.tables[DATA.entities].set_index(KEY, drop=False)
    materialise_rows(engine, params.question, built, entities, redis_writer(settings, params))
    return Materialised(len(built), len(outcomes), arrived.broken)


def erased_entities(engine: sa.Engine, entity_ids: Iterable[object]) -> Collection[str]:
    """Those that `make forget` has erased: the feed still has them, and they must not return."""
    with engine.connect() as connection:
        return erasure.erased_at(connection, map(str, entity_ids)).keys()


def without_erased(engine: sa.Engine, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table without those of erased entities."""
    return rows[~rows[KEY].isin(list(erased_entities(engine, rows[KEY])))] if KEY in rows else rows


def refuse_question_mismatch(settings: Settings, params: Params) -> None:
    """Raise QuestionDiffers if params.yaml differs from what the live release was trained with."""
    champion = release_pointer.live_manifest(settings.releases)
    if champion is None:
        return
    for name, configured, trained in (
        ("features.lead_minutes", params.features.lead_minutes, champion.lead_minutes),
        ("label.at_least", params.label.at_least, champion.label_at_least),
    ):
        if configured != trained:
            raise QuestionDiffers(
                f"{name} is {configured}, but release {champion.version} was trained with {trained}: "
                f"run make train, or set it back to {trained} in params.yaml"
            )


def record_skew(engine: sa.Engine, question: Question, built: pd.DataFrame, now: datetime) -> None:
    """Record how many entities were stored with other features than those computed now.

    Each run computes the last hours again. A difference means a row was altered, the code changed in between, or an
    event became known later than its known_at: in each case, training sees other features than production.
    """
    stored = online_store.look_up_features(engine, question, built["entity_id"])
    rows = zip(built[KEY], *features.online_of(built), strict=True)
    differing = [
        each
        for each, vector, texts in rows
        if each in stored
        and (stored[each].online.vector.tobytes(), stored[each].online.texts) != (vector.tobytes(), texts)
    ]
    if differing:
        share = round(len(differing) / len(stored), 4)
        count = f"{len(differing):,} of {len(stored):,} {WORDS.entities}"
        print(f"materialise: skew, first {differing[0]}", file=sys.stderr)
        reason = f"{count} were stored with other features"  # no id: `make forget` could not erase it from this log
        database.record_decision(engine, "skew", "overwritten", {"share": share, "reason": reason}, now)


def quarantine(settings: Settings, engine: sa.Engine, broken: tuple[arrivals.Batch, ...], now: datetime) -> None:
    """Save the rows of broken batches with the reasons. A batch is recorded once for the rules that it violates."""
    for batch in broken:
        files.make_private_folder(settings.quarantine)
        write_table(without_erased(engine, batch.rows), settings.quarantine / f"{batch.day}-{batch.table}.parquet")
        erased = erased_entities(engine, batch.rows[KEY]) if KEY in batch.rows else ()
        text = erasure.without_ids("\n".join(batch.reasons) + "\n", erased)
        files.write_text(settings.quarantine / f"{batch.day}-{batch.table}.txt", text)
        # Without counts and rows, which grow until the day is over.
        rules = "; ".join(": ".join(reason.split(": ")[:2]) for reason in batch.reasons)
        if database.last_decision(engine, "quarantine", batch=batch.name, rules=rules) is not None:
            continue
        evidence = {
            "batch": batch.name,
            "day": str(batch.day),
            "rows": len(batch.rows),
            "rules": rules,
            # Without values, which may be those of an entity that `make forget` has to erase.
            "reason": f"{rules}; {settings.quarantine}/{batch.day}-{batch.table}.txt has the first rows",
        }
        database.record_decision(engine, "quarantine", "quarantined", evidence, now)


def materialise_test_period(settings: Settings, params: Params) -> str:
    """Store the entities of the test period with their features and outcomes."""
    period = split.periods(params.split)["test"]
    months = split.months(period)
    rows = split.within(read_months(FEATURES, months), period)
    entities = read_months(VALIDATED / DATA.entities, months).set_index(KEY, drop=False)
    refuse_lost_outcomes(entities, params)
    engine = database.connect(settings.database_url)
    rows = without_erased(engine, rows)
    materialise_rows(engine, params.question, rows, entities, redis_writer(settings, params))
    database.store_outcomes(engine, outcomes_of(entities.loc[rows[KEY]], params.label.at_least))
    last_day = period.until - timedelta(days=1)
    return f"{len(rows):,} {WORDS.entities} of the test period, {period.start} to {last_day}, with their outcomes"


def main(*, test_period: bool = False) -> None:
    settings, params = load_settings(), load_params()
    try:
        if test_period:
            print(f"materialise: {materialise_test_period(settings, params)}")
        else:
            now = feed_clock.now(settings, params)
            print(f"materialise: {now:%Y-%m-%d %H:%M} UTC on the feed's clock: {run(settings, params, now)}")
    except (QuestionDiffers, Refusal, locks.Busy) as refused:
        sys.exit(f"materialise: {refused}")
