"""examples/feast in Feast's own environment: the features of any declaration, stored, looked up and joined by Feast."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench import feast_tables
from bench.environments import make_environment
from bench.feast_comparison import differing_from
from bench.feast_process import ENVIRONMENT, LOCK, look_up_plan, make_feast_project, run_feast
from bench.feast_tables import EARLIER, JoinQuestion, differing_rows
from bench.redis_server import running_redis
from ontime import schema
from ontime.datasets import KEY
from ontime.params import load_params
from tests import PARAMS_YAML, ROOT

ROWS = 250


def random_rows(seed: int) -> pd.DataFrame:
    """Every bit of a float32 matters, a quarter of the values is missing, and the moments are not in order."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(ROWS, len(schema.ONLINE))).astype("f4").astype("f8")
    values[generator.random(values.shape) < 0.25] = np.nan
    minutes = generator.permutation(ROWS)
    moments = pd.Timestamp("2013-12-25T12:00Z") + pd.to_timedelta(minutes, unit="min")
    texts = {
        name: np.array([None if number % 3 == 0 else f"text {number}" for number in minutes], dtype=object)
        for name in schema.ONLINE_TEXTS
    }
    keys = {KEY: [f"E{number}" for number in range(ROWS)], "moment": moments.as_unit("us")}
    return pd.DataFrame({**keys, **dict(zip(schema.ONLINE, values.T, strict=True))}).assign(**texts)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return random_rows(1)


@pytest.fixture(scope="module")
def earlier(rows: pd.DataFrame) -> pd.DataFrame:
    return random_rows(2).assign(moment=rows["moment"] - EARLIER)


@pytest.fixture(scope="module")
def question(rows: pd.DataFrame, earlier: pd.DataFrame) -> JoinQuestion:
    return feast_tables.join_question(earlier, rows, 20)


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
def test_feast_returns_the_stored_features_bit_for_bit_and_nulls_for_an_unknown_entity(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    folder = make_feast_project(tmp_path / "online", [rows], look_up_plan(rows, {1: 2}), PARAMS_YAML)

    costs = run_feast(folder, "online", "feature_store.yaml")

    assert differing_from(rows, pd.read_parquet(folder / "returned.parquet"), "Feast") == 0
    assert costs["packed"]["differing"] == 0


@pytest.mark.slow
def test_feast_joins_point_in_time_and_drops_the_rows_of_which_only_later_features_exist(
    rows: pd.DataFrame, earlier: pd.DataFrame, question: JoinQuestion, tmp_path: Path
) -> None:
    folder = make_feast_project(tmp_path / "join", [earlier, rows], {}, PARAMS_YAML)
    question.entity_times.to_parquet(folder / "entity_times.parquet", index=False)

    run_feast(folder, "join", "feature_store.yaml")

    facts = question.facts(pd.read_parquet(folder / "joined.parquet"))
    assert facts["differing"] == 0
    assert {case: count for case, count in facts["dropped"].items() if count} == {"before the first row": 20}


@pytest.mark.slow
def test_the_command_line_of_feast_registers_each_declared_feature_with_its_meaning(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    folder = make_feast_project(tmp_path / "cli", [rows], {}, PARAMS_YAML)
    feast = make_environment(LOCK, ENVIRONMENT).with_name("feast").absolute()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

    question = load_params(PARAMS_YAML).question
    view = f"online_{question.label_at_least:g}_{question.lead_minutes}"

    for words in (["apply"], ["feature-views", "describe", view]):
        completed = subprocess.run(
            [str(feast), "-c", "examples/feast", *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert completed.returncode == 0, completed.stderr

    described = yaml.safe_load(completed.stdout)["spec"]["features"]
    meanings = {name: schema.BY_NAME[name].meaning(question) for name in schema.ONLINE}
    assert {each["name"]: each["description"] for each in described} == meanings


def test_pandas_joins_the_same_and_drops_nothing(
    rows: pd.DataFrame, earlier: pd.DataFrame, question: JoinQuestion
) -> None:
    joined = feast_tables.merged_as_of(pd.concat([earlier, rows]), question.entity_times)

    facts = question.facts(joined)
    assert facts["returned"] == facts["asked"] == 101
    assert facts["differing"] == 0


def test_a_value_that_differs_in_the_last_bit_is_counted(rows: pd.DataFrame) -> None:
    name = next(name for name in schema.ONLINE if name not in schema.ONLINE_TEXTS)
    values = rows[name].to_numpy("f4").copy()
    place = int(np.flatnonzero(~np.isnan(values))[0])
    values[place] = np.nextafter(values[place], np.float32(np.inf))
    changed = rows.assign(**{name: values})

    assert differing_rows(rows, changed) == 1


def test_a_store_that_returns_other_values_stops_the_bench(rows: pd.DataFrame) -> None:
    with pytest.raises(SystemExit, match="other values than the feature table for 1 row"):
        differing_from(rows, rows.iloc[[*range(ROWS), 0]], "a store")  # a value for the unknown entity


def test_without_redis_server_the_bench_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SystemExit, match="apt-get install redis-server"), running_redis(tmp_path):
        pass
