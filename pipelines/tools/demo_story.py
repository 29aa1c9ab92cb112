"""What the steps of `ontime demo` share: a production, the days that were played in it, and how they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from monitoring.policy import Action
from ontime import database, release_pointer
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.progress import progress_bar
from ontime.release_pointer import Pointer
from ontime.schema import WORDS
from ontime.settings import Settings
from pipelines.operations import promotion_checks
from pipelines.tools import demo_charts
from pipelines.tools.demo_console import Console
from pipelines.tools.demo_days import DayResult, play
from pipelines.tools.demo_fault import Fault
from pipelines.tools.simulated_production import SimulatedProduction


class StepFailed(RuntimeError):
    """A step of the demo did not happen; the message says what happened instead."""


@dataclass
class Story:
    settings: Settings
    params: Params
    tables: Tables  # the feed without a fault
    start: date
    fault: Fault
    console: Console
    days: list[DayResult] = field(default_factory=list)
    trained_on: date = date.min  # the day of the last retraining
    missing: str | None = None  # the step that did not happen, if the others could go on without it

    @property
    def engine(self) -> sa.Engine:
        return database.engine_of_process(self.settings.database_url)

    @property
    def today(self) -> date:
        """The last day that was played."""
        return self.days[-1].day

    @property
    def now(self) -> datetime:
        """The end of that day."""
        return midnight(self.today + timedelta(days=1))

    @property
    def pointer(self) -> Pointer:
        return release_pointer.require_pointer(self.settings.releases)

    def play_until(self, production: SimulatedProduction, action: Action, most: int) -> DayResult:
        """Play days until the policy decides so. Raises StepFailed if it has not after `most` days."""
        result = self.play_days(production, most, action)
        if result.decision.action is not action:
            raise StepFailed(
                f"the policy did not decide '{action}' within {most} days; the last line is {monitor_line(result)}"
            )
        return result

    def play_days(self, production: SimulatedProduction, most: int, last: Action | None = None) -> DayResult:
        """Play so many days, fewer if the policy decides `last`. Returns the last of them."""
        first = self.today + timedelta(days=1) if self.days else self.start
        days = [first + timedelta(days=count) for count in range(most)]
        with progress_bar(days, desc="demo", unit="days") as progress:
            progress.leave = False
            for day in progress:
                self.days.append(play(production, day))
                if self.days[-1].decision.action is last:
                    break
        return self.days[-1]

    def show_verdict(self) -> Any:
        """Show the gate's last verdict with its interval; returns the row of `decisions`. Raises StepFailed."""
        row = database.last_decision(self.engine, "gate")
        if row is None:
            raise StepFailed("the gate has no verdict, because a stage refused to go on")
        low, value, high, entities, against = (
            row.evidence[name] for name in ("low", "difference", "high", "entities", "against")
        )
        self.console.figure(
            f"Log-loss minus that of {against}, on {entities:,} {WORDS.entities} new to both",
            demo_charts.interval(low, value, high),
        )
        return row

    def show_comparison(self, champion: str, version: str) -> None:
        """Show the difference of two releases on the entities that both have scored in production."""
        comparison = promotion_checks.compare_on_outcomes(self.engine, self.settings.releases, champion, version)
        if comparison is not None:
            self.console.figure(
                f"Log-loss of release {version} minus that of release {champion}, on the same "
                f"{comparison.entities:,} {WORDS.entities}",
                demo_charts.interval(comparison.low, comparison.mean, comparison.high),
            )

    def values_by_day(self, metric: str) -> Sequence[float | None]:
        return [day.figures.get(metric) for day in self.days]


def monitor_line(result: DayResult) -> str:
    """As `ontime monitor` prints it."""
    return f"monitor: {result.day}: {result.decision.action}: {result.decision.reason}"
