"""The registry: every parameter does something, every candidate has a colour, a new entry needs nothing else."""

from typing import Any

import numpy as np
import pytest

from ontime import model, plots, schema
from ontime.candidates import CANDIDATES, CATEGORY_POSITIONS, Candidate, Count, Parameters, exportable
from ontime.params import Params, Train
from tests.short_fits import short

PARAMETERS = [(name, field) for name, entry in CANDIDATES.items() for field in entry.parameters.model_fields]


class Forest(Parameters):
    n_estimators: Count


@pytest.fixture
def forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate of one entry, that nothing else in the project knows."""
    monkeypatch.setitem(CANDIDATES, "forest", Candidate(lambda parameters, seed: (parameters, seed), Forest))


def with_forest(params: Params, section: Any) -> dict[str, Any]:
    plain = params.model_dump(mode="json")
    plain["train"]["candidates"].append("forest")
    if section is not None:
        plain["train"]["forest"] = section
    return plain


def different(value: Any) -> Any:
    """Another value, within the limits of any parameter."""
    match value:
        case bool() | str():
            return "float16" if value == "int8" else "logistic"
        case list():
            return ["logistic"]
        case dict():
            return {**value, "num_leaves": 7}
    return type(value)(value * 2) if value < 0.5 or value >= 1 else value / 2


def built(name: str, train: Train) -> str:
    estimator = CANDIDATES[name].build(train.of(name), train.seed)
    return str(sorted(estimator.get_params().items(), key=lambda pair: pair[0]))


@pytest.mark.slow  # imports XGBoost, CatBoost and Keras
@pytest.mark.parametrize(("name", "field"), PARAMETERS)
def test_a_parameter_that_is_changed_changes_what_is_built(name: str, field: str, params: Params) -> None:
    value = getattr(params.train.of(name), field)

    other = params.train.changed(name, **{field: different(value)})

    assert built(name, other) != built(name, params.train)


def test_a_changed_parameter_is_checked_like_those_of_the_file(params: Params) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        params.train.changed("lightgbm", n_estimators=0)


@pytest.mark.usefixtures("forest")
def test_a_new_entry_is_all_that_params_yaml_needs(params: Params) -> None:
    train = Params.model_validate(with_forest(params, {"n_estimators": 7})).train

    assert train.of("forest") == Forest(n_estimators=7)
    assert train.model_dump()["forest"] == {"n_estimators": 7}


@pytest.mark.usefixtures("forest")
@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"n_estimators": 0}, r"train\.forest\.n_estimators\s+Input should be greater than 0"),
        ({"n_estimators": 7, "depth": 3}, r"train\.forest\.depth\s+Extra inputs are not permitted"),
        (None, r"train\.forest\s+is listed in train.candidates but has no section with its n_estimators"),
    ],
)
def test_a_section_that_does_not_fit_its_entry_is_refused(section: Any, message: str, params: Params) -> None:
    with pytest.raises(ValueError, match=message):
        Params.model_validate(with_forest(params, section))


def test_names_are_words_and_none_is_a_parameter_of_train() -> None:
    assert all(name.isidentifier() for name in CANDIDATES)
    assert not CANDIDATES.keys() & Train.model_fields.keys()


def test_a_candidate_that_is_only_there_to_be_beaten_is_not_exportable() -> None:
    assert exportable(["constant", "logistic", "rate_table", "lightgbm"]) == ["logistic", "lightgbm"]


def test_candidates_have_colours_of_their_own() -> None:
    colours = [plots.COLOURS[name] for name in CANDIDATES]

    assert len(set(colours)) == len(colours)
    assert set(plots.COLOURS) == set(CANDIDATES)


def test_a_feature_without_any_value_is_ignored_by_every_candidate_with_trees(params: Params) -> None:
    drawn = np.random.default_rng(1)
    rows = drawn.normal(size=(600, len(schema.FEATURE_NAMES))).astype(np.float32)
    rows[:, CATEGORY_POSITIONS] = 0
    label = rows[:, 20] > 0
    rows[:, 30] = np.nan

    for name in ("hist_gradient_boosting", "lightgbm"):
        fitted = model.fit(name, rows, label, short(params.train))
        later = rows.copy()
        later[:, 30] = 7
        assert np.array_equal(model.predict(fitted, rows), model.predict(fitted, later))
