"""The slices of the model card: each AUC with its interval, and said where there is none."""

from typing import Any

import numpy as np
import pandas as pd

from ontime import card, card_errors, explain, slices
from ontime.params import Params


def flights(days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Hundred flights a day of one airport, late or not as the forecast half knows."""
    rng = np.random.default_rng(7)
    told = rng.random(100 * days)
    late = rng.random(100 * days) < told
    when = np.repeat(np.arange(days), 100).astype("datetime64[D]")
    return late, told, when, pd.DataFrame({"origin": ["EWR"] * len(told)})


def card_of(rows: list[dict[str, Any]], params: Params) -> str:
    report = card.Report(params, "lightgbm", {}, {}, {}, rows, [], [], {}, 0.5, 1, explain.method_of("none"))
    return card._slices(report)


def test_a_slice_is_told_with_its_interval_by_days(params: Params) -> None:
    rows = slices.report(*flights(20), params)

    low, high = rows[0]["auc_interval"]
    assert low < rows[0]["auc"] < high
    assert f"{rows[0]['auc']:.3f} ({low:.3f} to {high:.3f})" in card_of(rows, params)
    assert "no interval" not in card_of(rows, params)


def test_a_slice_of_a_single_day_is_told_to_have_no_interval(params: Params) -> None:
    rows = slices.report(*flights(1), params)

    assert rows[0]["auc_interval"] is None
    assert f"{rows[0]['auc']:.3f} (no interval)" in card_of(rows, params)
    assert "fewer than 2 days" in card_of(rows, params)


def test_a_slice_is_told_with_both_errors_of_its_alert(params: Params) -> None:
    loose = params.model_copy(
        update={"evaluate": params.evaluate.model_copy(update={"slice_min_rows": 100, "slice_min_positive": 10})}
    )
    (row,) = slices.report(*flights(20), loose)

    text = card_errors.errors_by_slice([row], [], params.cost)

    missed, low, high = row["missed"]
    assert low < missed < high
    assert f"{missed:.0%} ({low:.0%} to {high:.0%}) | {row['false_alarms'][0]:.0%} (" in text
    assert f"it misses {missed:.0%} in origin EWR" in text


def test_a_card_without_sets_says_so() -> None:
    assert "Not measured in this training" in card_errors.uncertainty([])
