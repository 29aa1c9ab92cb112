"""`make bench-leaks`: what one honest feature reaches, and what a feature that knows the outcome does.

Honest: the highest AUC of one feature alone, the share of the outcome's variance that all of them explain in a sum,
and the largest share of one feature in a model's gain, for windows that a training might have. Leaking: the label share
of the whole year by group takes the place of one feature, in the way of code that reads it from a file, so that the
point-in-time rule cannot see it. Writes reports/bench_leaks.json; decision 26 shows its figures. Windows and groups are
those of flights: another problem has others.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from ontime import environment, leaks, model, schema, split
from ontime.candidates import CANDIDATES
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
PLACE = "plane_age_years"  # the feature that gives way
GAINING = tuple(name for name, candidate in CANDIDATES.items() if candidate.gain is not None)


def labelled_entities() -> pd.DataFrame:
    """The year's labelled entities with their features, and with what `GROUPS` needs."""
    entities = split.labelled(read_months(FEATURES, months_in(FEATURES)))
    timetable = read_months(VALIDATED / DATA.entities, columns=["entity_id", "tailnum", "flight_number"])
    return entities.merge(timetable, on="entity_id").assign(hour=entities["departure_minute"] // 60)


def within(entities: pd.DataFrame, begin: Any, until: Any) -> pd.DataFrame:
    return entities[entities["day"].between(pd.Timestamp(begin), pd.Timestamp(until), inclusive="left")]


def largest_gain(name: str, entities: pd.DataFrame, params: Params) -> float:
    """The share of one feature in what all splits of this candidate gain."""
    gain = CANDIDATES[name].gain
    assert gain is not None  # noqa: S101  GAINING has no other
    gains = gain(fit(name, entities, params))
    return round(max(gains) / sum(gains), 3)


def fit(name: str, entities: pd.DataFrame, params: Params) -> model.Classifier:
    matrix = model.matrix_of(entities, model.categories_of(entities))
    return model.fit(name, matrix, entities["label"].to_numpy(), params.train)


def alone(entities: pd.DataFrame) -> Mapping[str, float]:
    return leaks.auc_alone(entities[list(schema.FEATURE_NAMES)], entities["label"].to_numpy(bool))


def honest(entities: pd.DataFrame, params: Params) -> dict[str, float]:
    return {
        "auc": round(max(alone(entities).values()), 3),
        "explained": round(
            max(share for share, _ in leaks.explained(entities, entities[["label", "value"]]).values()), 3
        ),
        **{name: largest_gain(name, entities, params) for name in GAINING},
    }


def leaking(entities: pd.DataFrame, params: Params) -> dict[str, float]:
    """Of `PLACE`, and the AUC on the test period of the model that has it."""
    train = within(entities, params.split.train_from, params.split.valid_from)
    test = within(entities, params.split.test_from, params.split.test_until)
    fitted = fit("lightgbm", train, params)
    gain = CANDIDATES["lightgbm"].gain
    assert gain is not None  # noqa: S101  see GAINING
    gains = dict(zip(schema.FEATURE_NAMES, gain(fitted), strict=True))
    probability = model.predict(fitted, model.matrix_of(test, model.categories_of(train)))
    return {
        "auc": round(alone(train)[PLACE], 3),
        "gain": round(gains[PLACE] / sum(gains.values()), 3),
        "test_auc": round(float(roc_auc_score(test["label"], probability)), 3),
    }


def main() -> None:
    params, entities = load_params(), labelled_entities()
    steps = tqdm(total=len(WINDOWS) + len(GROUPS), desc="bench-leaks", disable=None)
    found: dict[str, dict[str, Any]] = {"honest": {}, "leaking": {}}
    for name, (begin, until) in WINDOWS.items():
        found["honest"][name] = honest(within(entities, begin, until), params)
        steps.update()
    for name, columns in GROUPS.items():
        share = entities.groupby(columns, dropna=False)["label"].transform("mean")
        found["leaking"][name] = leaking(entities.assign(**{PLACE: share}), params)
        steps.update()
    write_json(REPORTS / "bench_leaks.json", found)
    print(f"bench-leaks: {REPORTS / 'bench_leaks.json'}")


if __name__ == "__main__":
    environment.enforce()
    main()
