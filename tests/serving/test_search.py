"""Every declared search field can be searched, and its choices are listed."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from ontime.declaration import EntityRequest, Names, Search
from serving import search


class Visit(EntityRequest):
    ward: Literal[3, 5] | None = None
    urgent: bool
    floor: int | None = None
    clinic: str

    @property
    def entity_id(self) -> str:
        return "V1"

    @property
    def event_at(self) -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC)


SEARCH = {name: Search(name, name, choices=name != "floor") for name in Visit.model_fields}


@pytest.fixture(autouse=True)
def visits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the problem were about visits: a search uses only the request and the search fields."""
    monkeypatch.setattr(search, "PROBLEM", SimpleNamespace(request=Visit, search=tuple(SEARCH.values())))


@pytest.mark.parametrize(
    ("field", "names", "only", "choices"),
    [
        ("ward", {}, True, [("3", "3"), ("5", "5")]),
        ("ward", {"ward": {"3": "Surgery"}}, True, [("3", "Surgery"), ("5", "5")]),
        ("urgent", {}, True, [("false", "false"), ("true", "true")]),
        ("clinic", {"clinic": {"n": "North"}}, True, [("n", "North")]),
        ("clinic", {}, False, []),
        ("floor", {}, False, []),
    ],
)
def test_the_choices_of_a_field_are_its_literals_or_its_names(
    field: str, names: Names, only: bool, choices: list[tuple[str, str]]
) -> None:
    shown = search._field(SEARCH[field], names)

    assert (shown.only_choices, [(each.value, each.name) for each in shown.choices]) == (only, choices)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [("ward", "3", 3), ("urgent", "false", False), ("floor", "-2", -2), ("floor", "123456789012", 123456789012)],
)
def test_the_text_of_a_query_is_parsed_as_the_type_of_its_field(field: str, text: str, value: Any) -> None:
    assert TypeAdapter(search._type_of(field)).validate_python(text) == value


@pytest.mark.parametrize("text", ["-", "1_0", "--2", "9" * 19])
def test_an_invalid_integer_is_rejected(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a whole number, in digits"):
        TypeAdapter(search._type_of("floor")).validate_python(text)
