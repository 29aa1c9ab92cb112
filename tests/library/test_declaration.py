"""What a declaration refuses, and that each refusal names the entry."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from ontime.declaration import (
    Ablation,
    Cell,
    EntityRequest,
    FreshnessCheck,
    Minute,
    ProblemBroken,
    Question,
    Search,
    Slice,
    Time,
)
from ontime.online import request_columns
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.request_fields import arrays_of, choices_of, kind_of

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "zone": ({"zone": "Mars/Olympus"}, "zone: 'Mars/Olympus' is not an IANA time zone"),
    "a feature twice": ({"features": [*PROBLEM.features, PROBLEM.features[0]]}, "features: carrier is declared twice"),
    "baseline": ({"baseline": (Cell("huor"),)}, "baseline: huor is not a declared feature"),
    "slice": ({"slices": (Slice("colour", "colour"),)}, "slices: colour is not a declared feature"),
    "bands": (
        {"slices": (Slice("far", "distance_miles"),)},
        "slices: far needs bands, unless distance_miles is",
    ),
    "bands of text": (
        {"slices": (Slice("from", "origin", {"a": (0, 1)}),)},
        "slices: from needs bands, unless",
    ),
    "sign": (
        {"freshness_checks": (FreshnessCheck("pulse", np.isnan),)},
        "freshness_checks: pulse is not a declared feature",
    ),
    "ablation": (
        {"ablations": {"blind": Ablation(("eyes",), "")}},
        "ablations: blind: eyes is not a family of features",
    ),
    "search": ({"search": (Search("seat", "Seat"),)}, "search: seat is not a field of the request"),
    "a column of ours": (
        {"features": [*PROBLEM.features, replace(PROBLEM.features[0], name="day")]},
        "features: day is a reserved column name; choose another",
    ),
    "a gap between bands": (
        {"slices": (Slice("far", "distance_miles", {"near": (0, 500), "far": (1000, 9999)}),)},
        "slices: far: 1000 follows a band that ends at 500",
    ),
    "an empty band": (
        {"slices": (Slice("far", "distance_miles", {"near": (500, 500)}),)},
        "slices: far: the band 500 to 500 is empty",
    ),
    "limits": (
        {"label": replace(PROBLEM.label, limits=(1, 1))},
        "label: limits: 1 to 1 is empty; the lower limit must be less",
    ),
    "a template": (
        {"words": replace(PROBLEM.words, question="{at_leest} or more")},
        "words: question: KeyError: 'at_leest'",
    ),
    "a template where no question is known": (
        {"words": replace(PROBLEM.words, title="Late by {at_least}?")},
        "words: title: 'Late by {at_least}?' has a placeholder, but is shown without a question",
    ),
    "a search that is asked already": (
        {"search": (Search("day", "Day"),)},
        "search: day is a parameter of every search; remove it",
    ),
    "an example outcome": (
        {"example_outcome": {"entity_id": "a", "label": 1, "known_at": "2013-11-05T12:00:00Z"}},
        "example_outcome: label must be a bool, not 1",
    ),
    "an example that is no JSON": (
        {
            "examples": {
                "one": {
                    **PROBLEM.examples["a morning flight"],
                    "scheduled_departure": datetime(2013, 11, 5, tzinfo=UTC),
                }
            }
        },
        "examples: one: is not JSON, which has times as text",
    ),
    "features of the request": (
        {"request_features": lambda fields: {"carrier": fields["carrier"]}},
        "request_features: distance_miles is declared with KnownFrom.REQUEST, but not returned",
    ),
    "a feature that nobody declares": (
        {"request_features": lambda fields: {**PROBLEM.request_features(fields), "luck": fields["carrier"]}},
        "request_features: luck is returned, but not declared with KnownFrom.REQUEST",
    ),
    "a request function that fails": (
        {"request_features": lambda fields: {"carrier": fields["airline"]}},
        "request_features: KeyError: 'airline'",
    ),
    "a reason that fails": ({"reason": lambda name, *_: {}[name]}, "reason: carrier: KeyError: 'carrier'"),
    "a list of nothing": (
        {"search": (Search("flight_number", "Number", choices=True),)},
        "search: flight_number cannot have choices: it must be a str, a bool or a Literal",
    ),
    "no example": ({"examples": {}}, "examples: is empty; add at least one request"),
    "example": (
        {"examples": {"one": {**PROBLEM.examples["a morning flight"], "origin": "SFO"}}},
        "examples: one: origin: Input should be 'EWR', 'JFK' or 'LGA'",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_entry_that_cannot_be_is_named(kind: str) -> None:
    changed, message = WRONG[kind]

    with pytest.raises(ProblemBroken) as refused:
        replace(PROBLEM, **changed)

    assert str(refused.value).splitlines()[0] == "problem flights:"
    assert message in str(refused.value)


def test_every_wrong_entry_is_told_at_once() -> None:
    with pytest.raises(ProblemBroken) as refused:
        replace(PROBLEM, zone="Mars/Olympus", baseline=(Cell("huor"),))

    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"entities": "passengers"}, "entities: passengers is not a declared table"),
        ({"entities": "planes"}, "tables: planes has no moment; set it to the column of the event time"),
        (
            {"known_errors": (replace(DATA.known_errors[0], table="crews"),)},
            "known_errors: cancelled: crews is not a declared table",
        ),
        ({"known_errors": (DATA.known_errors[0], DATA.known_errors[0])}, "known_errors: two rules have the same name"),
        (
            {"known_errors": (replace(DATA.known_errors[0], action="repaired", emptied=()),)},
            'is "repaired" if it has `emptied`',
        ),
        ({"drift_of": {"planes": ("seats",)}}, "drift_of: planes is not a table with a moment"),
        (
            {"day_columns": (replace(DATA.day_columns[0], table="planes"),)},
            "day_columns: wind: planes is not a table with a moment",
        ),
        ({"day_columns": (DATA.day_columns[0], DATA.day_columns[0])}, "day_columns: two have the same name"),
        ({"online_features": None}, "online_features: is missing, but [a-z0-9_]+ is not computed from the request"),
        ({"tables": (*DATA.tables, DATA.tables[0])}, "tables: two have the same name"),
        ({"profile": None}, "profile: is missing, but flights has measured columns"),
        (
            {"datasets": {"cold": replace(DATA.datasets["flights-2013"], blind_features=("distance_miles",))}},
            "datasets: cold: blind_features: distance_miles is not an online feature",
        ),
        (
            {"known_errors": (replace(DATA.known_errors[0], table="planes", emptied=("seats",)),)},
            "cancelled: `emptied` needs days, but planes",
        ),
    ],
)
def test_data_that_do_not_hold_together_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemBroken, match=message):
        replace(DATA, **changed)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, str), (int | None, int), (Annotated[int, Field(ge=1)], int), (Literal["a", "b"], str),
        (Literal[1, 2], int),
        (bool, bool), (Annotated[float, Field(gt=0)] | None, float), (Minute, datetime), (datetime | None, datetime),
    ],
)  # fmt: skip
def test_the_kind_of_a_field_is_plain(annotation: Any, kind: type) -> None:
    assert kind_of(annotation) is kind


@pytest.mark.parametrize("annotation", [list[int], dict, bytes])
def test_a_field_of_another_kind_is_refused(annotation: Any) -> None:
    with pytest.raises(ProblemBroken, match="a field of a request is a str, int, float, bool or datetime, not"):
        kind_of(annotation)


def test_fields_of_requests_are_arrays_in_utc() -> None:
    flights = [PROBLEM.request.model_validate_json(_json(body)) for body in PROBLEM.examples.values()]

    fields = request_columns(flights)

    assert fields["scheduled_departure"].dtype == np.dtype("datetime64[us]")
    assert str(fields["scheduled_departure"][0]) == "2013-11-05T10:15:00.000000"
    assert (fields["carrier"].tolist(), fields["distance_miles"].tolist()) == (["UA", "VX"], [1400, 2586])


class Reading(EntityRequest):
    at: Time


@pytest.mark.parametrize(
    ("text", "in_utc"),
    [
        ("2099-12-31T23:59:59.999999Z", "2099-12-31T23:59:59.999999"),
        ("2000-01-01T05:30:00.000001+05:30", "2000-01-01T00:00:00.000001"),
        ("2013-11-05T06:00:00-05:00", "2013-11-05T11:00:00.000000"),
    ],
)
def test_a_time_of_a_request_keeps_its_microseconds(text: str, in_utc: str) -> None:
    fields = arrays_of([Reading.model_validate({"at": text})], {"at": datetime})

    assert fields["at"].astype(str).tolist() == [in_utc]


def _json(body: Any) -> str:
    import json

    return json.dumps(body)


def test_the_terms_of_a_question_are_what_templates_name() -> None:
    assert Question(15, 120).terms == {"at_least": "15", "span": "15 minutes", "lead": "2 hours"}
    assert Question(0.5, 0).terms["at_least"] == "0.5"


@pytest.mark.parametrize(
    ("annotation", "choices"),
    [
        (Literal["a", "b"], ("a", "b")),
        (Literal[3, 5] | None, (3, 5)),
        (Annotated[Literal["a", None], Field(description="one")], ("a",)),
        (bool | None, (False, True)),
        (str | None, ()),
        (int, ()),
    ],
)
def test_the_choices_of_a_field_are_those_that_its_annotation_lists(annotation: Any, choices: tuple[Any, ...]) -> None:
    assert choices_of(annotation) == choices


class Optional(EntityRequest):
    """A whole number and a time that may be missing, which a table cannot hold."""

    seats: int | None = None
    left_at: Minute | None = None
    note: str | None = None


@pytest.mark.parametrize("field", ["seats", "left_at"])
def test_what_a_table_cannot_hold_a_gap_of_is_refused(field: str) -> None:
    with pytest.raises(ProblemBroken, match=rf"request: {field}: only a str or a float may be optional"):
        replace(PROBLEM, request=Optional)
