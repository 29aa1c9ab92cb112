"""A made-up problem with nothing in it that need not be: will a patient miss an appointment?

One table, everything in the request, no lead, nothing to look up, outcomes at the end of the day, an odd time zone.
"""

from datetime import date, datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ontime.declaration import (
    Cell,
    Columns,
    Described,
    EntityRequest,
    Feature,
    Known,
    Label,
    Minute,
    Names,
    Problem,
    Question,
    Slice,
    Words,
)  # fmt: skip
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
    shown = wall(fields["at"], ZONE)
    return {
        "clinic": fields["clinic"],
        "days_ahead": fields["days_ahead"].astype(np.float64),
        "minute": minute_of_day(shown),
        "weekday": weekday(shown),
    }


def reason(name: str, value: float | str, _: Appointment, __: Names, ___: Question) -> str:
    return f"{name}: {value}"


REQUEST = Known.REQUEST, "request"
PROBLEM = Problem(
    name="tiny",
    zone=ZONE,
    request=Appointment,
    request_features=of_requests,
    features=(
        Feature("clinic", "name", "clinic", *REQUEST, categorical=True),
        Feature("days_ahead", "days", "booked so long ahead", *REQUEST),
        Feature("minute", "minute of day", "time", *REQUEST),
        Feature("weekday", "0 to 6", "day of the week", *REQUEST),
    ),
    label=Label(column="missed", known_at="closed_at", unit="yes or no", limits=(0, 1)),
    baseline=(Cell("clinic"), Cell("weekday")),
    slices=(Slice("clinic", "clinic"),),
    signs_of_life=(),
    search=(),
    words=Words(
        entity="appointment", entities="appointments", positive="missed", negative="kept", is_positive="is missed",
        are_positive="are missed", question="missed, asked {lead} before", definition="Missed is who does not come.",
        event="appointment", value="1 if missed", title="Will the patient come?", invitation="Choose an appointment.",
        footer="Nothing here is true.", population="every appointment", who_alerts="a clinic",
        request_only="Nothing is known.",
        limits=("It is made up.",), intended="tests", not_intended="anything else", without_label="none",
    ),
    describe=lambda each, _: Described(each.entity_id, each.clinic, f"At {each.at:%H:%M}."),
    outcome=lambda missed, _, __: "Missed." if missed else "Kept.",
    reason=reason,
    examples={"one": {"number": 1, "at": "2020-03-02T10:00:00+05:30", "clinic": "north", "days_ahead": 3.5}},
    example_outcome={"entity_id": "A1", "label": False, "value": 0, "known_at": "2020-03-02T18:00:00+05:30"},
    example_day=date(2020, 3, 2),
)  # fmt: skip
