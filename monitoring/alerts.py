"""Alert rules: an alert fires when a metric exceeds its limit on n of the last m days that have a value.

Tier 1 blocks all release changes and pages the operator (NOT_URGENT: opens a ticket), tier 2 requests a retraining,
tier 3 is only reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ontime.params import AlertRule

PERFORMANCE_ALERTS = ("loss_excess", "auc_shortfall", "rate_gap")  # a diagnosis explains these
# A day without callers may be a holiday, and it is over when the monitor sees it. A service that was down has paged.
NOT_URGENT = ("silent",)
Metrics = Mapping[str, float | None]


class Tier(IntEnum):
    STOP = 1
    RETRAIN = 2
    REPORT = 3


@dataclass(frozen=True)
class Alert:
    name: str
    tier: Tier
    value: float
    above: float
    reason: str

    @property
    def pages(self) -> bool:
        return self.tier is Tier.STOP and self.name not in NOT_URGENT

    @property
    def summary(self) -> str:
        return f"{self.name} {self.value:.4g} (limit {self.above:g})"


def firing(days: Sequence[Metrics], rules: Mapping[str, AlertRule]) -> tuple[Alert, ...]:
    """The alerts that fire on the last of `days`, most serious first. A metric without a value (None) is skipped.

    >>> rule = AlertRule(tier=2, above=0.25, days=2, of=3, reason="the inputs have changed")
    >>> days = [{"psi": 0.31}, {"psi": 0.12}, {"psi": None}, {"psi": 0.42}]
    >>> [alert.summary for alert in firing(days, {"psi": rule})]
    ['psi 0.42 (limit 0.25)']
    """
    alerts = [alert for name, rule in rules.items() if (alert := _evaluate(name, rule, days)) is not None]
    return tuple(sorted(alerts, key=lambda alert: alert.tier))


def from_json(stored: Sequence[Mapping[str, Any]]) -> tuple[Alert, ...]:
    """Alerts from their JSON in `decisions`, where a tier is a number."""
    return tuple(Alert(**{**each, "tier": Tier(each["tier"])}) for each in stored)


def _evaluate(name: str, rule: AlertRule, days: Sequence[Metrics]) -> Alert | None:
    values = [value for metrics in days if (value := metrics.get(name)) is not None][-rule.of :]
    if not days or days[-1].get(name) is None or sum(value > rule.above for value in values) < rule.days:
        return None
    return Alert(name, Tier(rule.tier), values[-1], rule.above, rule.reason)
