"""The public Python API: what `import ontime` offers. Names that are not listed here may change at any time.

    ontime.load()                         the live release, verified
    ontime.score(frame)                   its predictions, with the features of the online store
    ontime.explain_prediction(request)    the reasons of one prediction
    ontime.build_features(...)            the feature table of a period, as of each entity's prediction moment
    ontime.examples()                     requests to try these with

Paths and the database come from the settings, `ONTIME_...`, as for all commands.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pandas as pd

from ontime import batch_scoring, database, encoding, features, release, release_pointer, schema
from ontime.batch_scoring import FIELDS, LookUp, Rejected
from ontime.counts import counted
from ontime.datasets import Tables
from ontime.declaration import EntityRequest
from ontime.params import load_params
from ontime.prediction_reasons import reasons_of
from ontime.problem import PROBLEM
from ontime.release import Manifest, Release
from ontime.settings import load_settings

MODEL_COLUMNS = ["entity_id", "probability", "alert", "model_version"]
COLUMNS = ["entity_id", "probability", "alert", "model_version", "features", "features_as_of", "flags"]


class NotARequest(ValueError):
    """At least one row is not a valid request. The message describes the first one; `rejected` lists all.

    Rows are counted from 0, as in the frame.
    """

    def __init__(self, rejected: Sequence[Rejected]) -> None:
        first = rejected[0]
        super().__init__(
            f"row {first.place}: {first.field}: {first.reason} (got {first.value}); "
            f"{counted(len(rejected), 'invalid row')}"
        )
        self.rejected = rejected


class ReleasedModel:
    """A published release: verified, and loaded without running code from it."""

    def __init__(self, loaded: Release) -> None:
        self._release = loaded

    def __repr__(self) -> str:
        return f"ReleasedModel(version={self.version!r}, algorithm={self.manifest.algorithm!r})"

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def manifest(self) -> Manifest:
        """Inputs, threshold, base rate, training period and lineage."""
        return self._release.manifest

    def predict(self, frame: pd.DataFrame, look_up: LookUp | None = None) -> pd.DataFrame:
        """The predictions, one row for each row of `frame`, which has the columns of a request; others are ignored.

        Columns: entity_id, probability (of the positive label), alert (whether it reaches the threshold),
        model_version, features ("online", or "request" if only the request's are known), features_as_of (UTC), flags.

        `look_up` takes the requests and returns, by entity_id, the `Stored` rows that it has (online_store.py): the
        prediction moment, and an `OnlineRow` (online.py) of the online features. Without it, every prediction has the
        flag `request_only`.
        Raises NotARequest, and ValueError for a missing column.
        """
        entities = _requests(frame)
        if not entities:
            return pd.DataFrame(columns=COLUMNS)
        scored = batch_scoring.score_requests(self._release, entities, look_up or (lambda _: {}))
        return pd.DataFrame(batch_scoring.prediction_columns(scored, self._release), index=frame.index)

    def predict_features(self, built: pd.DataFrame) -> pd.DataFrame:
        """The predictions, one row for each row of `built`, a table of `build_features`.

        Columns: entity_id, probability, alert, model_version. Raises KeyError for a missing feature.
        """
        columns = {name: built[name].to_numpy() for name in schema.FEATURE_NAMES}
        if built.empty:
            return pd.DataFrame(columns=MODEL_COLUMNS)
        probabilities = self._release.model.predict(encoding.encode(columns, self.manifest.categories))
        values = (built["entity_id"], probabilities, probabilities >= self.manifest.threshold, self.version)
        return pd.DataFrame(dict(zip(MODEL_COLUMNS, values, strict=True)), index=built.index)

    def explain(self, request: Mapping[str, Any], look_up: LookUp | None = None) -> dict[str, Any]:
        """The features that moved the probability of one request most, as in a response to `?explain=true`."""
        (entity,) = _requests(pd.DataFrame([request]))
        scored = batch_scoring.score_requests(self._release, [entity], look_up or (lambda _: {}))
        return reasons_of(entity, scored.matrix[0], self._release)


def load(version: str | None = None) -> ReleasedModel:
    """The live release, or a published one. Raises ReleaseRefused if it fails a check, NoRelease if there is none.

    >>> model = load()
    >>> model.predict(examples()).columns.tolist()
    ['entity_id', 'probability', 'alert', 'model_version', 'features', 'features_as_of', 'flags']
    >>> sorted(model.explain(examples().iloc[0]))[:3]
    ['base_log_odds', 'features', 'log_odds']
    """
    releases = load_settings().releases
    chosen = version or release_pointer.require_pointer(releases).version
    return ReleasedModel(release.load(releases, chosen))


def score(frame: pd.DataFrame, version: str | None = None) -> pd.DataFrame:
    """`ReleasedModel.predict` with the features of the online store, as the service would; nothing is logged.

    Raises NotARequest, ReleaseRefused, and SQLAlchemyError if the database is not available.

    >>> bool(score(examples())["probability"].between(0, 1).all())
    True
    """
    model = load(version)
    with _online_features(model) as look_up:
        return model.predict(frame, look_up)


def explain_prediction(request: Mapping[str, Any], version: str | None = None) -> dict[str, Any]:
    """`ReleasedModel.explain` with the features of the online store. Raises as `score` does.

    >>> explain_prediction(examples().iloc[0])["method"] in ("none", "tree_shap", "linear_shap")
    True
    """
    model = load(version)
    with _online_features(model) as look_up:
        return model.explain(request, look_up)


@contextmanager
def _online_features(model: ReleasedModel) -> Iterator[LookUp]:
    engine = database.connect(load_settings().database_url)
    try:
        yield batch_scoring.from_online_store(engine, model.manifest.question)
    finally:
        engine.dispose()


def build_features(tables: Tables, start: datetime, end: datetime) -> pd.DataFrame:
    """One row for each entity with `start <= event time < end`, with the parameters of params.yaml.

    `tables` are those of the problem, such as `pipelines.layout.read_tables(Path("data/validated"))`, and begin
    `features.halo_hours` before `start`. Columns: entity_id, moment (the prediction moment, UTC) and every feature.
    """
    params = load_params()
    return features.build(tables, start, end, params.features, params.question)


def examples() -> pd.DataFrame:
    """The examples of the API's documentation as rows.

    >>> len(examples()) > 0
    True
    """
    return pd.DataFrame([*PROBLEM.examples.values()])


def _requests(frame: pd.DataFrame) -> list[EntityRequest]:
    missing = [name for name in batch_scoring.REQUIRED if name not in frame]
    if missing:
        raise ValueError(f"the frame has no column {missing[0]}: a request has {', '.join(FIELDS)}")
    columns = {name: _values(frame[name]) for name in FIELDS if name in frame}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    _, entities, rejected = batch_scoring.requests_of(records)
    if rejected:
        raise NotARequest(rejected)
    return entities


def _values(column: pd.Series) -> list[Any]:
    """As Python objects; missing ones as None."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = pd.Series(column.dt.to_pydatetime(), dtype=object)
    return column.astype(object).where(column.notna(), None).tolist()
