"""Feast's side of `bench.feast_comparison`. Runs in the environment of requirements/feast.txt, where pandas is older.

    python -m bench.feast_client online feature_store.yaml     materialise, look up; also redis.yaml
    python -m bench.feast_client join feature_store.yaml       join the rows of entity_times.parquet, point in time

The current folder has params.yaml, data/features, examples/feast and plan.json. Results are written beside them:
costs as JSON, values as parquet.
"""

import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import redis
from feast import FeatureStore, FeatureView, Field, FileSource
from feast.types import Bytes
from numpy.typing import NDArray

from bench.call_cost import CallCost, cost_of_calls
from ontime import schema

REPOSITORY, FEATURES = Path("examples/feast"), Path("data/features")
NUMBERS = [name for name in schema.ONLINE if name not in schema.ONLINE_TEXTS]
CHUNK = 100
Matrix = NDArray[np.float32]


class OnlineServer(NamedTuple):
    """The Redis server, or the file of SQLite, which has no process of its own."""

    redis: "redis.Redis | None"
    file: Path

    def cpu_seconds(self) -> float:
        if self.redis is None:
            return 0.0
        usage = self.redis.info("cpu")
        return float(usage["used_cpu_user"] + usage["used_cpu_sys"])

    def megabytes(self) -> float:
        """The size of the file, or of Redis's data in memory, without its buffers."""
        used = self.file.stat().st_size if self.redis is None else self.redis.info("memory")["used_memory_dataset"]
        return float(used) / 1e6


def open_store(configuration: str) -> tuple[FeatureStore, Any, OnlineServer]:
    """The store with the objects of examples/feast registered, their module, and the server behind it."""
    sys.path.insert(0, str(REPOSITORY))
    definitions = importlib.import_module("definitions")
    store = FeatureStore(str(REPOSITORY), fs_yaml_file=REPOSITORY / configuration)
    store.apply([definitions.entity, definitions.view, definitions.service])
    host, _, port = os.environ["FEAST_REDIS"].partition(":")
    file = REPOSITORY / getattr(store.config.online_store, "path", "")
    return store, definitions, OnlineServer(redis.Redis(host, int(port)) if port else None, file)


def float_matrix(columns: dict[str, list[Any]]) -> Matrix:
    """Float32 [entities, numeric features]; NaN where the store has no value."""
    return np.array([columns[name] for name in NUMBERS], dtype="f4").T


def unpacked(vectors: Sequence[bytes]) -> Matrix:
    return np.array([np.frombuffer(vector, "<f4") for vector in vectors])


def store_costs(
    server: OnlineServer, materialise: Callable[[], object], look_up: Callable[[Sequence[str]], object], plan: Any
) -> dict[str, Any]:
    """What it costs to fill a store, how much larger that makes it, and what look-ups cost."""
    before = server.megabytes()
    costs: dict[str, Any] = {"materialise": cost_of_calls(lambda _: materialise(), [None], server.cpu_seconds)}
    costs["megabytes"], costs["look_up"] = server.megabytes() - before, {}
    for size, requests in plan["look_ups"].items():
        look_up(requests[0])
        costs["look_up"][size] = cost_of_calls(look_up, requests, server.cpu_seconds)
    return costs


