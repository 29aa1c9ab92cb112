"""The study of searches: equal budgets, no point fitted twice, and an interruption changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ontime.candidates import LightGBMParams
from ontime.params import Params
from ontime.refusal import Refusal
from pipelines.tools import marked_pages, rolling_folds, search_space, study_pages, study_search, timed_search


def distance(candidate: LightGBMParams) -> float:
    """A log-loss that is lowest in the middle of two ranges."""
    return abs(candidate.learning_rate - 0.06) + abs(candidate.num_leaves - 31) / 1000


def test_the_grid_lies_in_the_ranges_of_the_other_searches_and_ends_with_its_points() -> None:
    trials = search_space.run_search("grid", 1, 1000, distance)

    assert len(trials) == search_space.budget("grid", 1000) == len({trial.candidate for trial in trials})
    for name, (low, high) in search_space.ranges().items():
        assert all(low <= getattr(trial.candidate, name) <= high for trial in trials)
    assert search_space.budget("grid", 7) == len(search_space.run_search("grid", 1, 7, distance)) == 7


def test_a_search_begins_with_the_parameters_that_it_is_given() -> None:
    given = search_space.run_search("random", 1, 1, distance)[0].candidate

    trials = search_space.run_search("bayesian", 2, 3, distance, first=[given])

    assert trials[0].candidate == given
    assert given not in [trial.candidate for trial in trials[1:]]


def test_the_bayesian_search_begins_like_the_random_one_and_comes_closer() -> None:
    drawn, bayesian = (search_space.run_search(name, 3, 40, distance) for name in ("random", "bayesian"))

    assert bayesian[:10] == drawn[:10]
    assert sum(trial.log_loss for trial in bayesian[10:]) < sum(trial.log_loss for trial in drawn[10:])


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[LightGBMParams]:
    """The points that were fitted."""
    points: list[LightGBMParams] = []

    def log_loss(_: Any, candidate: LightGBMParams, __: Any) -> float:
        points.append(candidate)
        return distance(candidate)

    monkeypatch.setattr(rolling_folds, "mean_log_loss", log_loss)
    return points


def test_both_times_add_up_over_the_trials_of_a_search() -> None:
    trials = timed_search.timed_search("random", lambda _: timed_search.Evaluation(0.5, 3.0, 2.0), 1, 3)

    assert [each["cpu_seconds"] for each in trials] == [3, 6, 9]
    assert [each["wall_seconds"] for each in trials] == [2, 4, 6]


def points_of(searches: dict[str, timed_search.Trials]) -> dict[str, list[tuple[LightGBMParams, float]]]:
    return {name: [(each["candidate"], each["log_loss"]) for each in trials] for name, trials in searches.items()}


def test_a_point_of_two_searches_is_fitted_once_and_its_time_counts_in_both(
    fitted: list[LightGBMParams], params: Params, tmp_path: Path
) -> None:
    searches = timed_search.run_searches([], params.train, 12, tmp_path)

    assert [len(trials) for trials in searches.values()] == [12, 12, 12]
    assert len(fitted) == len(set(fitted)) == 12 + 12 + 2
    assert [each["cpu_seconds"] for each in searches["random"][:10]] == [
        each["cpu_seconds"] for each in searches["bayesian"][:10]
    ]


def test_an_interrupted_study_continues_and_finds_the_same(
    fitted: list[LightGBMParams], params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = points_of(timed_search.run_searches([], params.train, 12, tmp_path / "whole"))
    count = len(fitted)
    fitted.clear()
    measured = rolling_folds.mean_log_loss

    def interrupted(*arguments: Any) -> float:
        if len(fitted) == 17:  # within the random search
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(rolling_folds, "mean_log_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        timed_search.run_searches([], params.train, 12, tmp_path / "interrupted")
    monkeypatch.setattr(rolling_folds, "mean_log_loss", measured)
    continued = points_of(timed_search.run_searches([], params.train, 12, tmp_path / "interrupted"))

    assert continued == whole
    assert len(fitted) == count


@pytest.mark.parametrize(
    "changed",
    [
        lambda train: train.model_copy(update={"seed": train.seed + 1}),
        lambda train: train.changed("lightgbm", n_estimators=7),
    ],
    ids=["seed", "parameters"],
)
def test_after_a_change_of_the_parameters_everything_is_fitted_again(
    changed: Callable[..., Any], fitted: list[LightGBMParams], params: Params, tmp_path: Path
) -> None:
    for train in (params.train, changed(params.train)):
        fitted.clear()
        timed_search.run_searches([], train, 2, tmp_path)

        assert len(fitted) == 4  # the two trials of the Bayesian search are those of the random one


TRIALS: timed_search.Trials = [
    {"log_loss": log_loss, "cpu_seconds": 60.0 * minute, "wall_seconds": 45.0 * minute, "candidate": {}}
    for minute, log_loss in enumerate([0.5, 0.47, 0.48, 0.469], 1)
]


def test_the_lowest_log_loss_and_the_first_that_is_near_it_are_read_from_the_trials() -> None:
    assert [timed_search.lowest_within(TRIALS, seconds) for seconds in (59, 60, 200, 999)] == [None, 0.5, 0.47, 0.469]
    assert timed_search.first_reaching(TRIALS, 0.4705) == {"trial": 2, "cpu_seconds": 120.0}
    assert timed_search.first_reaching(TRIALS, 0.4) is None


def test_the_searches_are_compared_after_equal_parts_of_the_shortest_ones_time() -> None:
    assert study_search.checkpoints({"grid": TRIALS, "random": TRIALS[:2]}) == [0.5, 1.0, 1.5, 2.0]


def test_without_parameters_of_lightgbm_there_is_nothing_to_compare_with(params: Params) -> None:
    others = {name: each for name, each in params.train.parameters.items() if name != "lightgbm"}
    changed = params.model_copy(update={"train": params.train.model_copy(update={"parameters": others})})

    with pytest.raises(Refusal, match=r"params.yaml has no train.lightgbm"):
        study_search.measure_search(changed)


def judged(log_loss: float, value: float, verdict: str) -> dict[str, Any]:
    worth = {"value": value, "low": value - 0.0003, "high": value + 0.0003, "seed_deviation": 0.0002}
    return {"log_loss": log_loss, "worth": {**worth, "verdict": verdict}}


CURRENT = {"n_estimators": 250, "learning_rate": 0.06}
REPORT: dict[str, Any] = {
    "dataset": "some", "seeds": 3, "one_seed": 0.0015, "least_difference": 0.00087, "folds": 3, "trained_on": 2000,
    "judged_on": {"folds": 900, "validation": 600}, "cpu_minutes": [1.0, 2.0, 3.0, 4.0],
    "ranges": {"n_estimators": [100, 400], "learning_rate": [0.02, 0.15]},
    "current": {
        "parameters": CURRENT, "first_seed": 0.4712,
        "judged": {"folds": judged(0.4711, 0, "within noise"), "validation": judged(0.45, 0, "within noise")},
    },
    "searches": [
        {"name": "grid", "words": "some values", "parameters": CURRENT | {"learning_rate": 0.03312},
         "judged": {"folds": judged(0.4701, 0.001, "worth it"), "validation": judged(0.4504, -0.0004, "within noise")},
         "lowest": [None, 0.5, 0.47, 0.469], "near_lowest": {"trial": 2, "cpu_seconds": 120.0}, "trials": TRIALS},
        {"name": "random", "words": "any values", "parameters": CURRENT,
         "judged": {"folds": judged(0.4711, 0, "within noise"), "validation": judged(0.45, 0, "within noise")},
         "lowest": [0.5, 0.5, 0.5, 0.5], "near_lowest": None, "trials": TRIALS[:1]},
    ],
}  # fmt: skip


def test_the_page_has_the_numbers_of_the_report_and_keeps_the_text_around_them() -> None:
    text = f"# Mine\n\n{study_pages.SEARCH.begin}previous tables\n{marked_pages.END}\nThe story.\n"

    page = study_pages.SEARCH.with_results(text, REPORT)

    assert page.startswith("# Mine\n")
    assert page.endswith("\nThe story.\n")
    assert "previous tables" not in page
    assert (
        "| **grid**: some values | 4 | 4.0 | none yet | 0.5000 | 0.4700 | 0.4690 | trial 2, 2.0 minutes |\n"
        "| **random**: any values | 1 | 1.0 | 0.5000 | 0.5000 | 0.5000 | 0.5000 | never |\n"
    ) in page
    assert (
        "| **grid** | 0.4701 | +0.0010 (+0.0007 to +0.0013) | 0.0002 | worth it "
        "| 0.4504 | -0.0004 (-0.0007 to -0.0001) | 0.0002 | within noise |\n"
    ) in page
    assert "| search | after 1 trial | after 2 trials | after 3 trials | after 4 trials |" in page
    assert "| **grid** | 0.5000 | 0.4700 | 0.4700 | 0.4690 |" in page
    assert "| `learning_rate` | 0.02 to 0.15 | 0.06 | 0.0331 | 0.06 |\n" in page
    assert study_pages.SEARCH.with_results(page, REPORT) == page
