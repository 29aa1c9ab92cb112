"""The results of a replay as numbers: reports/replay.json."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from monitoring import performance, table_metrics
from ontime import conformal, contract, database, evaluation, features, model, online_store, release, schema, slices
from ontime.datasets import KEY, Tables
from ontime.local_time import day_of, midnight
from ontime.params import Params
from ontime.settings import Settings
from pipelines.layout import REPORTS, write_json

SYSTEMS = {"retrained": "retrained", "never_retrained": "never retrained", "rate_table": "rate table"}
RELEASE = "release "  # prefix of a release in the gate's `against`
HINDSIGHT_DAYS = 28
TIMELINE_KINDS = ("gate", "challenge", "promotion", "rollback", "retraining")  # of decisions


class Results(NamedTuple):
    """The entities with a known outcome at the end of the replay, and the probabilities of each system."""

    entities: pd.DataFrame
    features: pd.DataFrame
    label: NDArray[np.bool_]
    probabilities: dict[str, NDArray[np.float64]]  # by system, one for each entity


def read_results(settings: Settings, start: date, until: date) -> Results:
    """The stored predictions, and those that the first model and its rate table make from the same features."""
    engine = database.connect(settings.database_url)
    first = release.load(settings.releases, release.published(settings.releases)[0])
    known_by = midnight(until + timedelta(days=3))
    rows = performance.predictions_with_outcomes(
        engine, midnight(start), midnight(until), first.manifest.label_at_least, known_by, vectors=True
    )
    rows = rows[rows["label"].notna()].reset_index(drop=True)
    table = _features_of(rows, settings)
    matrix = model.matrix_of(table, first.manifest.categories)
    rate_table = joblib.load(settings.releases.parent / "rate_table.joblib")
    probabilities = {
        "retrained": rows["probability"].to_numpy(np.float64),
        "never_retrained": first.model.predict(matrix).astype(np.float64),
        "rate_table": model.predict(rate_table, matrix),
    }
    return Results(rows, table, rows["label"].to_numpy(bool), probabilities)


def _features_of(rows: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The features of each prediction; categories as in the request, also those that no model was trained on."""
    parts = []
    for version, group in rows.groupby("model_version"):
        manifest = release.verify(settings.releases / str(version))
        parts.append(table_metrics.decoded(group, manifest.categories))
    table = pd.concat(parts).sort_index()
    requested = [name for name in schema.CATEGORICAL if name in rows]
    return table.assign(day=rows["day"], **{name: rows[name].astype("str") for name in requested})


def scores_by_month(results: Results, params: Params) -> list[dict[str, Any]]:
    months = results.entities["day"].dt.strftime("%Y-%m").to_numpy()
    return [
        {
            "month": month,
            "entities": int((in_month := months == month).sum()),
            "positive_rate": round(float(results.label[in_month].mean()), 4),
            "versions": sorted(set(results.entities["model_version"][in_month]), key=lambda each: (len(each), each)),
            **{
                name: evaluation.scores(results.label[in_month], values[in_month], params.cost)
                for name, values in results.probabilities.items()
            },
        }
        for month in np.unique(months)
    ]  # fmt: skip


def coverage_by_month(results: Results) -> list[dict[str, Any]]:
    """Coverage of conformal sets for the stored predictions, calibrated on the month before.

    The outcomes of the month's last hours become known only after the next month has begun; they are used all the same.
    """
    months = results.entities["day"].dt.strftime("%Y-%m").to_numpy(str)
    days, groups = results.entities["day"].to_numpy(), slices.groups(slices.of_entities(results.features))
    retrained, rows = results.probabilities["retrained"], []
    for pair in pairwise(np.unique(months)):
        before, now = (months == month for month in pair)
        calibration, current = (conformal.GroupedProbabilities(retrained[each], groups[each]) for each in (before, now))
        sets = conformal.prediction_sets(calibration, results.label[before], current)
        rows += conformal.coverage(results.label[now], sets, days[now], pd.DataFrame({"month": months[now]}))
    return rows


def overall_scores(results: Results, params: Params) -> dict[str, Any]:
    """Scores over all entities, with intervals by days, and the paired difference that retraining makes."""
    days = results.entities["day"].to_numpy()
    scored: dict[str, dict[str, Any]] = {
        name: {
            **evaluation.scores(results.label, values, params.cost),
            "intervals": evaluation.intervals(results.label, values, days, params.cost),
        }
        for name, values in results.probabilities.items()
    }
    retrained, never_retrained = (results.probabilities[each] for each in ("retrained", "never_retrained"))
    difference = evaluation.paired_difference(results.label, retrained, never_retrained, days)
    cost_without_alerts = 1000 * params.cost.missed * float(results.label.mean())
    retrained_cost = scored["retrained"]["cost_per_1000"]
    return {
        "entities": len(results.label),
        "positive_rate": round(float(results.label.mean()), 4),
        **scored,
        "retraining_log_loss_difference": [round(difference.value, 4), *difference.interval] if difference else None,
        "saved_per_1000": {
            "against no alerts": round(cost_without_alerts - retrained_cost, 1),
            **{
                f"against {SYSTEMS[name]}": round(scored[name]["cost_per_1000"] - retrained_cost, 1)
                for name in ("rate_table", "never_retrained")
            },
        },
    }  # fmt: skip


