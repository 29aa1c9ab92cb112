"""The report for a reviewer: what got better or worse, and what got worse by more than the gate allows."""

import copy
import json
from typing import Any

import pytest

from infra import metrics_report
from ontime.params import load_params
from tests import PARAMS_YAML

GATE = load_params(PARAMS_YAML).gate  # margins: 0.002, slices 0.01


Report = dict[str, Any]


@pytest.fixture
def base() -> Report:
    test = {"auc": 0.76, "log_loss": 0.4735, "cost_per_1000": 470.7}
    return {
        "best": "lightgbm",
        "candidates": {"lightgbm": {"test": test}, "logistic": {"test": {**test, "log_loss": 0.5}}},
        "entities": {"test": 53991},
        "slices": [
            {"dimension": "origin", "slice": "EWR", "log_loss": 0.49, "gated": True},
            {"dimension": "carrier", "slice": "OO", "log_loss": 0.6, "gated": False},
        ],
    }


@pytest.fixture
def head(base: Report) -> Report:
    return copy.deepcopy(base)


def page(base: Report, head: Report) -> str:
    return metrics_report.render_report(base, head, GATE, "main")


def test_without_a_change_none_is_reported(base: Report, head: Report) -> None:
    report = page(base, head)

    assert "Nothing is worse by more than the gate's margins (log-loss 0.002, slices 0.01)." in report
    assert "| log_loss | 0.4735 | 0.4735 | +0 |  |" in report


@pytest.mark.parametrize(("log_loss", "named"), [(0.4755, False), (0.4756, True), (0.3, False)])
def test_a_log_loss_that_grew_by_more_than_the_margin_is_reported(
    base: Report, head: Report, log_loss: float, named: bool
) -> None:
    head["candidates"]["lightgbm"]["test"]["log_loss"] = log_loss

    assert (f"- lightgbm: log-loss 0.4735 → {log_loss}" in page(base, head)) is named


def test_a_candidate_that_is_not_the_best_is_reported_too(base: Report, head: Report) -> None:
    head["candidates"]["logistic"]["test"]["log_loss"] = 0.51

    assert "- logistic: log-loss 0.5 → 0.51 (+0.0100, margin 0.002)" in page(base, head)


@pytest.mark.parametrize(("log_loss", "named"), [(0.5, False), (0.5001, True)])
def test_a_slice_has_a_margin_of_its_own(base: Report, head: Report, log_loss: float, named: bool) -> None:
    head["slices"][0]["log_loss"] = log_loss

    assert ("- origin EWR: log-loss 0.49" in page(base, head)) is named


def test_a_slice_too_small_for_the_gate_is_not_reported(base: Report, head: Report) -> None:
    head["slices"][1]["log_loss"] = 0.9

    assert "carrier OO" not in page(base, head)


@pytest.mark.parametrize(
    ("metric", "value", "word"),
    [("auc", 0.8, "better"), ("auc", 0.7, "worse"), ("cost_per_1000", 400, "better"), ("cost_per_1000", 500, "worse")],
)
def test_better_is_higher_or_lower_depending_on_the_metric(
    base: Report, head: Report, metric: str, value: float, word: str
) -> None:
    head["candidates"]["lightgbm"]["test"][metric] = value

    (line,) = (each for each in page(base, head).splitlines() if f"| {metric} " in each)
    assert line.endswith(f"| {word} |")


def test_a_comparison_of_different_entities_has_a_warning(base: Report, head: Report) -> None:
    head["entities"]["test"] = 20000

    assert "**Not the same entities** (53,991 before, 20,000 here)" in page(base, head)


def test_a_metric_that_is_no_longer_measured_is_reported(base: Report, head: Report) -> None:
    del head["candidates"]["logistic"], head["slices"][0]

    assert "Measured at main, and not here: logistic, origin EWR." in page(base, head)


def test_a_worse_best_model_is_reported_though_each_candidate_is_unchanged(base: Report, head: Report) -> None:
    head["best"] = "logistic"

    report = page(base, head)

    assert report.startswith("### Metrics: logistic here, lightgbm at main")
    assert "- the best model: log-loss 0.4735 → 0.5 (+0.0265, margin 0.002)" in report


def test_the_committed_reports_can_be_compared_with_themselves() -> None:
    committed = dict(metrics_report.of_revision("HEAD"))

    assert "Nothing is worse" in page(committed, committed)


def test_the_names_of_earlier_reports_are_read(head: Report) -> None:
    slices = [{"cut": each["dimension"], **each} for each in head["slices"]]
    for each in slices:
        del each["dimension"]
    earlier = metrics_report._merged([json.dumps({"champion": head["best"], "slices": slices})])

    assert earlier["best"] == head["best"]
    assert metrics_report.gated_slices(earlier) == metrics_report.gated_slices(head)


def test_a_revision_without_reports_is_refused_by_name() -> None:
    with pytest.raises(metrics_report.NothingToCompare, match=r"no-such-revision has no reports/metrics\.json"):
        metrics_report.of_revision("no-such-revision")
