"""A figure over its limit on n of the last m days it was told is an alert; what was not told raises nothing."""

import json

import pytest

from monitoring import alerts
from monitoring.alerts import Alert, Figures, Tier
from ontime.params import AlertRule

LIMIT = 0.25


def rule(days: int, of: int, tier: int = 2) -> AlertRule:
    return AlertRule.model_validate({"tier": tier, "above": LIMIT, "days": days, "of": of, "reason": "for a test"})


def days(*values: float | None) -> list[Figures]:
    return [{"figure": value} for value in values]


HIGH, LOW = 0.3, 0.2
CASES = [
    # days, of, what was told from the first day to the last -> raised
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
    # A figure that is told once a week is judged on its weeks.
    (2, 2, (HIGH, None, None, None, None, None, None, HIGH), True),
    (2, 2, (HIGH, None, LOW, None, HIGH), False),
    (2, 2, (None, None, None, HIGH), False),
    # Not told today: nothing new is known.
    (1, 1, (HIGH, None), False),
    (2, 2, (HIGH, HIGH, None), False),
]


@pytest.mark.parametrize(("needed", "of", "values", "expected"), CASES)
def test_a_figure_over_its_limit_on_n_of_the_last_m_times_is_an_alert(
    needed: int, of: int, values: tuple[float | None, ...], expected: bool
) -> None:
    found = alerts.raised(days(*values), {"figure": rule(needed, of)})

    assert bool(found) is expected


def test_a_figure_that_nobody_tells_raises_nothing() -> None:
    assert alerts.raised([{"other": HIGH}], {"figure": rule(1, 1)}) == ()


def test_a_figure_without_a_rule_raises_nothing() -> None:
    assert alerts.raised([{"other": HIGH, "figure": LOW}], {"figure": rule(1, 1)}) == ()


def test_an_alert_says_todays_value_and_its_limit() -> None:
    (found,) = alerts.raised(days(0.9, 0.31416), {"figure": rule(2, 2)})

    assert found == Alert("figure", Tier.RETRAIN, 0.31416, LIMIT, "for a test")
    assert found.told == "figure 0.3142 (limit 0.25)"


def test_the_most_serious_alert_comes_first() -> None:
    rules = {"drift": rule(1, 1, tier=3), "score": rule(1, 1, tier=2), "contract": rule(1, 1, tier=1)}

    found = alerts.raised([dict.fromkeys(rules, HIGH)], rules)

    assert [(alert.name, alert.tier) for alert in found] == [
        ("contract", Tier.STOP),
        ("score", Tier.RETRAIN),
        ("drift", Tier.REPORT),
    ]


@pytest.mark.parametrize("tier", Tier)
def test_an_alert_that_was_kept_as_json_comes_back_with_its_tier(tier: Tier) -> None:
    alert = Alert("figure", tier, HIGH, LIMIT, "for a test")

    (found,) = alerts.restored(json.loads(json.dumps([vars(alert)])))

    assert found == alert
    assert found.tier is tier
