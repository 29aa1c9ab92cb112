"""`make export`: everything that is stored about an entity, decoded and explained."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ontime import database, release, schema
from ontime.datasets import Tables
from ontime.settings import Settings
from pipelines.tools import entity_export, forget
from pipelines.tools.entity_export import ABOUT, ExportRefused
from tests.governed import governed, prediction, stopped_service


def test_every_part_is_exported_with_its_explanation(
    on_both: Settings, weeks: pd.DataFrame, tables: Tables, tmp_path: Path
) -> None:
    world = governed(on_both, weeks, tables, tmp_path)
    stopped_service(world.settings, prediction(7, world.erased), prediction(8, world.other))

    path = entity_export.export_entity(world.settings, world.engine, world.erased, tmp_path / "exports")
    content = json.loads(path.read_text())

    counts = {name: len(content[name]["rows"]) for name in ABOUT}
    assert counts == {
        "entities": 1, "features": 1, "predictions": 2, "shadows": 2, "outcomes": 1,
        "stream_events": 1, "dead_letters": 1, "spool": 1, "quarantine": 1,
        "releases": 2, "decisions": 0, "elsewhere": 0,
    }  # fmt: skip
    assert all(content[name]["about"] == about for name, about in ABOUT.items())
    assert world.other not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    world.engine.dispose()


def test_vectors_are_decoded_to_names_units_and_categories(
    on_both: Settings, weeks: pd.DataFrame, tables: Tables, tmp_path: Path
) -> None:
    world = governed(on_both, weeks, tables, tmp_path)

    content = json.loads(
        entity_export.export_entity(world.settings, world.engine, world.erased, tmp_path / "exports").read_text()
    )

    manifest = release.verify(world.settings.releases / "1")
    values = {each["name"]: each for each in content["predictions"]["rows"][0]["values"]}
    category = schema.CATEGORICAL[0]
    assert list(values) == list(schema.FEATURE_NAMES)
    assert values[category]["value"] == manifest.categories[category][0]
    assert values["temp_f"] == {
        "name": "temp_f",
        "unit": schema.BY_NAME["temp_f"].unit,
        "meaning": schema.BY_NAME["temp_f"].meaning(manifest.question),
        "value": 2.0,
    }
    online = {each["name"]: each for each in content["features"]["rows"][0]["values"]}
    assert list(online) == list(schema.ONLINE)
    assert online["temp_f"]["value"] == pytest.approx(
        weeks.set_index("entity_id").loc[world.erased, "temp_f"], rel=1e-6
    )
    world.engine.dispose()


def test_an_export_is_recorded_and_shown_by_the_next_one_also_after_an_erasure(
    on_both: Settings, weeks: pd.DataFrame, tables: Tables, tmp_path: Path
) -> None:
    world = governed(on_both, weeks, tables, tmp_path)
    entity_export.export_entity(world.settings, world.engine, world.erased, tmp_path)
    forget.forget(world.settings, world.engine, [world.erased], "a request")

    path = entity_export.export_entity(world.settings, world.engine, world.erased, tmp_path)

    content = json.loads(path.read_text())
    row = database.last_decision(world.engine, "export")
    assert row is not None
    assert (row.verdict, row.actor) == ("exported", "ada@desk")
    assert world.erased not in json.dumps(row.evidence)
    assert [each["kind"] for each in content["decisions"]["rows"]] == ["export", "forget"]
    assert not any(content[name]["rows"] for name in ABOUT if name not in ("decisions", "releases"))
    world.engine.dispose()


def test_an_id_that_is_no_file_name_is_refused(settings: Settings, tmp_path: Path) -> None:
    engine = database.connect(settings.database_url)

    with pytest.raises(ExportRefused, match=r"'\.\./a' is not an entity_id"):
        entity_export.export_entity(settings, engine, "../a", tmp_path)
