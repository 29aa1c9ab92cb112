"""The results of a replay: reports/replay.json for machines and tests, reports/replay.html for people.

python -m pipelines.tools.replay_report reports/replay.json    renders page and plots again from the numbers
"""

import sys
from collections.abc import Mapping
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
from ontime import (
    conformal,
    contract,
    database,
    environment,
    evaluation,
    features,
    figures,
    files,
    model,
    online_store,
    operation_plots,
    release,
    schema,
    slices,
)
from ontime.datasets import KEY, Tables
from ontime.figures import Picture
from ontime.local_time import day_of, midnight
from ontime.params import Params
from ontime.settings import Settings
from pipelines.layout import REPORTS, read_json, replacing_folder, write_json
from pipelines.tools import pages

Told = dict[str, NDArray[np.float64]]  # whose probabilities -> one for each labelled entity
TEMPLATE = pages.TEMPLATES / "replay.html.jinja"
NAMES = {"living": "the living system", "never": "never retrained", "rate_table": "rate table"}
RELEASE = "release "  # how the gate names what it held a candidate against
HINDSIGHT_DAYS = 28
MOVES = ("gate", "challenge", "promotion", "rollback", "retraining")  # decisions that the time line shows


class Lived(NamedTuple):
    """The entities of the replay that were labelled by its end, and what each system said of them."""

    entities: pd.DataFrame
    features: pd.DataFrame
    label: NDArray[np.bool_]
    told: Told


def lived(settings: Settings, start: date, until: date) -> Lived:
    """The living system's own answers, and what the first model and its rate table say of the same features."""
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
    told = {
        "living": rows["probability"].to_numpy(np.float64),
        "never": first.model.predict(matrix).astype(np.float64),
        "rate_table": model.predict(rate_table, matrix),
    }
    return Lived(rows, table, rows["label"].to_numpy(bool), told)


