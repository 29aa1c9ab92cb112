"""Challengers that look better than they are, and champions that were trained on test rows."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontime import database, gate, split
from ontime.gate import GateBroken, Rival, Verdict
from pipelines.operations import promotion_gate
from tests.sabotage.conftest import Reported
from tests.sabotage.matrix import GATE, SEEN, sabotage
from tests.sabotage.world import Model


def moved(probability: np.ndarray, times: float = 1, plus: float | np.ndarray = 0) -> np.ndarray:
    """The probabilities with their log-odds multiplied and moved."""
    probabilities: np.ndarray = 1 / (1 + np.exp(-(times * np.log(probability / (1 - probability)) + plus)))
    return probabilities


@pytest.fixture
def honest(winter: Model) -> np.ndarray:
    """The probabilities of the model of January and February for the flights of March."""
    probabilities: np.ndarray = winter.best.predictions["lightgbm"].to_numpy()
    return probabilities


def decide(winter: Model, challenger: np.ndarray, champion: np.ndarray, **settings: Any) -> Verdict:
    judge = (winter.params.gate, winter.params.evaluate)
    return gate.decide(winter.best.entities, challenger, Rival("release 1", champion), *judge, **settings)


@sabotage("miscalibrated challenger", "a challenger that ranks better, with probabilities 0.05 too high", GATE)
def test_a_challenger_whose_probabilities_are_too_high_is_kept_out(
    winter: Model, honest: np.ndarray, reported: Reported
) -> None:
    rates = winter.best.predictions["rate_table"].to_numpy()
    champion = (honest + 3 * rates) / 4 + 0.01  # ranks worse, and its mean in March is off by 0.009
    assert decide(winter, honest, champion).promote

    verdict = decide(winter, np.clip(honest + 0.05, 0, 1), champion)

    assert verdict.high < 0
    assert not verdict.promote
    reported(verdict.reason.split("; ")[0])


@sabotage("slow decline", "successive retrained models, each slightly worse than the one before it", GATE)
def test_a_chain_of_slightly_worse_refreshes_is_stopped(winter: Model, honest: np.ndarray, reported: Reported) -> None:
    chain = [moved(honest, times) for times in 0.985 ** np.arange(12)]
    best = Rival("release 1", chain[0])
    alone = [decide(winter, after, before, non_inferiority=True) for before, after in pairwise(chain)]
    assert all(verdict.promote for verdict in alone)

    verdicts = [decide(winter, after, before, non_inferiority=True, best=best) for before, after in pairwise(chain)]

    assert verdicts[0].promote
    assert not verdicts[-1].promote
    reported(verdicts[-1].reason)


@sabotage("too good to be true", "a challenger whose score contains a part of each outcome", GATE)
def test_a_jump_that_no_honest_model_makes_is_kept_out(winter: Model, honest: np.ndarray, reported: Reported) -> None:
    late = winter.best.entities["label"].to_numpy(bool)
    assert decide(winter, honest, winter.best.predictions["rate_table"].to_numpy(), base_rate=0.2).promote

    verdict = decide(winter, moved(honest, plus=np.where(late, 0.5, -0.5)), honest)

    assert verdict.high < 0
    assert not verdict.promote
    (why,) = (each for each in verdict.reason.split("; ") if each.startswith("too good"))
    reported(why.split(": AUC")[0])


@sabotage("first model without skill", "a first model that predicts little more than the base rate", GATE)
def test_a_first_model_without_skill_is_kept_out(winter: Model, honest: np.ndarray, reported: Reported) -> None:
    rate = winter.best.training["base_rate"]
    champion = np.full(len(honest), rate)
    assert decide(winter, honest, champion, base_rate=rate).promote

    verdict = decide(winter, moved(honest, 0.1, 0.9 * np.log(rate / (1 - rate))), champion, base_rate=rate)

    assert verdict.high < 0
    assert not verdict.promote
    reported(verdict.reason.split(", which")[0])


@sabotage("falsified dates", "a test period that contains training flights, moved to its days", SEEN)
def test_flights_of_the_training_are_found_by_their_keys(
    winter: Model, releases: Path, tmp_path: Path, reported: Reported
) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/judged.db")
    promotion_gate.run_gate(winter.best, releases, engine, winter.params)
    flights = winter.best.entities
    # As if these days of March had been trained on, which the day column does not show.
    keys = np.sort(split.row_keys(flights["entity_id"].iloc[:100]))

    with pytest.raises(GateBroken) as refused:
        promotion_gate.run_gate(winter.best._replace(trained_on=keys), releases, engine, winter.params)

    reported(str(refused.value).split(", such as")[0])
