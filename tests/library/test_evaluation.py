"""The figures against their definitions, and intervals that know that the flights of a day belong together."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from ontime import evaluation
from ontime.params import Params


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 days of 100 flights; a bad day is bad for all of them, and the forecast knows half of it."""
    rng = np.random.default_rng(7)
    day = np.repeat(np.arange(40), 100)
    badness = rng.normal(0, 1.5, 40)[day]
    late = rng.random(4000) < 1 / (1 + np.exp(-(badness - 1)))
    probabilities = 1 / (1 + np.exp(-(badness / 2 - 1 + rng.normal(0, 0.5, 4000))))
    return late, probabilities, day.astype("datetime64[D]")


def test_the_log_loss_is_the_textbooks(world) -> None:  # type: ignore[no-untyped-def]
    late, probabilities, _ = world

    assert evaluation.losses(late, probabilities).mean() == pytest.approx(log_loss(late, probabilities))


def test_a_certain_error_costs_much_but_not_infinity() -> None:
    assert np.isfinite(evaluation.losses(np.array([True]), np.array([0.0]))).all()


def test_without_alerts_each_late_flight_costs_a_miss(params: Params) -> None:
    late = np.arange(1000) < 250

    assert evaluation.cost_per_1000(late, np.zeros(1000), params.cost) == 250 * params.cost.missed


def test_alerting_on_all_costs_every_flight_that_was_on_time(params: Params) -> None:
    late = np.arange(1000) < 250

    assert evaluation.cost_per_1000(late, np.ones(1000), params.cost) == 750 * params.cost.false_alarm


def test_what_is_said_and_happens_has_no_calibration_error() -> None:
    late = np.tile([True, False, False, False], 100)

    assert evaluation.expected_calibration_error(late, np.full(400, 0.25)) == pytest.approx(0)


def test_saying_a_tenth_too_much_is_a_calibration_error_of_a_tenth() -> None:
    late = np.tile([True, False, False, False], 100)

    assert evaluation.expected_calibration_error(late, np.full(400, 0.35)) == pytest.approx(0.1)


def test_certainty_falls_into_the_last_bin() -> None:
    predicted, observed, counts = evaluation.calibration(np.array([True, True]), np.array([1.0, 0.99]))

    assert (observed.tolist(), counts.tolist()) == ([1.0], [2])
    assert predicted[0] == pytest.approx(0.995)


def test_the_interval_of_a_mean_is_students_where_every_day_has_the_same_flights() -> None:
    values = np.random.default_rng(1).normal(3, 1, (10, 7))

    estimate = evaluation.mean_interval(values.ravel(), np.repeat(np.arange(10), 7).astype("datetime64[D]"))

    assert estimate is not None
    by_the_book = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(by_the_book))


def test_the_error_of_an_auc_is_that_of_leaving_out_one_day_after_the_other(world) -> None:  # type: ignore[no-untyped-def]
    late, probabilities, days = world
    probabilities = probabilities.round(2)  # ties
    left_out = np.array([roc_auc_score(late[days != day], probabilities[days != day]) for day in np.unique(days)])
    jackknife = np.sqrt(39 / 40 * np.sum((left_out - left_out.mean()) ** 2))

    interval = evaluation.auc_interval(late, probabilities, days)

    assert interval is not None
    low, high = interval
    assert (low + high) / 2 == pytest.approx(roc_auc_score(late, probabilities), abs=1e-4)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 39) * jackknife, rel=0.05)


@pytest.mark.parametrize("count", [14, 61])
def test_the_interval_holds_as_often_as_it_says_also_for_few_days(count: int) -> None:
    """2,000 times: days of unequal size, with random effects. The standard error of the share is half a percent."""
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(2000):
        flights = rng.integers(5, 60, count)
        days = np.repeat(np.arange(count), flights).astype("datetime64[D]")
        values = np.repeat(rng.normal(0, 1, count), flights) + rng.normal(0, 2, len(days))
        estimate = evaluation.mean_interval(values, days)
        held += estimate is not None and estimate.low <= 0 <= estimate.high

    assert 0.935 <= held / 2000 <= 0.965


def test_an_interval_by_days_is_wider_than_one_by_flights(world) -> None:  # type: ignore[no-untyped-def]
    late, _, days = world
    flights = np.arange(len(late)).astype("datetime64[D]")  # as if each flew on a day of its own
    widths = {}
    for unit, blocks in (("days", days), ("flights", flights)):
        estimate = evaluation.mean_interval(late.astype(float), blocks)
        assert estimate is not None
        widths[unit] = estimate.high - estimate.low

    assert widths["days"] > 2 * widths["flights"]


def test_an_auc_that_no_honest_model_reaches_stops_the_evaluation() -> None:
    with pytest.raises(evaluation.LeakSuspected, match=r"lightgbm: test AUC 0.920 is above evaluate.leak_auc 0.85"):
        evaluation.refuse_leak("lightgbm", 0.92, 0.85)


def test_an_honest_auc_goes_on() -> None:
    evaluation.refuse_leak("lightgbm", 0.77, 0.85)


def test_a_slices_auc_has_the_interval_that_the_whole_has(world, params: Params) -> None:  # type: ignore[no-untyped-def]
    late, probabilities, days = world

    interval = evaluation.auc_interval(late, probabilities, days)

    assert interval == evaluation.intervals(late, probabilities, days, params.cost)["auc"]


@pytest.mark.parametrize(
    ("late", "days"),
    [([True, False, True, False], [1, 1, 1, 1]), ([True, True, True, True], [1, 1, 2, 2])],
    ids=["one day", "only late flights"],
)
def test_an_auc_of_too_little_has_no_interval(late: list[bool], days: list[int]) -> None:
    probabilities, when = np.array([0.4, 0.3, 0.2, 0.1]), np.array(days).astype("datetime64[D]")

    assert evaluation.auc_interval(np.array(late), probabilities, when) is None


def test_the_expected_auc_is_that_of_outcomes_drawn_from_the_probabilities() -> None:
    rng = np.random.default_rng(3)
    probabilities = np.round(rng.beta(1, 3, 200_000), 2)  # with ties

    drawn = evaluation.auc(rng.random(200_000) < probabilities, probabilities)

    assert evaluation.expected_auc(probabilities) == pytest.approx(drawn, abs=0.004)
    assert evaluation.expected_auc(np.full(10, 0.3)) == 0.5


@pytest.mark.parametrize("bins", [1, evaluation.CALIBRATION_BINS])
def test_the_parts_of_the_calibration_error_add_up(world, bins: int) -> None:  # type: ignore[no-untyped-def]
    late, probabilities, _ = world
    error = (
        abs(probabilities.mean() - late.mean())
        if bins == 1
        else evaluation.expected_calibration_error(late, probabilities)
    )

    assert evaluation.calibration_parts(late, probabilities, bins).mean() == pytest.approx(error)
