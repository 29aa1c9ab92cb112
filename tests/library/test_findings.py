"""A title follows from the numbers: other numbers, another sentence."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ontime import findings

THRESHOLDS = np.array([0.1, 0.25, 0.4])


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("rates", "title"),
    [
        ({"2013-06": 0.32, "2013-07": 0.336, "2013-09": 0.137, "2013-12": 0.33},
         "June, July and December have the most: up to 33.6 % late, against 13.7 % in September"),
        ({"2013-01": 0.2, "2013-02": 0.3}, "February has the most: 30.0 % late, against 20.0 % in January"),
        ({"2013-12": 0.2, "2014-01": 0.3},
         "January 2014 has the most: 30.0 % late, against 20.0 % in December 2013"),
        ({"2013-01": 0.20, "2013-02": 0.21}, "Months differ little: 20.0 % to 21.0 % late"),
        ({"2013-01": 0.235}, "23.5 % of the flights of January were late"),
        ({f"2013-0{n}": 0.1 if n == 5 else 0.3 for n in range(1, 7)},
         "5 of 6 months are close to the highest, 30.0 % late; May has 10.0 %"),
    ],
)  # fmt: skip
def test_the_months_with_the_highest_rates_are_named(rates: dict[str, float], title: str) -> None:
    assert plain(findings.rate_by_month(pd.Series(rates))) == title


@pytest.mark.parametrize(
    ("rates", "begins"),
    [
        ([0.1, 0.2, 0.3, 0.37], "The share rises over the day: 10.0 % late at 0:00, 37.0 % at 3:00"),
        ([0.37, 0.3, 0.2, 0.1], "The share falls over the day: 10.0 % late at 3:00, 37.0 % at 0:00"),
        ([0.1, 0.37, 0.1, 0.3], "Hours differ"),
        ([0.1, 0.105, 0.1, 0.11], "Hours differ little"),
        ([0.1], "10.0 % of the flights at 0:00 were late"),
    ],
)
def test_the_share_rises_only_where_it_does(rates: list[float], begins: str) -> None:
    assert plain(findings.rate_by_hour(pd.Series(rates))).startswith(begins)


def test_the_highest_hour_of_the_week_is_named_and_a_missing_cell_is_none() -> None:
    rates = pd.DataFrame([[0.1, np.nan], [0.44, 0.2]], index=["Wed", "Thu"], columns=[5, 21])

    title = plain(findings.rate_by_hour_and_weekday(rates))

    assert title == "Thursday at 5:00 has the highest share of the week: 44 % late; Wednesday at 5:00 has 10 %"


@pytest.mark.parametrize(
    ("cost", "title"),
    [
        ([600.0, 471.0, 500.0], "Alerting from 25 % is cheapest and costs 471; never alerting costs 775"),
        ([600.0, 471.0, 470.0], "Alerting from 25 % costs 471, within 1 % of the cheapest threshold; "
         "never alerting costs 775"),
        ([300.0, 471.0, 500.0], "Alerting from 10 % would cost 300; from 25 % it costs 471"),
        ([900.0, 800.0, 790.0], "Alerting from 25 % costs 800, more than never alerting (775)"),
    ],
)  # fmt: skip
def test_the_threshold_is_called_cheapest_only_where_it_is(cost: list[float], title: str) -> None:
    assert plain(findings.threshold(THRESHOLDS, np.array(cost), 0.25, 775)) == title


def test_probabilities_are_called_right_only_where_they_are() -> None:
    predicted, flights = np.array([0.1, 0.5]), np.array([300, 100])

    right = findings.reliability(predicted, predicted + np.array([0.01, -0.01]), flights, "lightgbm")
    wrong = findings.reliability(predicted, predicted + 0.05, flights, "lightgbm")

    assert right == "The probabilities of lightgbm are right: off by 1.0 points on average"
    assert wrong == "The probabilities of lightgbm are off by 5.0 points on average, and 5.0 points too low overall"


@pytest.mark.parametrize(
    ("scores", "title"),
    [
        ({"a": 0.76, "b": 0.73}, "a has the highest AUC, 0.760; b follows with 0.730"),
        ({"a": 0.73, "b": 0.76}, "b has the highest AUC, 0.760; a, the best on validation, has 0.730"),
        ({"a": 0.7612, "b": 0.7609}, "a and b have the highest AUC, 0.761"),
        ({"a": 0.76}, "a has AUC 0.760"),
    ],
)
def test_the_best_on_validation_is_called_best_only_where_it_is(scores: dict[str, float], title: str) -> None:
    assert findings.best_of(scores, "a", "AUC") == title


def slice_of(name: str, auc: float, interval: tuple[float, float] | None) -> Any:
    return ("hour", name, auc, interval, 1000)


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ([slice_of("a", 0.6, (0.5, 0.7)), slice_of("b", 0.8, (0.75, 0.85))],
         "Weakest for hour a (AUC 0.600), strongest for hour b (0.800); "
         "1 interval lies entirely below the overall AUC"),
        ([slice_of("a", 0.6, (0.5, 0.9)), slice_of("b", 0.8, (0.75, 0.85)), slice_of("c", 0.1, None)],
         "Weakest for hour a (AUC 0.600), strongest for hour b (0.800); "
         "no interval lies entirely below the overall AUC"),
        ([slice_of("c", 0.1, None)], "AUC 0.760 over all; no slice has enough days for an interval"),
    ],
)  # fmt: skip
def test_a_slice_without_interval_is_never_called_the_weakest(rows: list[Any], title: str) -> None:
    assert findings.slices(rows, 0.76) == title


def month(retrained: float, never_retrained: float) -> dict[str, Any]:
    return {"month": "2013-04", "retrained": {"auc": retrained}, "never_retrained": {"auc": never_retrained}}


@pytest.mark.parametrize(
    ("months", "title"),
    [
        ([month(0.76, 0.74), month(0.78, 0.74)], "Retraining raises the mean monthly AUC from 0.740 to 0.770"),
        ([month(0.70, 0.74)], "Retraining lowers the AUC from 0.740 to 0.700"),
        ([month(0.7402, 0.7401)], "Retraining leaves the AUC at 0.740"),
    ],
)
def test_retraining_gains_loses_or_changes_nothing(months: list[dict[str, Any]], title: str) -> None:
    assert findings.retraining(months, "auc", 3) == title


def event(day: str, kind: str, verdict: str) -> dict[str, str]:
    return {"day": day, "kind": kind, "verdict": verdict}


@pytest.mark.parametrize(
    ("events", "title"),
    [
        ([event("2013-03-31", "gate", "promote"), event("2013-05-01", "gate", "reject")],
         "The gate promoted 0 of 1 retrained models; none was rolled back"),
        ([event("2013-05-01", "gate", "promote"), event("2013-05-09", "rollback", "done")],
         "The gate promoted 1 of 1 retrained models; 1 was rolled back"),
        ([], "No retraining in 30 days"),
    ],
)  # fmt: skip
def test_the_gates_verdicts_are_counted_without_the_first_models(events: list[Any], title: str) -> None:
    assert findings.timeline(events, "2013-04-01", 30) == title


@pytest.mark.parametrize(
    ("june", "title"),
    [
        (8.48, "temp_f drifts most, to 8.48 in June; 1 of 2 columns exceed 0.25 in some month"),
        (0.2, "No column drifts: the highest index is 0.20, of temp_f"),
    ],
)
def test_a_shift_is_named_with_its_month(june: float, title: str) -> None:
    indices = pd.DataFrame({"2013-01": {"temp_f": 0.1, "carrier": 0.0}, "2013-06": {"temp_f": june, "carrier": 0.01}})

    assert findings.drift(indices) == title


def test_what_is_missing_most_is_named() -> None:
    shares = pd.Series({"a.b": 0.104, "a.c": 0.796})

    assert (
        plain(findings.missing(shares)) == "a.c is missing most often, in 79.6 % of its rows; the next, a.b, in 10.4 %"
    )


def test_servers_are_ranked_over_the_most_connections_that_all_have() -> None:
    servers = {"ontime": {1: (600.0, 9.0), 64: (4509.0, 20.6)}, "bare": {1: (4000.0, 1.0), 64: (5695.0, 105.0)}}

    title = findings.serving(servers, {"ontime": "this service", "bare": "bare"}, "ontime")

    assert title == (
        "With 64 connections, this service is number 2 of 2 with 4,509 requests/s, and first by p99, 20.6 ms"
    )


@pytest.mark.parametrize(
    ("measured", "title"),
    [
        (0.50, "Log-loss 0.500: 0.040 above the expectation of exactly right probabilities"),
        (0.45, "Log-loss 0.450: 0.010 below the expectation of exactly right probabilities"),
        (0.46, "Log-loss 0.460, equal to the expectation of exactly right probabilities"),
    ],
)
def test_the_loss_is_held_against_what_the_probabilities_expect(measured: float, title: str) -> None:
    assert findings.loss(measured, 0.46) == title


def test_too_many_and_too_few_predicted_late_are_told_apart() -> None:
    assert plain(findings.predicted(0.258, 0.241)) == "24.1 % predicted late, 25.8 % were: 1.7 points too few"
    assert plain(findings.predicted(0.2, 0.25)) == "25.0 % predicted late, 20.0 % were: 5.0 points too many"


def test_the_best_candidate_is_named_with_its_time() -> None:
    rows = [("constant", 0.01, 0.57, 1), ("lightgbm", 6.8, 0.473, 900)]

    title = findings.quality_against_latency(rows)

    assert title == (
        "lightgbm predicts best, with log-loss 0.473 at 6.8 µs per row; the fastest, constant, has 0.570 at 0.01 µs"
    )
    assert findings.quality_against_latency(rows[:1]) == "constant has log-loss 0.570 at 0.01 µs per row"


def test_the_column_that_matters_most_is_named() -> None:
    assert findings.importance(["dest", "carrier"], [0.02, 0.01]) == (
        "Shuffling dest increases the log-loss most, by 0.0200; carrier follows with 0.0100"
    )


def test_precision_is_that_of_alerting_half_of_the_late_flights() -> None:
    recall, precision = np.array([1.0, 0.5, 0.1]), np.array([0.26, 0.55, 0.9])

    assert plain(findings.precision_at_half(recall, precision, 0.26, "lightgbm")) == (
        "At a recall of 50 %, 55 % of the alerts of lightgbm are right; of random alerts, 26 %"
    )
