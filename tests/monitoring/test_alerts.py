"""A metric over its limit on n of the last m days with a value fires an alert; a missing value fires none."""

import json

import pytest

from monitoring import alerts
from monitoring.alerts import Alert, Metrics, Tier
from ontime.params import AlertRule

LIMIT = 0.25


def rule(days: int, of: int, tier: int = 2) -> AlertRule:
    return AlertRule.model_validate({"tier": tier, "above": LIMIT, "days": days, "of": of, "reason": "for a test"})


def days(*values: float | None) -> list[Metrics]:
    return [{"metric": value} for value in values]


HIGH, LOW = 0.3, 0.2
CASES = [
    # days, of, values from the first day to the last -> does it fire?
    (1, 1, (HIGH,), True),
    (1, 1, (LOW,), False),
    (1, 1, (LIMIT,), False),
    (1, 1, (HIGH, LOW), False),
    (1, 1, (), False),
    (2, 3, (HIGH,), False),
    (2, 3, (HIGH, HIGH), True),
    (2, 3, (HIGH, LOW, HIGH), True),
    (2, 3, (HIGH, HIGH, LOW), True),
    (2, 3, (HIGH, LOW, LOW, HIGH), False),
    (3, 3, (HIGH, HIGH, LOW, HIGH, HIGH), False),
    (3, 5, (HIGH, HIGH, HIGH, LOW, LOW), True),
    (3, 5, (HIGH, HIGH, HIGH, LOW, LOW, LOW), False),
    # A metric with one value a week is checked on its weeks.
    (2, 2, (HIGH, None, None, None, None, None, None, HIGH), True),
    (2, 2, (HIGH, None, LOW, None, HIGH), False),
    (2, 2, (None, None, None, HIGH), False),
    # No value today.
    (1, 1, (HIGH, None), False),
    (2, 2, (HIGH, HIGH, None), False),
]


@pytest.mark.parametrize(("needed", "of", "values", "expected"), CASES)
def test_a_metric_over_its_limit_on_n_of_the_last_m_values_fires(
    needed: int, of: int, values: tuple[float | None, ...], expected: bool
) -> None:
    fired = alerts.firing(days(*values), {"metric": rule(needed, of)})

    assert bool(fired) is expected


def test_a_metric_without_a_value_fires_no_alert() -> None:
    assert alerts.firing([{"other": HIGH}], {"metric": rule(1, 1)}) == ()


def test_a_metric_without_a_rule_fires_no_alert() -> None:
    assert alerts.firing([{"other": HIGH, "metric": LOW}], {"metric": rule(1, 1)}) == ()


def test_an_alert_has_todays_value_and_its_limit() -> None:
    (fired,) = alerts.firing(days(0.9, 0.31416), {"metric": rule(2, 2)})

    assert fired == Alert("metric", Tier.RETRAIN, 0.31416, LIMIT, "for a test")
    assert fired.summary == "metric 0.3142 (limit 0.25)"


def test_the_most_serious_alert_comes_first() -> None:
    rules = {"drift": rule(1, 1, tier=3), "score": rule(1, 1, tier=2), "contract": rule(1, 1, tier=1)}

    fired = alerts.firing([dict.fromkeys(rules, HIGH)], rules)

    assert [(alert.name, alert.tier) for alert in fired] == [
        ("contract", Tier.STOP),
        ("score", Tier.RETRAIN),
        ("drift", Tier.REPORT),
    ]


@pytest.mark.parametrize("tier", Tier)
def test_an_alert_read_from_json_has_its_tier(tier: Tier) -> None:
    alert = Alert("metric", tier, HIGH, LIMIT, "for a test")

    (fired,) = alerts.from_json(json.loads(json.dumps([vars(alert)])))

    assert fired == alert
    assert fired.tier is tier
