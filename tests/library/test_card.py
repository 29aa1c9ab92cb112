"""The slices of the model card: each AUC with its interval, and said where there is none."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ontime import card, explain, slices
from ontime.evaluation import Interval
from ontime.model_study import StudiedModel, Study
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.schema import FEATURE_NAMES

SCORES = {"auc": 0.7, "average_precision": 0.4, "brier": 0.1, "log_loss": 0.4, "ece": 0.01, "cost_per_1000": 400.0}


def flights(days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Hundred flights a day of one airport, late or not as the forecast half knows."""
    rng = np.random.default_rng(7)
    probabilities = rng.random(100 * days)
    late = rng.random(100 * days) < probabilities
    when = np.repeat(np.arange(days), 100).astype("datetime64[D]")
    return late, probabilities, when, pd.DataFrame({"origin": ["EWR"] * len(probabilities)})


def card_of(
    rows: list[dict[str, Any]], params: Params, study: Study | None = None, kinds: Sequence[dict[str, Any]] = ()
) -> str:
    """The card of a training that measured nothing but scores and slices."""
    report = card.EvaluationReport(
        params=params,
        best="lightgbm",
        candidates={"lightgbm": {"valid": SCORES, "test": SCORES}},
        intervals={"lightgbm": {name: Interval(value - 0.01, value + 0.01) for name, value in SCORES.items()}},
        request_only=SCORES,
        study=study,
        slices=rows,
        equalised=[],
        entities={"train": 3000, "valid": 2000, "test": 1000},
        positive_share=0.2,
        days=1,
        reasons=explain.method_of("it was not asked"),
        kinds_of_days=[*kinds],
    )
    return card.model_card(report)


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


def test_kinds_of_days_are_shown_apart_from_the_slices_that_gate(loose: Params) -> None:
    (row,) = slices.scores_by_slice(*flights(20), loose)
    kind = {**row, "slice": "few flights", "days": 20, "gated": False}

    text, without = card_of([row], loose, kinds=[kind]), card_of([row], loose)

    assert f"| few flights | 20 | {row['entities']:,} |" in text
    assert "no slices of the gate" in text
    assert "By kind of day" not in without


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

    assert "Not measured: `make study` measures it." in section


def test_a_short_card_shows_no_picture(loose: Params) -> None:
    short = loose.model_copy(update={"evaluate": loose.evaluate.model_copy(update={"full_card": False})})
    rows = slices.scores_by_slice(*flights(20), loose)

    assert "![" in card_of(rows, loose)
    assert "![" not in card_of(rows, short)


SETS = {"dimension": "test", "slice": "all", "entities": 1000, "positive_covered": [0.85, 0.8, 0.9],
        "negative_covered": [0.93, 0.9, 0.95], "both": 0.4}  # fmt: skip


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        ({}, "a false alarm 1; so it alerts at a probability of 0.25.\n"),
        ({"missed": 2, "alert_threshold": 0.33}, "a false alarm 1; so it alerts at a probability of 0.33.\n"),
        ({"alert_threshold": 0.4}, "an alert pays from a probability of 0.25 on, but it alerts at 0.4, as `cost.alert"),
        ({"missed": 9}, "an alert pays from a probability of 0.1 on, but it alerts at 0.25, as `cost.alert_threshold"),
    ],
)
def test_a_threshold_that_is_not_the_break_even_point_is_pointed_out(
    cost: dict[str, float], words: str, params: Params
) -> None:
    changed = params.model_copy(update={"cost": params.cost.model_copy(update=cost)})

    assert words in card_of([], changed)


def study_of(dataset: str, log_loss: float) -> Study:
    figures = {**SCORES, "log_loss": log_loss}
    ablations = {name: {**SCORES, "auc": 0.625} for name in PROBLEM.ablations}
    importance = dict.fromkeys(FEATURE_NAMES[:9], (0.01234, 0.001))
    return Study(StudiedModel(dataset, "lightgbm", figures, figures), ablations, importance, [SETS, SETS])


def test_a_card_without_a_study_names_the_command(params: Params) -> None:
    assert "Not measured: `make study` measures it." in card_of([], params)


def test_a_card_shows_the_study_of_this_model(params: Params) -> None:
    text = card_of([], params, study_of(params.dataset, SCORES["log_loss"]))

    assert f"| {FEATURE_NAMES[0]} |" in text
    assert "| 0.0123 |" in text
    assert FEATURE_NAMES[8] not in text  # the card has the first eight
    assert "they cover 85% of the test period's" in text
    assert text.count("AUC 0.625 instead of 0.7") == len(PROBLEM.ablations)
    assert "another model" not in text


@pytest.mark.parametrize(("dataset", "log_loss"), [("another-2013", 0.4), ("flights-2013", 0.5)])
def test_a_card_says_that_its_study_is_of_another_model(params: Params, dataset: str, log_loss: float) -> None:
    text = card_of([], params, study_of(dataset, log_loss))

    assert text.count(f"**Measured for another model**, lightgbm on {dataset} with log-loss {log_loss:g}") == 2
    assert text.count("That was another model") == len(PROBLEM.ablations)


def test_a_study_is_read_as_it_was_written(params: Params) -> None:
    study = study_of(params.dataset, 0.4)

    assert Study.from_json(json.loads(json.dumps(study.as_json()))) == study
    assert Study.from_json({}) is None
