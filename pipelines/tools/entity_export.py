"""`ontime export`: everything that is stored about an entity, as one readable JSON file.

    ontime export ID --to folder        writes folder/ID.json

Every part says what it is. Vectors are decoded to the names, units and values of their features. The export itself is
recorded in `decisions`, with a hash of the id.
"""

import base64
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from ontime import database, database_tables, erasure, files, locks, online_store, release, schema
from ontime.counts import counted
from ontime.decision_chain import exclusive_transaction
from ontime.declaration import ENTITY_ID, Question
from ontime.problem import PROBLEM
from ontime.release import Manifest
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.tools import stored_files

ABOUT = {
    "entities": "The fields of the request about the entity, which the search of the page shows.",
    "features": "The online store: the features computed before the event, as of the prediction moment. "
    "Where ONTIME_ONLINE_STORE_URL is set, Redis has a copy of the row.",
    "predictions": "Every prediction that the service returned, with the whole input of the model.",
    "shadows": "What another release would have predicted for the same requests; no caller received it.",
    "outcomes": "What happened: the label, its value, and when it became known.",
    "stream_events": "What messages of the stream said about it.",
    "dead_letters": "Messages of the stream about it that are not valid.",
    "spool": "Predictions that wait for the database, and damaged lines of the spool.",
    "quarantine": "Rows of the data feed that were not used, because their batch violates the contract.",
    "releases": "The published releases that were trained on the entity, or have it as a probe: a stored example.",
    "decisions": "Erasures and exports of the entity.",
    "elsewhere": "Not part of this file: backups, and the source's own files in raw/ and data/.",
}


class ExportRefused(ValueError):
    """The argument is not an entity_id."""


def stored_about(settings: Settings, engine: sa.Engine, entity_id: str) -> dict[str, Any]:
    """Everything about an entity, by part. Each part has `about` and `rows`."""
    manifests = _manifests(settings.releases)
    quarantine = stored_files.quarantined(settings.quarantine, [entity_id])
    rows: dict[str, Sequence[Any]] = {
        **_from_database(engine, entity_id, manifests),
        "spool": [_spooled(line, manifests) for line in stored_files.spooled(settings.spool, [entity_id])],
        "quarantine": [
            {"batch": batch, **row} for batch, table in quarantine.items() for row in table.to_dict("records")
        ],
        "releases": [
            trace._asdict() for trace in stored_files.release_traces(settings.releases, [entity_id])[entity_id]
        ],
        "elsewhere": [],
    }
    return {
        "entity_id": entity_id,
        "problem": PROBLEM.name,
        "exported_at": datetime.now(UTC),
        **{name: {"about": about, "rows": rows[name]} for name, about in ABOUT.items()},
    }


def _manifests(releases: Path) -> dict[str, Manifest]:
    """Of the releases that can be read."""
    manifests = {}
    for version in release.published(releases):
        try:
            manifests[version] = release.verify(releases / version)
        except release.ReleaseRefused:  # its predictions are exported with the codes of their categories
            continue
    return manifests


def _from_database(engine: sa.Engine, entity_id: str, manifests: Mapping[str, Manifest]) -> dict[str, list[Any]]:
    tables = database_tables
    made_for = sa.select(tables.predictions.c.prediction_id).where(tables.predictions.c.entity_id == entity_id)
    queries = {
        each.name: sa.select(each).where(each.c.entity_id == entity_id)
        for each in (
            tables.entities, tables.features, tables.predictions, tables.outcomes, tables.stream_events,
            tables.dead_letters,
        )
    }  # fmt: skip
    queries["shadows"] = sa.select(tables.shadows).where(tables.shadows.c.prediction_id.in_(made_for))
    readers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "features": _online_row,
        "predictions": lambda row: _prediction(row, manifests),
        "dead_letters": lambda row: row | {"body": row["body"].decode(errors="replace")},
    }
    with exclusive_transaction(engine) as connection:
        exported = {
            name: [readers.get(name, dict)(row._asdict()) for row in connection.execute(query)]
            for name, query in queries.items()
        }
        digest = erasure.entity_hash(erasure.hash_key(connection), entity_id)
        log = sa.select(tables.decisions).where(tables.decisions.c.kind.in_(("forget", "export")))
        rows = connection.execute(log.order_by(tables.decisions.c.decision_id)).all()
        return exported | {"decisions": [row._asdict() for row in rows if digest in row.evidence.get("entities", [])]}


