"""A minimal synthetic problem: will a patient miss an appointment?

One table, all features in the request, no lead, outcomes at the end of the day, a time zone with a half-hour offset.
"""

from datetime import date, datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ontime.declaration import (  # fmt: skip
    Cell,
    Columns,
    Described,
    EntityRequest,
    Feature,
    KnownFrom,
    Label,
    Minute,
    Names,
    Problem,
    Question,
    Slice,
    Words,
)
from ontime.times import minute_of_day, wall, weekday

ZONE = "Asia/Kolkata"


class Appointment(EntityRequest):
    number: Annotated[int, Field(ge=1)]
    at: Minute
    clinic: Literal["north", "south"]
    days_ahead: Annotated[float, Field(ge=0, le=60)]

    @property
    def entity_id(self) -> str:
        return f"A{self.number}"

    @property
    def event_at(self) -> datetime:
        return self.at


def of_requests(fields: Columns) -> Columns:
    local = wall(fields["at"], ZONE)
    return {
        "clinic": fields["clinic"],
        "days_ahead": fields["days_ahead"].astype(np.float64),
        "minute": minute_of_day(local),
        "weekday": weekday(local),
    }


def reason(name: str, value: float | str, _: Appointment, __: Names, ___: Question) -> str:
    return f"{name}: {value}"


REQUEST = KnownFrom.REQUEST, "request"
PROBLEM = Problem(
    name="tiny",
    zone=ZONE,
    request=Appointment,
    request_features=of_requests,
    features=(
        Feature("clinic", "name", "clinic", *REQUEST, categorical=True),
        Feature("days_ahead", "days", "booked this many days ahead", *REQUEST),
        Feature("minute", "minute of day", "time", *REQUEST),
        Feature("weekday", "0 to 6", "day of the week", *REQUEST),
    ),
    label=Label(column="missed", known_at="closed_at", unit="yes or no", limits=(0, 1)),
    baseline=(Cell("clinic"), Cell("weekday")),
    slices=(Slice("clinic", "clinic"),),
    freshness_checks=(),
    search=(),
    words=Words(
        entity="appointment", entities="appointments", positive="missed", negative="kept", is_positive="is missed",
        are_positive="are missed", question="missed, asked {lead} before", definition="The patient does not come.",
        event="appointment", value="1 if missed", title="Will the patient come?", invitation="Choose an appointment.",
        footer="Synthetic data.", population="every appointment", who_alerts="a clinic",
        request_only="Nothing is known.",
        limits=("The data are synthetic.",), intended="tests", not_intended="anything else", without_label="none",
    ),
    describe=lambda each, _: Described(each.entity_id, each.clinic, f"At {each.at:%H:%M}."),
    outcome=lambda missed, _, __: "Missed." if missed else "Kept.",
    reason=reason,
    examples={"one": {"number": 1, "at": "2020-03-02T10:00:00+05:30", "clinic": "north", "days_ahead": 3.5}},
    example_outcome={"entity_id": "A1", "label": False, "value": 0, "known_at": "2020-03-02T18:00:00+05:30"},
    example_day=date(2020, 3, 2),
)  # fmt: skip