def online(configuration: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Materialise the rows of the plan and look them up, as declared and with all features packed into one value.

    What the store returns as declared is written to returned.parquet.
    """
    store, definitions, server = open_store(configuration)
    period = [datetime.fromisoformat(plan[name]) for name in ("since", "until")]
    view = definitions.view.name

    def answer(ids: Sequence[str], features: Any) -> dict[str, list[Any]]:
        rows = [{"entity_id": each} for each in ids]
        return store.get_online_features(features=features, entity_rows=rows).to_dict()

    def look_up(ids: Sequence[str]) -> tuple[Matrix, dict[str, list[Any]]]:
        columns = answer(ids, definitions.service)
        return float_matrix(columns), columns

    costs = {"declared": store_costs(server, partial(store.materialize, *period, feature_views=[view]), look_up, plan)}
    answers = [look_up(chunk)[1] for chunk in chunks(plan["ids"])]
    columns = {name: [value for each in answers for value in each[name]] for name in ("entity_id", *schema.ONLINE)}
    texts = pd.DataFrame({name: columns[name] for name in ("entity_id", *schema.ONLINE_TEXTS)}, dtype=object)
    numbers = pd.DataFrame(float_matrix(columns), columns=NUMBERS)
    pd.concat([texts, numbers], axis=1).to_parquet("returned.parquet", index=False)

    vectors = packed_vectors()
    if server.redis:
        server.redis.flushdb()  # Feast keeps all views of an entity in one hash: both together would need more memory
    store.apply([packed_view(definitions, vectors)])

    def look_up_packed(ids: Sequence[str]) -> Matrix:
        return unpacked(answer(ids, ["packed:vector"])["vector"])

    fill = partial(store.materialize, *period, feature_views=["packed"])
    costs["packed"] = store_costs(server, fill, look_up_packed, plan)
    costs["packed"]["differing"] = differing_vectors(look_up_packed, vectors)
    return costs if server.redis is None else {**costs, "bare": bare_redis(server, server.redis, vectors, plan)}


def packed_vectors() -> pd.DataFrame:
    """entity_id, moment, and all numeric features as the bytes of one float32 vector."""
    table = pd.read_parquet(FEATURES)
    matrix = table[NUMBERS].to_numpy("<f4")
    return table[["entity_id", "moment"]].assign(vector=[row.tobytes() for row in matrix])


def packed_view(definitions: Any, vectors: pd.DataFrame) -> FeatureView:
    path = Path("packed.parquet").absolute()
    vectors.to_parquet(path, index=False)
    source = FileSource(name="packed", path=str(path), timestamp_field="moment")
    return FeatureView(
        name="packed",
        entities=[definitions.entity],
        source=source,
        ttl=timedelta(0),
        schema=[Field(name="vector", dtype=Bytes)],
    )


def bare_redis(server: OnlineServer, client: "redis.Redis", vectors: pd.DataFrame, plan: Any) -> dict[str, Any]:
    """One value for each entity, its vector, in the same server: what a store on Redis costs at least."""
    values = {f"bare:{entity}": vector for entity, vector in zip(vectors["entity_id"], vectors["vector"], strict=True)}

    def look_up(ids: Sequence[str]) -> Matrix:
        stored: Any = client.mget([f"bare:{each}" for each in ids])
        return unpacked(stored)

    costs = store_costs(server, lambda: client.mset(values), look_up, plan)
    return {**costs, "differing": differing_vectors(look_up, vectors)}


def differing_vectors(look_up: Callable[[Sequence[str]], Matrix], vectors: pd.DataFrame) -> int:
    """The number of entities whose vector has another value in any bit."""
    stored = np.concatenate([look_up(chunk) for chunk in chunks(vectors["entity_id"].tolist())])
    return int((stored.view("u4") != unpacked(vectors["vector"].tolist()).view("u4")).any(axis=1).sum())


def chunks(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]


def join(configuration: str, _: dict[str, Any]) -> dict[str, Any]:
    """Join the features to the entities and times of entity_times.parquet, and write the rows to joined.parquet."""
    store, definitions, _server = open_store(configuration)
    entity_times = pd.read_parquet("entity_times.parquet")

    def joined(rows: pd.DataFrame) -> None:
        job = store.get_historical_features(entity_df=rows, features=definitions.service)
        job.to_df().to_parquet("joined.parquet", index=False)

    return {"join": cost_of_calls(joined, [entity_times])}


def as_figures(value: Any) -> Any:
    """Costs as dictionaries, for JSON."""
    if isinstance(value, CallCost):
        return value._asdict()
    return {name: as_figures(each) for name, each in value.items()} if isinstance(value, dict) else value


def main(step: str, configuration: str) -> None:
    warnings.simplefilter("ignore", FutureWarning)  # of Dask about pandas: one for each call
    costs = {"online": online, "join": join}[step](configuration, json.loads(Path("plan.json").read_text("utf-8")))
    Path("costs.json").write_text(json.dumps(as_figures(costs)), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
