"""A category that the model was not trained on is flagged and counted; a missing one is not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring import table_metrics
from ontime import features, online, schema
from ontime.declaration import Columns
from ontime.online import OnlineRow
from ontime.problem import PROBLEM

FLIGHT = PROBLEM.request.model_validate(
    {**PROBLEM.examples["a morning flight"]}
    | {name: datetime(2013, 11, 5, hour, tzinfo=UTC) for name, hour in
       (("scheduled_departure", 11), ("scheduled_arrival", 13))}
)  # fmt: skip
DEST = schema.FEATURE_NAMES.index("dest")


def without_dest(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the destination were optional and missing from the request."""
    request_features: Callable[[Columns], Columns] = PROBLEM.request_features

    def without(fields: Columns) -> Columns:
        return {**request_features(fields), "dest": np.full(len(fields["dest"]), None, object)}

    changed = replace(PROBLEM, request_features=without)
    for module in (online, table_metrics):
        monkeypatch.setattr(module, "PROBLEM", changed)


def uncoded(place: int) -> np.ndarray:
    row = np.zeros(len(schema.FEATURE_NAMES), np.float32)
    row[place] = np.nan
    return row


def answered(source: str = "online", count: int = table_metrics.MIN_ENTITIES) -> pd.DataFrame:
    """Rows of `performance.predictions_with_outcomes` whose destination has no code."""
    row = {**FLIGHT.model_dump(), "entity_id": "a", "features": source, "vector": uncoded(DEST).tobytes()}
    return pd.DataFrame([row] * count)


def unseen_share(rows: pd.DataFrame, texts: dict[str, Any]) -> float | None:
    reference = pd.DataFrame(columns=list(schema.FEATURE_NAMES))
    return table_metrics.prediction_metrics(rows, reference, table_metrics.categorical_features(rows, texts))[
        "unseen_share"
    ]


def test_an_unseen_category_of_the_request_is_flagged_and_counted() -> None:
    assert online.flags_of(FLIGHT, online.EMPTY_ROW, uncoded(DEST)) == ["unknown_category:dest"]
    assert unseen_share(answered(), {}) == 1


def test_a_missing_category_of_the_request_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    without_dest(monkeypatch)
    assert online.flags_of(FLIGHT, online.EMPTY_ROW, uncoded(DEST)) == []
    assert unseen_share(answered(), {}) == 0


@pytest.mark.parametrize(("texts", "flags"), [({"sky": "hail"}, ["unknown_category:sky"]), ({}, [])])
def test_an_unseen_category_of_the_online_store_is_flagged(
    texts: dict[str, str], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "CATEGORIES", [("sky", 7)])
    row = OnlineRow(online.EMPTY_ROW.vector, texts)

    assert online.flags_of(FLIGHT, row, uncoded(7)) == flags


def test_all_entities_get_the_flags_that_each_gets_alone() -> None:
    complete = np.zeros(len(schema.FEATURE_NAMES), np.float32)
    rows = [online.EMPTY_ROW, None, online.EMPTY_ROW, None]
    matrix = np.stack([complete, complete, uncoded(DEST), uncoded(DEST)])

    flags = online.flags_of_all([FLIGHT] * 4, rows, matrix)

    assert flags == [online.flags_of(FLIGHT, row, each) for row, each in zip(rows, matrix, strict=True)]
    assert flags == [[], ["request_only"], ["unknown_category:dest"], ["request_only", "unknown_category:dest"]]
    assert len({id(each) for each in flags}) == 4  # the service adds flags to some


@pytest.mark.parametrize(
    ("source", "texts", "share"),
    [("online", {"a": {"temp_f": "hail"}}, 1), ("online", {"a": {}}, 0), ("request", {"a": {"temp_f": "hail"}}, 0)],
)
def test_an_unseen_category_of_the_online_store_is_counted(
    source: str, texts: dict[str, Any], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "CATEGORICAL", ("temp_f",))
    monkeypatch.setattr(schema, "ONLINE_TEXTS", ("temp_f",))
    rows = answered(source).assign(vector=uncoded(schema.FEATURE_NAMES.index("temp_f")).tobytes())

    assert unseen_share(rows, texts) == share


def test_a_category_of_the_online_store_that_lost_its_values_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "ONLINE_TEXTS", ("temp_f",))
    rows = answered().assign(vector=uncoded(schema.FEATURE_NAMES.index("temp_f")).tobytes())
    reference = pd.DataFrame({name: [1.0] for name in schema.FEATURE_NAMES}).assign(temp_f="hail")

    metrics = table_metrics.prediction_metrics(rows, reference, table_metrics.categorical_features(rows, {}))

    assert metrics["blind_features"] == 1


def test_a_feature_that_the_dataset_declares_as_blind_is_not_counted() -> None:
    rows = answered().assign(vector=np.full(len(schema.FEATURE_NAMES), np.nan, np.float32).tobytes())
    reference = pd.DataFrame({name: [1.0] for name in schema.FEATURE_NAMES})
    accepted = schema.ONLINE[:2]

    metrics = table_metrics.prediction_metrics(
        rows, reference, table_metrics.categorical_features(rows, {}), accepted=accepted
    )

    assert metrics["blind_features"] == len(schema.ONLINE) - len(accepted)


def test_a_few_predictions_are_measured_by_nothing_because_a_share_of_them_would_be_a_false_alarm() -> None:
    few = answered("request", table_metrics.MIN_ENTITIES - 1)
    reference = pd.DataFrame({name: [1.0] for name in schema.FEATURE_NAMES})

    measured = table_metrics.prediction_metrics(few, reference, table_metrics.categorical_features(few, {}))

    assert set(measured.values()) == {None}


def test_a_few_entities_of_the_online_store_are_not_blind_among_many_of_the_request() -> None:
    rows = pd.concat([answered("online", 1), answered("request")], ignore_index=True)
    nothing = np.full(len(schema.FEATURE_NAMES), np.nan, np.float32).tobytes()
    reference = pd.DataFrame({name: [1.0] for name in schema.FEATURE_NAMES})
    rows = rows.assign(vector=[nothing] * len(rows))

    measured = table_metrics.prediction_metrics(rows, reference, table_metrics.categorical_features(rows, {}))

    assert (measured["blind_features"], measured["stale_feed_share"]) == (None, None)
    assert measured["request_only_share"] == round(table_metrics.MIN_ENTITIES / len(rows), 4)


def test_no_answers_have_no_categories() -> None:
    assert table_metrics.categorical_features(answered().iloc[:0], {}).empty


def test_an_entity_has_the_same_categories_as_in_training() -> None:
    row = pd.DataFrame([FLIGHT.model_dump()])
    columns = PROBLEM.request_features(features.fields_of(row))

    assert online.categories_present(FLIGHT, online.EMPTY_ROW) == {
        name for name in schema.REQUEST if isinstance(columns[name][0], str)
    }