def _features_of(rows: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The features behind each answer, by name; categories of the request as they came, also those no model knew."""
    parts = []
    for version, answered in rows.groupby("model_version"):
        manifest = release.verify(settings.releases / str(version))
        parts.append(table_metrics.decoded(answered, manifest.categories))
    table = pd.concat(parts).sort_index()
    came = [name for name in schema.CATEGORICAL if name in rows]
    return table.assign(day=rows["day"], **{name: rows[name].astype("str") for name in came})


def by_month(found: Lived, params: Params) -> list[dict[str, Any]]:
    months = found.entities["day"].dt.strftime("%Y-%m").to_numpy()
    return [
        {
            "month": month,
            "entities": int((chosen := months == month).sum()),
            "positive_rate": round(float(found.label[chosen].mean()), 4),
            "versions": sorted(set(found.entities["model_version"][chosen]), key=lambda each: (len(each), each)),
            **{
                name: evaluation.scores(found.label[chosen], told[chosen], params.cost)
                for name, told in found.told.items()
            },
        }
        for month in np.unique(months)
    ]  # fmt: skip


def coverage_by_month(found: Lived) -> list[dict[str, Any]]:
    """How often conformal sets held, of the living system's answers, calibrated on those of the month before.

    The last entities of that month were not all known when the next began; they are a few hours of thirty days.
    """
    months = found.entities["day"].dt.strftime("%Y-%m").to_numpy(str)
    days, groups = found.entities["day"].to_numpy(), slices.groups(slices.of_entities(found.features))
    rows = []
    for pair in pairwise(np.unique(months)):
        before, now = (months == month for month in pair)
        calibration, asked = (
            conformal.GroupedProbabilities(found.told["living"][each], groups[each]) for each in (before, now)
        )
        sets = conformal.prediction_sets(calibration, found.label[before], asked)
        rows += conformal.coverage(found.label[now], sets, days[now], pd.DataFrame({"month": months[now]}))
    return rows


def whole(found: Lived, params: Params) -> dict[str, Any]:
    """All entities together, with intervals by days, and the paired difference that retraining makes."""
    days = found.entities["day"].to_numpy()
    scored: dict[str, dict[str, Any]] = {
        name: {
            **evaluation.scores(found.label, told, params.cost),
            "intervals": evaluation.intervals(found.label, told, days, params.cost),
        }
        for name, told in found.told.items()
    }
    difference = evaluation.paired_difference(found.label, found.told["living"], found.told["never"], days)
    no_alerts = 1000 * params.cost.missed * float(found.label.mean())
    living = scored["living"]["cost_per_1000"]
    return {
        "entities": len(found.label),
        "positive_rate": round(float(found.label.mean()), 4),
        **scored,
        "living_less_never_log_loss": [round(difference.value, 4), *difference.interval] if difference else None,
        "saved_per_1000": {
            "against no alerts": round(no_alerts - living, 1),
            **{
                f"against {NAMES[name]}": round(scored[name]["cost_per_1000"] - living, 1)
                for name in ("rate_table", "never")
            },
        },
    }  # fmt: skip


def timeline(engine: sa.Engine) -> list[dict[str, Any]]:
    """Everything that moved, in the order of the clock."""
    rows = [row for kind in MOVES for row in database.decisions_of(engine, kind)]
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


def hindsight(settings: Settings, found: Lived, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Was the gate right? Of each verdict, log-loss of the candidate less that of the release it was held against.

    On all labelled entities of the four weeks that came after the verdict, whoever answered them; with the interval
    by days. Nothing of this was known when the gate decided.
    """
    # Not the first model's, which was held against a table of rates.
    verdicts = [each for each in events if each["kind"] == "gate" and each["against"].startswith(RELEASE)]
    with ThreadPoolExecutor() as pool:  # a model takes one thread, and does not hold the interpreter's lock
        rows = pool.map(lambda verdict: _after(verdict, settings, found), verdicts)
        return [row for row in rows if row is not None]


def _after(verdict: dict[str, Any], settings: Settings, found: Lived) -> dict[str, Any] | None:
    """What the weeks after one verdict say of it; None where too few days are left."""
    begin = pd.Timestamp(verdict["day"]) + pd.Timedelta(days=1)
    after = found.entities["day"].between(begin, begin + pd.Timedelta(days=HINDSIGHT_DAYS), inclusive="left")
    days = found.entities["day"][after].to_numpy()
    against = verdict["against"].removeprefix(RELEASE)
    candidate, champion = (
        _probabilities(settings, version, found.features[after]) for version in (verdict["version"], against)
    )
    difference = evaluation.paired_difference(found.label[after.to_numpy()], candidate, champion, days)
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


def watched(engine: sa.Engine) -> list[dict[str, Any]]:
    """Each day's verdict, alerts and figures."""
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
    """How many entities were materialised, and how many of them differ in a bit from a build of all days at once."""
    engine = database.connect(settings.database_url)
    lead = timedelta(minutes=params.features.lead_minutes)
    clean = contract.clean(tables)[0]
    built = features.build(clean, midnight(start) + lead, midnight(until) + lead, params.features, params.question)
    vectors, _ = features.online_of(built)
    stored = online_store.vectors_between(engine, params.question, midnight(start), midnight(until))
    at_once = {key: vector.astype("<f4").tobytes() for key, vector in zip(built[KEY], vectors, strict=True)}
    differing = sum(at_once.get(entity_id) != stored.get(entity_id) for entity_id in at_once.keys() | stored.keys())
    return {"entities": len(stored), "differing": differing}


def write(
    settings: Settings, params: Params, tables: Tables, start: date, until: date, name: str, refused: list[str]
) -> Path:
    """reports/<name>.json, .html and the pictures in reports/<name>/; where the page is.

    `refused`: what the contract said of the dataset as it is published.
    """
    engine = database.connect(settings.database_url)
    found = lived(settings, start, until)
    months = by_month(found, params)
    events = timeline(engine)
    told = {
        "dataset": params.dataset,
        "refused": refused,
        "from": str(start),
        "until": str(until),
        "parity": parity(settings, params, tables, start, until),
        "whole": whole(found, params),
        "mean_monthly_auc": {
            name: round(float(np.mean([month[name]["auc"] for month in months])), 4) for name in NAMES
        },
        "months": months,
        "coverage": coverage_by_month(found),
        "timeline": events,
        "hindsight": hindsight(settings, found, events),
        "days": watched(engine),
    }
    write_json(REPORTS / f"{name}.json", told)
    return write_page(REPORTS / f"{name}.json")


def write_page(numbers: Path) -> Path:
    """Beside reports/<name>.json: the page, and the folder of pictures; where the page is."""
    told = read_json(numbers)
    drawn = pictures(told)
    with replacing_folder(numbers.with_suffix("")) as folder:
        for name, picture in drawn.items():
            figures.save(picture, folder / f"{name}.png")
    files.write_text(numbers.with_suffix(".html"), page(told, drawn))
    return numbers.with_suffix(".html")


def pictures(told: Mapping[str, Any]) -> dict[str, Picture]:
    return {
        "auc": operation_plots.replay_auc(told["months"], NAMES),
        "cost": operation_plots.replay_cost(told["months"], NAMES),
        "loop": operation_plots.replay_timeline(told["timeline"], told["days"], told["from"], told["until"]),
    }


def page(told: Mapping[str, Any], drawn: dict[str, Picture]) -> str:
    return pages.page(
        TEMPLATE, drawn, replay=told, systems=NAMES, alerts=_alerts(told), confidence=conformal.CONFIDENCE
    )


def _alerts(told: Mapping[str, Any]) -> list[tuple[int, str, int, str, str, float]]:
    """Tier and name of each alert that was raised; on how many days, the first and the last, and its highest value."""
    raised: dict[tuple[int, str], list[tuple[str, float]]] = {}
    for day in told["days"]:
        for alert in day["alerts"]:
            raised.setdefault((alert["tier"], alert["name"]), []).append((day["day"], alert["value"]))
    return [
        (tier, name, len(days), days[0][0], days[-1][0], max(value for _, value in days))
        for (tier, name), days in sorted(raised.items())
    ]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("replay_report: python -m pipelines.tools.replay_report reports/replay.json")
    numbers = Path(sys.argv[1])
    if not numbers.is_file():
        sys.exit(f"replay_report: {numbers} does not exist; `make replay` writes it")
    print(f"replay_report: {write_page(numbers)}")


if __name__ == "__main__":
    environment.enforce()
    main()
