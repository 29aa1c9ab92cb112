"""The feature table as Feast's objects, generated from the problem's declaration: nothing here names a feature.

Feast reads this file in an environment of its own, in which pandas is older. What it imports of the library needs
pydantic, numpy and YAML only. The feature table is data/features, as the stage `features` has written it.
"""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, String

from ontime import schema
from ontime.params import load_params
from ontime.problem import PROBLEM

if not schema.ONLINE:
    raise SystemExit(f"feast: problem {PROBLEM.name} declares features of the request only: there are none to store")

question = load_params(Path(__file__).parents[2] / "params.yaml").question  # Feast changes into this folder

entity = Entity(
    name="entity",
    join_keys=["entity_id"],
    value_type=ValueType.STRING,
    description=schema.WORDS.population,
)
table = FileSource(
    name="features",
    path="../../data/features",
    timestamp_field="moment",
    description="one row for each entity, as of its prediction moment",
)
# Values depend on the question, and Feast does not know it, so it is part of the name: another question, another table.
view = FeatureView(
    name=f"online_{question.label_at_least:g}_{question.lead_minutes}",
    entities=[entity],
    source=table,
    ttl=timedelta(0),  # no limit: as in our store, a row is valid until it is replaced
    schema=[
        Field(
            name=name,
            dtype=String if name in schema.ONLINE_TEXTS else Float32,
            description=schema.BY_NAME[name].meaning(question),
            tags={"unit": schema.BY_NAME[name].unit, "family": schema.BY_NAME[name].family},
        )
        for name in schema.ONLINE
    ],
    description=schema.in_words(question),
    tags={"problem": PROBLEM.name},
)
service = FeatureService(name="model", features=[view])