def moves(engine: sa.Engine) -> list[dict[str, Any]]:
    """Every verdict of the gate, move of a release and retraining, in the order of the simulated clock."""
    rows = [row for kind in TIMELINE_KINDS for row in database.decisions_of(engine, kind)]
    return [
        {
            "day": str(day_of(row.decided_at - timedelta(seconds=1))),
            "kind": row.kind,
            "verdict": row.verdict,
            "version": row.evidence.get("version"),
            "against": row.evidence.get("against"),
            "reason": row.evidence.get("reason", ""),
        }
        for row in sorted(rows, key=lambda row: row.decision_id)
    ]


def hindsight(settings: Settings, results: Results, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whether the gate was right: for each verdict, log-loss of the candidate minus that of its champion.

    Over all labelled entities of the four weeks after the verdict, whichever release scored them, with the interval by
    days. The gate could not know them.
    """
    # Without the first model's, which was compared with the rate table.
    verdicts = [each for each in events if each["kind"] == "gate" and each["against"].startswith(RELEASE)]
    with ThreadPoolExecutor() as pool:  # a model uses one thread, and releases the GIL
        rows = pool.map(lambda verdict: _hindsight_of(verdict, settings, results), verdicts)
        return [row for row in rows if row is not None]


def _hindsight_of(verdict: dict[str, Any], settings: Settings, results: Results) -> dict[str, Any] | None:
    """The entry of one verdict; None if too few days follow it."""
    begin = pd.Timestamp(verdict["day"]) + pd.Timedelta(days=1)
    after = results.entities["day"].between(begin, begin + pd.Timedelta(days=HINDSIGHT_DAYS), inclusive="left")
    days = results.entities["day"][after].to_numpy()
    against = verdict["against"].removeprefix(RELEASE)
    candidate, champion = (
        _probabilities(settings, version, results.features[after]) for version in (verdict["version"], against)
    )
    difference = evaluation.paired_difference(results.label[after.to_numpy()], candidate, champion, days)
    if difference is None:
        return None
    return {
        **{name: verdict[name] for name in ("day", "version", "verdict")},
        "against": against,
        "entities": len(days),
        "log_loss_difference": [round(difference.value, 4), *difference.interval],
    }


def _probabilities(settings: Settings, version: str, entities: pd.DataFrame) -> NDArray[np.float64]:
    loaded = release.load(settings.releases, version)
    return loaded.model.predict(model.matrix_of(entities, loaded.manifest.categories)).astype(np.float64)


def monitored_days(engine: sa.Engine) -> list[dict[str, Any]]:
    """The monitor's verdict, alerts and figures of each day."""
    return [
        {
            "day": row.evidence["day"],
            "verdict": row.verdict,
            "alerts": [{each: alert[each] for each in ("name", "tier", "value")} for alert in row.evidence["alerts"]],
            "figures": {
                name: value for name, value in row.evidence["figures"].items() if not name.startswith("psi ")
            },
        }
        for row in database.decisions_of(engine, "monitor")
    ]  # fmt: skip


def parity(settings: Settings, params: Params, tables: Tables, start: date, until: date) -> dict[str, int]:
    """The number of materialised entities, and of those that differ in any bit from features built in one pass."""
    engine = database.connect(settings.database_url)
    lead = timedelta(minutes=params.features.lead_minutes)
    clean = contract.clean(tables)[0]
    built = features.build(clean, midnight(start) + lead, midnight(until) + lead, params.features, params.question)
    vectors, _ = features.online_of(built)
    stored = online_store.vectors_between(engine, params.question, midnight(start), midnight(until))
    one_pass = {key: vector.astype("<f4").tobytes() for key, vector in zip(built[KEY], vectors, strict=True)}
    differing = sum(one_pass.get(entity_id) != stored.get(entity_id) for entity_id in one_pass.keys() | stored.keys())
    return {"entities": len(stored), "differing": differing}


def write_numbers(
    settings: Settings, params: Params, tables: Tables, start: date, until: date, name: str, violations: list[str]
) -> Path:
    """Write reports/<name>.json, and return its path.

    `violations`: the contract's errors for the dataset before its adapter.
    """
    engine = database.connect(settings.database_url)
    results = read_results(settings, start, until)
    months = scores_by_month(results, params)
    events = moves(engine)
    path = REPORTS / f"{name}.json"
    numbers = {
        "dataset": params.dataset,
        "refused": violations,
        "from": str(start),
        "until": str(until),
        "parity": parity(settings, params, tables, start, until),
        "whole": overall_scores(results, params),
        "mean_monthly_auc": {
            system: round(float(np.mean([month[system]["auc"] for month in months])), 4) for system in SYSTEMS
        },
        "months": months,
        "coverage": coverage_by_month(results),
        "timeline": events,
        "hindsight": hindsight(settings, results, events),
        "days": monitored_days(engine),
    }
    write_json(path, numbers)
    return path
