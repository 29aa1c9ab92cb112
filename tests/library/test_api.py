"""The public API: `import ontime` offers what ontime/api.py documents, and costs nothing until it is used."""

import doctest
import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

import ontime
from ontime import api, features, schema
from ontime.api import NotARequest
from ontime.batch_scoring import FIELDS
from ontime.datasets import Tables
from ontime.params import Params
from ontime.settings import Settings
from pipelines.layout import VALIDATED, write_tables
from tests import PARAMS_YAML, ROOT
from tests.service import MORNING


@pytest.fixture(autouse=True)
def of_the_small_world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_RELEASES", str(settings.releases))
    monkeypatch.setenv("ONTIME_DATABASE_URL", settings.database_url.get_secret_value())


@pytest.fixture
def flights(stored: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Some whose features are in the online store."""
    return tables["flights"].set_index("entity_id").loc[stored["entity_id"][:50], [*FIELDS]]


def test_the_examples_print_what_they_say() -> None:
    assert doctest.testmod(api).failed == 0
    assert doctest.testmod(api).attempted >= 5


def test_the_page_prints_what_it_says(tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near = tables["flights"]["scheduled_departure"].between("2013-01-31", "2013-03-08")
    monkeypatch.chdir(tmp_path)
    write_tables({**tables, "flights": tables["flights"][near].reset_index(drop=True)}, VALIDATED)
    shutil.copy(PARAMS_YAML, tmp_path / "params.yaml")

    result = doctest.testfile(str(ROOT / "docs/python-api.md"), module_relative=False)

    assert result.attempted >= 10
    assert result.failed == 0


def test_the_page_has_the_columns_of_a_request_and_of_a_prediction() -> None:
    page = (ROOT / "docs/python-api.md").read_text()

    requested, returned = (
        page.partition(each)[2].partition("\n\n\n")[0] for each in ("Of flights:", "with its index:")
    )
    requested = requested.partition("They return")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", requested, re.MULTILINE)))) == set(FIELDS)
    assert re.findall(r"^\| `(\w+)` \|", returned, re.MULTILINE) == api.COLUMNS


def test_features_of_a_period_get_the_probabilities_that_they_get_in_the_online_store(
    flights: pd.DataFrame, stored: pd.DataFrame
) -> None:
    built = stored.set_index("entity_id", drop=False).loc[flights.index]

    predictions = ontime.load().predict_features(built)

    served = ontime.score(flights)
    assert predictions.columns.tolist() == api.MODEL_COLUMNS
    for name in api.MODEL_COLUMNS:
        assert predictions[name].tolist() == served[name].tolist()
    assert ontime.load().predict_features(built[:0]).columns.tolist() == api.MODEL_COLUMNS


def test_every_name_of_the_package_is_public_and_documented() -> None:
    assert set(ontime.__all__) <= set(dir(api))
    for name in ontime.__all__:
        assert getattr(ontime, name) is getattr(api, name)
        assert getattr(api, name).__doc__


def test_the_package_is_imported_without_pandas() -> None:
    command = [sys.executable, "-c", "import sys, ontime; sys.exit('pandas' in sys.modules)"]

    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ontime' has no attribute 'predict_all'"):
        _ = ontime.predict_all


def test_a_frame_is_scored_and_explained_as_by_the_service(flights: pd.DataFrame, client: TestClient) -> None:
    (body,) = json.loads(flights[:1].to_json(orient="records", date_format="iso"))
    answer = client.post("/v1/predictions?explain=true", json=body).json()

    predictions = ontime.score(flights)

    assert predictions.index.equals(flights.index)
    assert predictions["entity_id"].tolist() == flights.index.tolist()
    assert set(predictions["features"]) == {"online"}
    assert predictions["probability"].iloc[0] == np.float32(answer["probability"])
    assert ontime.explain_prediction(flights.iloc[0]) == answer["reasons"]


def test_without_the_online_store_a_model_has_the_request_alone(flights: pd.DataFrame) -> None:
    model = ontime.load("2")

    predictions = model.predict(flights)

    assert repr(model) == "ReleasedModel(version='2', algorithm='lightgbm')"
    assert set(predictions["features"]) == {"request"}
    assert predictions["flags"].tolist() == [["request_only"]] * len(flights)


def test_a_row_that_is_no_request_is_named(flights: pd.DataFrame) -> None:
    flights["dest"] = [*flights["dest"][:7], "nowhere", *flights["dest"][8:]]

    with pytest.raises(NotARequest, match=r"^row 7: dest: .* \(got 'nowhere'\); 1 invalid row$") as refused:
        ontime.score(flights)

    assert [each.place for each in refused.value.rejected] == [7]


def test_a_missing_column_is_named(flights: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="the frame has no column carrier: a request has carrier, "):
        ontime.score(flights.drop(columns="carrier"))


def test_no_rows_have_no_predictions(flights: pd.DataFrame) -> None:
    predictions = ontime.score(flights[:0])

    assert len(predictions) == 0
    assert predictions.columns.tolist() == ontime.score(flights).columns.tolist()


def test_features_are_built_as_in_training(tables: Tables, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "load_params", lambda: params)
    start = pd.Timestamp("2013-02-18", tz=schema.ZONE)
    day = (start, start + timedelta(days=1))

    built = ontime.build_features(tables, *day)

    pd.testing.assert_frame_equal(built, features.build(tables, *day, params.features, params.question))
    assert len(built) > 100


def test_the_examples_are_those_of_the_documentation() -> None:
    assert ontime.examples().iloc[0].to_dict() == MORNING
