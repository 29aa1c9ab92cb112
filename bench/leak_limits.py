"""`make bench-leaks`: the scores that leak checks see for honest features, and for a feature that leaks the outcome.

Honest: the highest AUC of a single feature, the share of the outcome's variance that all features explain in a linear
regression, and the largest share of one feature in a model's gain, for several training windows. Leaking: the label
share of the whole year by group replaces one feature, as code would do that reads it from a file, so that the
point-in-time check cannot detect it. Writes reports/bench_leaks.json; decision 26 shows the results. Windows and groups
are those of flights: another problem needs its own.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from ontime import environment, leaks, model, schema, split
from ontime.candidates import CANDIDATES
from ontime.optional_candidates import OPTIONAL_CANDIDATES
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from pipelines.layout import FEATURES, REPORTS, VALIDATED, months_in, read_months, write_json

WINDOWS = {
    "three weeks of January": ("2013-01-01", "2013-01-22"),
    "January to March": ("2013-01-01", "2013-04-01"),
    "January to June": ("2013-01-01", "2013-07-01"),
    "January to August": ("2013-01-01", "2013-09-01"),
    "January to November": ("2013-01-01", "2013-12-01"),
    "June alone, the stormiest month": ("2013-06-01", "2013-07-01"),
    "December alone": ("2013-12-01", "2014-01-01"),
}
GROUPS = {
    "destination": ["dest"],
    "airline and hour": ["carrier", "hour"],
    "tail number": ["tailnum"],
    "flight number and airport": ["carrier", "flight_number", "origin"],
    "flight number, airport and weekday": ["carrier", "flight_number", "origin", "weekday"],
    "day": ["day"],
    "day and airport": ["day", "origin"],
}
REPLACED = "plane_age_years"  # the feature that the leaking one replaces
WITH_GAIN = tuple(
    name for name, candidate in CANDIDATES.items() if candidate.gain is not None and name not in OPTIONAL_CANDIDATES
)


def labelled_entities() -> pd.DataFrame:
    """The year's labelled entities with their features and the columns of `GROUPS`."""
    entities = split.labelled(read_months(FEATURES, months_in(FEATURES)))
    timetable = read_months(VALIDATED / DATA.entities, columns=["entity_id", "tailnum", "flight_number"])
    return entities.merge(timetable, on="entity_id").assign(hour=entities["departure_minute"] // 60)


def days_between(entities: pd.DataFrame, begin: Any, until: Any) -> pd.DataFrame:
    return entities[entities["day"].between(pd.Timestamp(begin), pd.Timestamp(until), inclusive="left")]


def largest_gain(name: str, entities: pd.DataFrame, params: Params) -> float:
    """The largest share of one feature in the total gain of this candidate's splits."""
    gain = CANDIDATES[name].gain
    assert gain is not None  # noqa: S101  WITH_GAIN lists only candidates that have it
    gains = gain(fit_candidate(name, entities, params))
    return round(max(gains) / sum(gains), 3)


def fit_candidate(name: str, entities: pd.DataFrame, params: Params) -> model.Classifier:
    matrix = model.matrix_of(entities, model.categories_of(entities))
    return model.fit(name, matrix, entities["label"].to_numpy(), params.train)


def feature_aucs(entities: pd.DataFrame) -> Mapping[str, float]:
    return leaks.single_feature_aucs(entities[list(schema.FEATURE_NAMES)], entities["label"].to_numpy(bool))


def honest_scores(entities: pd.DataFrame, params: Params) -> dict[str, float]:
    return {
        "auc": round(max(feature_aucs(entities).values()), 3),
        "explained": round(
            max(share for share, _ in leaks.explained_variance(entities, entities[["label", "value"]]).values()), 3
        ),
        **{name: largest_gain(name, entities, params) for name in WITH_GAIN},
    }


def leaking_scores(entities: pd.DataFrame, params: Params) -> dict[str, float]:
    """The scores of the leaking feature, and the test AUC of the model that uses it."""
    train = days_between(entities, params.split.train_from, params.split.valid_from)
    test = days_between(entities, params.split.test_from, params.split.test_until)
    fitted = fit_candidate("lightgbm", train, params)
    gain = CANDIDATES["lightgbm"].gain
    assert gain is not None  # noqa: S101  see WITH_GAIN
    gains = dict(zip(schema.FEATURE_NAMES, gain(fitted), strict=True))
    probability = model.predict(fitted, model.matrix_of(test, model.categories_of(train)))
    return {
        "auc": round(feature_aucs(train)[REPLACED], 3),
        "gain": round(gains[REPLACED] / sum(gains.values()), 3),
        "test_auc": round(float(roc_auc_score(test["label"], probability)), 3),
    }


def main() -> None:
    params, entities = load_params(), labelled_entities()
    steps = tqdm(total=len(WINDOWS) + len(GROUPS), desc="bench-leaks", disable=None)
    scores: dict[str, dict[str, Any]] = {"honest": {}, "leaking": {}}
    for name, (begin, until) in WINDOWS.items():
        scores["honest"][name] = honest_scores(days_between(entities, begin, until), params)
        steps.update()
    for name, columns in GROUPS.items():
        share = entities.groupby(columns, dropna=False)["label"].transform("mean")
        scores["leaking"][name] = leaking_scores(entities.assign(**{REPLACED: share}), params)
        steps.update()
    write_json(REPORTS / "bench_leaks.json", scores)
    print(f"bench-leaks: {REPORTS / 'bench_leaks.json'}")


if __name__ == "__main__":
    environment.enforce()
    main()
