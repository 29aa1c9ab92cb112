"""The slices of the model card: each AUC with its interval, and said where there is none."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ontime import card, explain, slices
from ontime.evaluation import Interval
from ontime.params import Params

SCORES = {"auc": 0.7, "average_precision": 0.4, "brier": 0.1, "log_loss": 0.4, "ece": 0.01, "cost_per_1000": 400.0}


def flights(days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Hundred flights a day of one airport, late or not as the forecast half knows."""
    rng = np.random.default_rng(7)
    probabilities = rng.random(100 * days)
    late = rng.random(100 * days) < probabilities
    when = np.repeat(np.arange(days), 100).astype("datetime64[D]")
    return late, probabilities, when, pd.DataFrame({"origin": ["EWR"] * len(probabilities)})


def card_of(rows: list[dict[str, Any]], params: Params) -> str:
    """The card of a training that measured nothing but scores and slices."""
    report = card.EvaluationReport(
        params=params,
        best="lightgbm",
        candidates={"lightgbm": {"valid": SCORES, "test": SCORES}},
        intervals={"lightgbm": {name: Interval(value - 0.01, value + 0.01) for name, value in SCORES.items()}},
        variants={"request_only": SCORES},
        slices=rows,
        equalised=[],
        coverage=[],
        entities={"train": 3000, "valid": 2000, "test": 1000},
        positive_share=0.2,
        days=1,
        reasons=explain.method_of("it was not asked"),
    )
    return card.model_card(report, [])


@pytest.fixture
def loose(params: Params) -> Params:
    """So that a slice of a few flights is large enough to judge."""
    few = {"slice_min_rows": 100, "slice_min_positive": 10}
    return params.model_copy(update={"evaluate": params.evaluate.model_copy(update=few)})


def test_a_slice_is_told_with_its_interval_by_days(params: Params) -> None:
    rows = slices.scores_by_slice(*flights(20), params)

    low, high = rows[0]["auc_interval"]
    assert low < rows[0]["auc"] < high
    assert f"{rows[0]['auc']:.3f} ({low:.3f} to {high:.3f})" in card_of(rows, params)
    assert "no interval" not in card_of(rows, params)


def test_a_slice_of_a_single_day_is_told_to_have_no_interval(params: Params) -> None:
    rows = slices.scores_by_slice(*flights(1), params)

    assert rows[0]["auc_interval"] is None
    assert f"{rows[0]['auc']:.3f} (no interval)" in card_of(rows, params)
    assert "fewer than 2 days" in card_of(rows, params)


def test_a_slice_is_told_with_both_errors_of_its_alert(loose: Params) -> None:
    (row,) = slices.scores_by_slice(*flights(20), loose)

    text = card_of([row], loose)

    missed, low, high = row["missed"]
    assert low < missed < high
    assert f"{missed:.0%} ({low:.0%} to {high:.0%}) | {row['false_alarms'][0]:.0%} (" in text
    assert f"it misses {missed:.0%} in origin EWR" in text


def test_a_card_without_a_slice_that_is_large_enough_says_so(params: Params) -> None:
    rows = [{**row, "gated": False} for row in slices.scores_by_slice(*flights(1), params)]

    text = card_of(rows, params)

    assert "No slice of this test period is large enough to judge." in text
    assert "The weakest slice" not in text


def test_a_card_without_sets_says_so(params: Params) -> None:
    (section,) = (
        part for part in card_of([], params).split("\n## ") if part.startswith("How certain one prediction is")
    )

    assert "Not measured in this training" in section


def test_a_short_card_shows_no_picture(loose: Params) -> None:
    short = loose.model_copy(update={"evaluate": loose.evaluate.model_copy(update={"full_card": False})})
    rows = slices.scores_by_slice(*flights(20), loose)

    assert "![" in card_of(rows, loose)
    assert "![" not in card_of(rows, short)
