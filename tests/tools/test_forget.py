"""`make forget`: nothing of an erased entity stays or returns, everything else stays, and the erasure is recorded."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ontime import database, decision_chain
from ontime.datasets import Tables
from ontime.settings import Settings
from pipelines.operations import arrivals, materialise
from pipelines.tools import forget, stored_files
from pipelines.tools.forget import ErasureRefused
from serving.spool import Spool
from tests.governed import ANSWERED_AT, Governed, governed, prediction, stopped_service

pytestmark = pytest.mark.slow

REASON = "request of February"


@pytest.fixture
def stored_everywhere(on_both: Settings, weeks: pd.DataFrame, tables: Tables, tmp_path: Path) -> Iterator[Governed]:
    made = governed(on_both, weeks, tables, tmp_path)
    yield made
    made.engine.dispose()


def run(world: Governed) -> forget.Erasure:
    return forget.forget(world.settings, world.engine, [world.erased], REASON)


def test_every_row_about_it_is_erased_and_every_other_row_stays(stored_everywhere: Governed) -> None:
    world = stored_everywhere
    before = world.counts()

    result = run(world)

    erased = {"entities": 1, "features": 1, "predictions": 2, "shadows": 2, "outcomes": 1}
    erased |= {"stream_events": 1, "dead_letters": 1}
    assert world.counts() == {name: before[name] - count for name, count in erased.items()}
    assert world.predicted() == [world.other]
    assert result.counts == {**erased, "spool": 0, "quarantine": 1}
    (batch,) = world.settings.quarantine.glob("*.parquet")
    assert pd.read_parquet(batch)["entity_id"].tolist() == [world.other]
    assert batch.with_suffix(".txt").read_text() == "flights: first row 1: (erased)\n"


def test_the_erasure_is_recorded_without_the_id(stored_everywhere: Governed) -> None:
    world = stored_everywhere

    run(world)

    row = database.last_decision(world.engine, "forget")
    assert row is not None
    assert (row.verdict, row.actor, row.evidence["reason"]) == ("erased", "ada@desk", REASON)
    assert len(row.evidence["entities"]) == 1
    assert world.erased not in json.dumps(row.evidence)
    assert decision_chain.breaks(decision_chain.all_rows(world.engine)) == []


def test_a_second_erasure_changes_nothing_else(stored_everywhere: Governed) -> None:
    world = stored_everywhere
    run(world)
    counts = world.counts()

    result = run(world)

    assert result.is_empty
    assert world.counts() == counts
    assert [row.verdict for row in database.decisions_of(world.engine, "forget")] == ["erased", "nothing stored"]


def test_the_aggregates_of_monitoring_stay(stored_everywhere: Governed) -> None:
    world = stored_everywhere
    evidence = {"day": "2013-02-18", "figures": {"log_loss": 0.5}, "alerts": {}}
    database.record_decision(world.engine, "monitor", "ok", evidence)

    run(world)

    row = database.last_decision(world.engine, "monitor")
    assert row is not None
    assert row.evidence == evidence


def test_the_spool_of_a_stopped_service_is_filtered(stored_everywhere: Governed) -> None:
    world = stored_everywhere
    stopped_service(world.settings, prediction(7, world.erased), prediction(8, world.other))

    result = run(world)

    assert result.spool == (1, 0)
    assert [each["entity_id"] for each in spooled_rows(world.settings.spool)] == [world.other]


def spooled_rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_damaged_and_rejected_lines_are_removed_too(stored_everywhere: Governed) -> None:
    world = stored_everywhere
    rejected = world.settings.spool / "rejected/a.jsonl"
    rejected.parent.mkdir(parents=True)
    lines = [{"reason": "damaged", "line": f'{{"entity_id":"{each}"'} for each in (world.erased, world.other)]
    rejected.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (world.settings.spool / "b.jsonl").write_text(f'{{"entity_id":"{world.erased}", "vect')

    result = run(world)

    assert result.spool == (2, 0)
    assert rejected.read_text() == f"{json.dumps(lines[1])}\n"
    assert (world.settings.spool / "b.jsonl").read_text() == ""


def test_a_running_service_drops_what_it_has_spooled_before(stored_everywhere: Governed) -> None:
    world = stored_everywhere
    spool = Spool(world.settings.spool)
    later = {**prediction(9, world.erased), "answered_at": ANSWERED_AT + timedelta(days=50_000)}
    spool.append([prediction(7, world.erased), prediction(8, world.other), later])
    database.log_shadows(world.engine, [{"prediction_id": f"{7:032}", "model_version": "2", "probability": 0.3}])

    result = run(world)
    spool.drain(lambda rows: database.restore_predictions(world.engine, rows))
    spool.close()

    assert result.spool.waiting == 2
    assert sorted(world.predicted()) == sorted(
        [world.other, world.other, world.erased]
    )  # the later one is a new request
    assert world.counts()["shadows"] == 1


def test_it_does_not_return_with_a_batch_that_is_quarantined_later(stored_everywhere: Governed, tables: Tables) -> None:
    world = stored_everywhere
    run(world)
    flights = tables["flights"]
    rows = flights[flights["entity_id"].isin([world.erased, world.other])]
    reasons = (f"flights: distance: first row 1: {world.erased!r}, {world.other!r}",)
    batch = arrivals.Batch("flights", date(2013, 2, 19), reasons, rows)

    materialise.quarantine(world.settings, world.engine, (batch,), ANSWERED_AT)

    path = world.settings.quarantine / "2013-02-19-flights.parquet"
    assert pd.read_parquet(path)["entity_id"].tolist() == [world.other]
    assert path.with_suffix(".txt").read_text() == f"flights: distance: first row 1: (erased), {world.other!r}\n"


def test_it_does_not_return_with_the_next_materialisation(stored_everywhere: Governed, weeks: pd.DataFrame) -> None:
    world = stored_everywhere
    run(world)

    rows = materialise.without_erased(world.engine, weeks)

    assert len(rows) == len(weeks) - 1
    assert world.erased not in set(rows["entity_id"])


def test_the_releases_that_hold_it_are_named(stored_everywhere: Governed) -> None:
    world = stored_everywhere

    text = "\n".join(run(world).lines())

    assert f"{world.erased}: release 1 has it in probe.json" in text
    assert "backups made before now still hold it" in text


def test_a_release_that_cannot_be_read_does_not_stop_an_erasure(stored_everywhere: Governed) -> None:
    world = stored_everywhere
    (world.settings.releases / "2" / "model.onnx").write_bytes(b"damaged")

    text = "\n".join(run(world).lines())

    assert "release 2 cannot be read, so it may have been trained on it" in text
    assert world.erased not in world.predicted()


def test_the_training_entities_of_a_release_are_recognised(stored_everywhere: Governed) -> None:
    traces = stored_files.release_traces(stored_everywhere.settings.releases, ["never seen"])

    assert traces == {"never seen": []}


@pytest.mark.parametrize(
    ("entity_id", "reason", "message"),
    [("a", " ", "the reason is empty"), ("../a", "x", "'../a' is not an entity_id")],
)
def test_a_call_without_an_entity_or_a_reason_is_refused(
    entity_id: str, reason: str, message: str, stored_everywhere: Governed
) -> None:
    world = stored_everywhere
    with pytest.raises(ErasureRefused, match=message):
        forget.forget(world.settings, world.engine, [entity_id], reason)
