"""The online store holds what training would see, or somebody hears of it."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from monitoring import performance
from ontime import database
from ontime.declaration import Question
from ontime.params import Params
from ontime.settings import Settings
from pipelines.operations import materialise
from pipelines.operations.materialise import QuestionDiffers

NOW = datetime(2013, 2, 20, 12, tzinfo=UTC)


def noted(settings: Settings, rows: pd.DataFrame) -> list[dict[str, object]]:
    engine = database.connect(settings.database_url)
    materialise.record_skew(engine, Question(15, 120), rows, NOW)
    return [dict(row.evidence) for row in database.decisions_of(engine, "skew")]


def test_the_same_features_again_are_no_skew(settings: Settings, stored: pd.DataFrame) -> None:
    assert noted(settings, stored) == []


def test_a_flight_that_was_not_stored_before_is_no_skew(settings: Settings, stored: pd.DataFrame) -> None:
    assert noted(settings, stored.assign(entity_id="UA" + stored["entity_id"])) == []


def test_no_flights_are_no_skew(settings: Settings, stored: pd.DataFrame) -> None:
    assert noted(settings, stored[:0]) == []


def test_other_features_than_those_stored_are_counted(settings: Settings, stored: pd.DataFrame) -> None:
    changed = stored.copy()
    changed.loc[:9, "temp_f"] += 1

    (skew,) = noted(settings, changed)

    assert str(skew["reason"]).startswith(f"10 of {len(stored):,} flights were stored with other features, first ")


def test_another_lead_than_the_release_was_trained_on_is_refused(settings: Settings, params: Params) -> None:
    sooner = params.model_copy(update={"features": params.features.model_copy(update={"lead_minutes": 30})})

    with pytest.raises(QuestionDiffers, match="lead_minutes is 30, but release 1 was trained on 120"):
        materialise.refuse_question_mismatch(settings, sooner)


def test_before_the_first_release_any_lead_may_be_materialised(settings: Settings, params: Params) -> None:
    materialise.refuse_question_mismatch(settings.model_copy(update={"releases": settings.releases / "none"}), params)


def test_no_answers_are_no_answers_of_any_model(settings: Settings) -> None:
    engine = database.connect(settings.database_url)
    rows = performance.answers(engine, NOW - timedelta(days=14), NOW, 15)

    assert performance.unseen_by_their_model(rows, {}).empty
