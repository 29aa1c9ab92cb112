"""`make compare`: champion and challenger on the entities that both scored and whose outcome is known.

Both models scored the same requests, one for the response and one in the shadow. The difference is therefore paired,
with an interval clustered by day as in the gate. Outcomes count as in `make performance` and on the page /ops.
"""

import json
import sys
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from monitoring import performance
from ontime import database, evaluation, locks, release, release_pointer
from ontime.progress import steps
from ontime.release_pointer import NoRelease, Pointer
from ontime.schema import WORDS
from ontime.settings import load_settings
from pipelines.operations.promotion_checks import Comparison


class ReleaseComparison(NamedTuple):
    """The log-loss of two releases on the same entities."""

    champion: str
    challenger: str
    entities: int
    days: int
    positive_share: float
    challenger_share: float  # of the entities that the challenger answered, as a canary
    champion_log_loss: float
    challenger_log_loss: float
    difference: Comparison  # challenger minus champion

    def as_json(self) -> dict[str, Any]:
        mean, low, high, _ = self.difference
        return {**self._asdict(), "difference": {"mean": mean, "low": low, "high": high},
                "verdict": self.difference.verdict}  # fmt: skip

    def lines(self) -> list[str]:
        mean, low, high, _ = self.difference
        return [
            f"{self.entities:,} {WORDS.entities} of {self.days} days, {self.positive_share:.1%} {WORDS.positive}, "
            f"{self.challenger_share:.1%} answered by the challenger",
            f"log-loss: champion {self.champion} {self.champion_log_loss:.4f}, "
            f"challenger {self.challenger} {self.challenger_log_loss:.4f}",
            f"challenger minus champion {mean:+.4f}, 95 % interval by days {low:+.4f} to {high:+.4f}: "
            f"{self.difference.verdict}",
        ]


def compare_pairs(entities: pd.DataFrame, pointer: Pointer) -> ReleaseComparison:
    """Raises ValueError if there is too little to compare; the message says what is missing."""
    assert pointer.challenger is not None  # noqa: S101  main has checked it
    difference, days = performance.loss_difference(entities), entities["day"].nunique()
    if difference is None:
        raise ValueError(
            f"{len(entities)} {WORDS.entities} of {days} days were scored by both and have an outcome; an interval by "
            f"days needs at least {performance.FEWEST_DAYS} days"
        )
    label = entities["label"].to_numpy()
    losses = {
        name: float(evaluation.losses(label, entities[name].to_numpy(np.float64)).mean())
        for name in ("champion", "challenger")
    }
    return ReleaseComparison(
        champion=pointer.version,
        challenger=pointer.challenger.version,
        entities=len(entities),
        days=days,
        positive_share=float(label.mean()),
        challenger_share=float(entities["canary"].mean()),
        champion_log_loss=losses["champion"],
        challenger_log_loss=losses["challenger"],
        difference=Comparison.of(difference, len(entities)),
    )


def main(*, as_json: bool = False) -> None:
    try:
        settings = load_settings()
        pointer = release_pointer.read_pointer(settings.releases)
        if pointer is None or pointer.challenger is None:
            raise NoRelease("there is no challenger; for example: make shadow VERSION=2")
        engine = database.connect(settings.database_url)
        champion, challenger = (
            release.verify(settings.releases / each.version, each.manifest_sha256)
            for each in (pointer, pointer.challenger)
        )
        with steps("compare", 2) as begin:
            begin("reads the predictions of both")
            entities = performance.paired_predictions(engine, champion, challenger)
            begin("compares them")
            result = compare_pairs(entities, pointer)
    except (ValueError, locks.Busy) as error:
        sys.exit(f"compare: {error}")
    if as_json:
        print(json.dumps(result.as_json()))
        return
    for line in result.lines():
        print(f"compare: {line}")