def _online_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the online store; a vector of other features than this code's has no names."""
    feature_set, *question = row["feature_set"].split("-")
    vector = row.pop("vector")
    texts = row.pop("texts") or {}
    if feature_set != online_store.FEATURE_SET:
        return row | {"values": np.frombuffer(vector, "<f4").tolist(), "texts": texts}
    its_question = Question(float(question[0]), int(question[1]))
    values = zip(schema.ONLINE, np.frombuffer(vector, "<f4").tolist(), strict=True)
    return row | {"values": [_described(name, texts.get(name, value), its_question) for name, value in values]}


def _prediction(row: dict[str, Any], manifests: Mapping[str, Manifest]) -> dict[str, Any]:
    """A prediction with the names, units and values of its input."""
    vector = np.frombuffer(row.pop("vector"), "<f4").tolist()
    manifest = manifests.get(row["model_version"])
    if manifest is None or len(vector) != len(manifest.features):
        return row | {"values": vector}
    values = [
        _described(name, _category(manifest, name, value), manifest.question)
        for name, value in zip(manifest.features, vector, strict=True)
    ]
    return row | {"question": schema.in_words(manifest.question), "values": values}


def _spooled(line: str, manifests: Mapping[str, Manifest]) -> dict[str, Any]:
    """A prediction of the spool; a damaged line is exported as it is."""
    try:
        row = json.loads(line)
        return _prediction({**row, "vector": base64.b64decode(row["vector"])}, manifests)
    except (ValueError, KeyError, TypeError):
        return {"line": line}


def _category(manifest: Manifest, name: str, value: float) -> float | str:
    """The text of a category's code; NaN stands for a category that is missing, or unseen in training."""
    if name not in manifest.categories or not value >= 0:
        return value
    return manifest.categories[name][int(value)]


def _described(name: str, value: float | str, question: Question) -> dict[str, Any]:
    feature = schema.BY_NAME[name]
    return {"name": name, "unit": feature.unit, "meaning": feature.meaning(question), "value": value}


def as_json(content: object) -> str:
    """JSON text: NaN as null, times as ISO 8601, bytes as hex."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if hasattr(value, "isoformat"):
        return None if value != value else value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return None if np.isnan(value) else value
    return value if value is None or isinstance(value, str | int) else str(value)


def export_entity(settings: Settings, engine: sa.Engine, entity_id: str, folder: Path) -> Path:
    """Write <folder>/<entity_id>.json, readable by its owner only, and record it. Raises ExportRefused."""
    if not re.fullmatch(ENTITY_ID, entity_id):
        raise ExportRefused(f"{entity_id!r} is not an entity_id")
    content = stored_about(settings, engine, entity_id)
    path = folder / f"{entity_id}.json"
    files.make_private_folder(folder)
    files.write_text(path, as_json(content), files.PRIVATE)
    counts = {name: len(content[name]["rows"]) for name in ABOUT if content[name]["rows"]}
    with exclusive_transaction(engine) as connection:
        digest = erasure.entity_hash(erasure.hash_key(connection), entity_id)
        reason = f"{counted(sum(counts.values()), 'row')} about one entity"
        evidence = {"entities": [digest], "rows": counts, "reason": reason}
        database.append_decision(connection, "export", "exported", evidence, actor=settings.actor)
    return path


def main(entity_id: str, folder: Path) -> None:
    try:
        settings = load_settings()
        path = export_entity(settings, database.connect(settings.database_url), entity_id, folder)
    except (BadSettings, ExportRefused, database.DatabaseRefused, locks.Busy) as error:
        sys.exit(f"export: {error}")
    print(f"export: {path}")
