"""The study of value: one family more at each step, a baseline to compare with, and a page that keeps its text."""

from typing import Any

import pytest

from ontime import schema
from ontime.params import Params
from ontime.refusal import Refusal
from pipelines.tools import marked_pages, study_pages, study_value
from pipelines.tools.study_features import ALL, REQUEST


def test_each_set_has_the_features_of_one_family_more() -> None:
    sets = study_value.growing_sets()

    before = REQUEST
    for family, columns in sets.items():
        assert columns - before == set(schema.FAMILIES[family]) - REQUEST != set()
        assert columns > before
        before = columns
    assert before == ALL
    assert list(sets) == [family for family in schema.FAMILIES if family in sets]


def test_without_a_baseline_there_is_nothing_to_compare_with(params: Params) -> None:
    others = {name: each for name, each in params.train.parameters.items() if name != "rate_table"}
    changed = params.model_copy(update={"train": params.train.model_copy(update={"parameters": others})})

    with pytest.raises(Refusal, match=r"params.yaml has no train.rate_table"):
        study_value.measure_value(changed)


def step(name: str, cost: float, saved: dict[str, Any] | None) -> dict[str, Any]:
    errors = {"false_alarms_per_1000": 20.0, "missed_per_1000": cost / 3, "cost_per_1000": cost}
    return {"name": name, "words": f"what {name} is", **errors, "saved": saved}


SAVED = {"value": 150.0, "low": 140.0, "high": 160.0, "seed_deviation": 1.5, "verdict": "worth it"}
REPORT: dict[str, Any] = {
    "dataset": "some", "algorithm": "lightgbm", "steps_of_features": 4, "baseline": "rate_table", "seeds": 3,
    "trained_on": 2000,
    "refitted_on": 2500, "period": ["2013-11-01", "2014-01-01"], "judged_on": 1200, "positives_per_1000": 250.0,
    "cost": {"missed": 3, "false_alarm": 1, "alert_threshold": 0.25}, "break_even": 0.25, "declared_cost": 301.0,
    "cheapest": {"threshold": 0.27, "cost_per_1000": 299.5},
    "steps": [
        step("no alerts", 750.0, None), step("rate_table", 600.0, SAVED), step("lightgbm", 450.0, SAVED),
        step("weather", 300.0, SAVED), step("newest months", 301.0, SAVED | {"value": -1.0, "low": -3.0, "high": 1.0}),
    ],
    "model_saves": {"no alerts": SAVED | {"value": 450.0}, "rate_table": SAVED | {"value": 300.0}},
    "ratios": [
        {"ratio": 3, "threshold": 0.25, "cheapest_other": "rate_table", "best_threshold": 0.27,
         "costs": {"no alerts": 750.0, "alert always": 750.0, "rate_table": 600.0, "lightgbm": 301.0},
         "saved": {"value": 299.0, "low": 280.0, "high": 310.0}, "best_threshold_cost": 299.5}
    ],
}  # fmt: skip


def test_the_page_has_the_numbers_of_the_report_and_keeps_the_text_around_them() -> None:
    text = f"# Mine\n\n{study_pages.VALUE.begin}previous tables\n{marked_pages.END}\nThe story.\n"

    page = study_pages.VALUE.with_results(text, REPORT)

    assert page.startswith("# Mine\n")
    assert page.endswith("\nThe story.\n")
    assert "previous tables" not in page
    assert "there are 170 alerts, of which 150 are right and 20 false alarms; 100 are missed" in page
    assert "- **Against rate table**, the model saves 300 (140 to 160)." in page
    assert (
        "| **weather**: what weather is | 20.0 | 100.0 | 300.0 | +150.0 (+140.0 to +160.0) | 1.5 | worth it |" in page
    )
    assert "| 3 : 1 | 0.250 | 750 | 750 | 600 | 301 | +299.0 (+280.0 to +310.0) | 0.27 | 300 |" in page
    assert "which is `cost.alert_threshold`" in page
    assert study_pages.VALUE.with_results(page, REPORT) == page


def test_a_threshold_beside_the_break_even_point_is_pointed_out() -> None:
    cost = REPORT["cost"] | {"alert_threshold": 0.4}

    page = study_pages.VALUE.with_results("", REPORT | {"cost": cost})

    assert "= 0.25, but `cost.alert_threshold` is 0.4" in page
