"""From the figures of the last days to alerts: a figure over its limit on n of the last m days it was told.

Tiers say who is bothered: 1 stops everything and pages, 2 asks for a retraining, 3 is only reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ontime.params import AlertRule

OF_PERFORMANCE = ("loss_excess", "auc_shortfall", "rate_gap")  # `make diagnose` says why
Figures = Mapping[str, float | None]


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
    def told(self) -> str:
        return f"{self.name} {self.value:.4g} (limit {self.above:g})"


def raised(days: Sequence[Figures], rules: Mapping[str, AlertRule]) -> tuple[Alert, ...]:
    """The alerts of the last of `days`, the most serious first. A figure that is None or absent was not told then."""
    found = [alert for name, rule in rules.items() if (alert := _judge(name, rule, days)) is not None]
    return tuple(sorted(found, key=lambda alert: alert.tier))


def restored(stored: Sequence[Mapping[str, Any]]) -> tuple[Alert, ...]:
    """Alerts as `decisions` keeps them: JSON knows numbers, but no tiers."""
    return tuple(Alert(**{**each, "tier": Tier(each["tier"])}) for each in stored)


def _judge(name: str, rule: AlertRule, days: Sequence[Figures]) -> Alert | None:
    told = [value for figures in days if (value := figures.get(name)) is not None][-rule.of :]
    if not days or days[-1].get(name) is None or sum(value > rule.above for value in told) < rule.days:
        return None
    return Alert(name, Tier(rule.tier), told[-1], rule.above, rule.reason)
