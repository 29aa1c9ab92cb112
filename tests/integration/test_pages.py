"""The pages as people use them, in a real browser: with a mouse, with a keyboard, on a phone, with a key."""

import re
from collections.abc import Iterator

import pandas as pd
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from ontime import database
from ontime.settings import Settings
from ontime.sources import Tables
from serving import examples, keys
from tests import browser
from tests.service import Service, running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.running() as started:
        yield started


@pytest.fixture
def service(settings: Settings, stored: pd.DataFrame) -> Iterator[Service]:
    assert len(stored)
    with running(settings) as started:
        yield started
        started.stop()


@pytest.fixture
def page(chromium: Browser, service: Service) -> Iterator[Page]:
    """A page that has nothing to complain of when the test is over."""
    opened = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}", reduced_motion="reduce")
    complaints: list[str] = []
    opened.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    opened.close()
    # A flight without an outcome answers 404, which Chromium writes into the console whatever the page does with it.
    assert [line for line in complaints if "404" not in line] == []


@pytest.fixture
def flight(stored: pd.DataFrame, tables: Tables) -> pd.Series:
    """One that arrived late."""
    late = stored[stored["late"] == True]  # noqa: E712  it may be missing
    return tables.flights.set_index("flight_id", drop=False).loc[late["flight_id"].iloc[5]]


def delay(flight: pd.Series) -> str:
    """As the page writes it, with a space that does not break."""
    minutes = int(flight["arr_delay_minutes"])
    hours = minutes % 60 == 0
    count, unit = (minutes // 60, "hour") if hours else (minutes, "minute")
    return f"{count}\u00a0{unit}{'' if count == 1 else 's'}"


def test_a_flight_is_found_asked_and_explained(page: Page, service: Service, flight: pd.Series) -> None:
    local = flight["scheduled_departure"].tz_convert("America/New_York")
    page.goto("/")
    page.get_by_label("Day").fill(f"{local:%Y-%m-%d}")
    page.get_by_label("Departure hour").select_option("")
    page.get_by_role("combobox", name="Flight").fill(str(flight["flight_number"]))
    page.get_by_label("From", exact=True).select_option(flight["origin"])
    page.get_by_role("button", name="Find flights").click()

    page.locator(f"[data-flight='{flight['flight_id']}']").click()

    answer = page.locator("#answer")
    expect(answer.get_by_role("heading", level=2)).to_contain_text(f"{flight['carrier']} {flight['flight_number']}")
    expect(answer).to_contain_text("in 100 flights like this arrive late.")
    expect(answer).to_contain_text(f"Arrived {delay(flight)} late.")
    expect(answer).to_contain_text("raises it")
    expect(answer).to_contain_text("Track record")
    expect(answer).to_contain_text("version 1, lightgbm")
    expect(page.locator("#spoken")).to_contain_text(f"What happened: Arrived {delay(flight)} late.")
    assert service.metric("ontime_predictions_total") == 2  # the example of the first sight is one


def test_the_chance_shown_is_the_one_the_service_gives(page: Page, service: Service, flight: pd.Series) -> None:
    listed = service.get(f"/v1/flights?number={flight['flight_number']}&limit=200")["flights"]
    chosen = next(each for each in listed if each["flight_id"] == flight["flight_id"])
    told = service.post("/v1/predictions", {name: chosen[name] for name in chosen if name != "flight_id"})

    page.goto(f"/?flight={flight['flight_id']}")

    per_hundred = round(100 * told["probability_late"])
    expect(page.locator("#answer .claim")).to_contain_text(f"{per_hundred} in 100 flights like this")


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#board button").first).to_be_visible()

    expect(page.locator("#answer .claim")).to_be_visible()  # of the example

    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#board button')"):
            break
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile("flight="))
    expect(page.locator("#answer")).to_contain_text("in 100 flights like this")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize("path", ["/", "/ops"])
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_nothing_sticks_out_of_the_window(path: str, width: int, page: Page, flight: pd.Series) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path if path == "/ops" else f"/?flight={flight['flight_id']}")
    expect(page.get_by_text("Version 1") if path == "/ops" else page.locator("#answer .claim")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", ["/", "/ops"])
def test_a_screen_reader_finds_its_way(path: str, page: Page) -> None:
    page.goto(path)

    assert page.locator("html[lang=en]").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    unlabelled = (
        "[...document.querySelectorAll('input,select')].filter(each => !each.labels.length).map(each => each.id)"
    )
    assert page.evaluate(unlabelled) == []


def test_the_operations_page_shows_what_happens(page: Page, service: Service, settings: Settings) -> None:
    service.post("/v1/predictions", [examples.MORNING] * 3)
    engine = database.connect(settings.database_url.get_secret_value())
    database.record_decision(engine, "gate", "keep", {"reason": "the interval reaches above zero"})

    page.goto("/ops")

    main = page.get_by_role("main")
    expect(main).to_contain_text("Version 1")
    expect(main).to_contain_text("stands by")
    expect(main).to_contain_text("the interval reaches above zero")
    expect(main).to_contain_text("in the last 60 minutes")


def test_a_service_that_asks_for_keys_gets_one_from_the_reader(
    chromium: Browser, settings: Settings, stored: pd.DataFrame, flight: pd.Series
) -> None:
    path = settings.releases.parent / "keys.json"
    key = keys.add(path, "reader", ["predict"])
    with running(settings, ONTIME_API_KEYS=str(path)) as service:
        page = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}")
        page.goto(f"/?flight={flight['flight_id']}")
        page.locator("#key input").fill(key)
        page.keyboard.press("Enter")

        expect(page.locator("#answer")).to_contain_text("in 100 flights like this")
        page.close()
        service.stop()
    assert len(stored)


def test_at_first_sight_an_example_is_shown_and_said_to_be_one(page: Page) -> None:
    page.goto("/")

    expect(page.locator("#answer")).to_contain_text("An example. Choose any flight from the list.")
    expect(page.locator("#answer .claim")).to_contain_text("in 100 flights like this")
    expect(page.locator("#board button[aria-current]")).to_have_count(1)
    assert page.url.endswith("/")
    assert page.evaluate("history.length") == 2  # the empty page that the browser began with, and this one


def search(page: Page, **fields: str) -> None:
    page.goto("/")
    expect(page.locator("#answer .claim")).to_be_visible()
    page.get_by_label("Departure hour").select_option("")
    for field, text in fields.items():
        page.locator(f"#search [name={field}]").fill(text)
    page.get_by_role("button", name="Find flights").click()


@pytest.mark.parametrize("written", ["{c} {n}", "{c}{n}", "{lower}-{n}", "{name} {n}", "{n}"])
def test_a_flight_is_found_however_its_number_is_written(written: str, page: Page, flight: pd.Series) -> None:
    code, number = flight["carrier"], flight["flight_number"]
    airline = {"B6": "JetBlue", "UA": "United", "EV": "ExpressJet", "DL": "Delta", "AA": "american airlines"}[code]
    local = flight["scheduled_departure"].tz_convert("America/New_York")

    search(page, day=f"{local:%Y-%m-%d}", flight=written.format(c=code, lower=code.lower(), n=number, name=airline))

    expect(page.locator(f"[data-flight='{flight['flight_id']}']")).to_be_visible()
    rows = page.locator("#board [data-flight]")
    assert all(f"{number}-" in str(row.get_attribute("data-flight")) for row in rows.all())


@pytest.mark.parametrize("written", ["SFO", "sfo", "San Francisco Intl (SFO)", "san fran"])
def test_a_destination_is_found_by_its_name_and_by_its_code(written: str, page: Page) -> None:
    search(page, dest=written)

    rows = page.locator("#board [data-flight]")
    expect(rows.first).to_contain_text("San Francisco Intl")
    expect(rows.filter(has_text="SFO")).to_have_count(rows.count())


@pytest.mark.parametrize(
    ("field", "written", "said"),
    [
        ("dest", "Atlantis", "No destination is called Atlantis"),
        ("dest", "Intl", "That fits"),
        ("flight", "Nowhere Air 29", "Nowhere Air 29 is no flight"),
    ],
)
def test_what_the_page_does_not_understand_it_says_at_its_field(
    field: str, written: str, said: str, page: Page
) -> None:
    search(page, **{field: written})

    assert said in page.locator(f"#{field}").evaluate("field => field.validationMessage")


def test_airlines_and_destinations_are_told_by_name(page: Page, flight: pd.Series, tables: Tables) -> None:
    airport = tables.airports.set_index("airport")["name"][flight["dest"]]

    page.goto(f"/?flight={flight['flight_id']}")

    expect(page.locator("#answer")).to_contain_text(f" to {airport} ({flight['dest']})")
    expect(page.locator("#board button[aria-current]")).to_contain_text(airport)
    assert page.locator("#destinations option").count() > 50
    assert page.locator("#airlines option").count() == len(tables.airlines)


def forget(settings: Settings, table: sa.Table, flight_id: str) -> None:
    engine = database.connect(settings.database_url.get_secret_value())
    with engine.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.flight_id == flight_id))


def test_of_a_flight_about_which_nothing_is_known_that_is_said_first(
    page: Page, settings: Settings, flight: pd.Series
) -> None:
    forget(settings, database.features, flight["flight_id"])

    page.goto(f"/?flight={flight['flight_id']}")

    answer = page.locator("#answer")
    expect(answer.locator(".claim")).to_contain_text("in 100 flights with such a timetable")
    text = answer.inner_text()
    assert text.index("Nothing is known about this flight but its timetable") < text.index("with such a timetable")
    assert "not known:" not in text.lower()
    alert = "It says nothing about this flight in particular."
    assert (alert in text) == ("No alert" not in text)


def test_an_outcome_that_is_not_known_is_said_to_be_unknown(page: Page, settings: Settings, flight: pd.Series) -> None:
    forget(settings, database.outcomes, flight["flight_id"])

    page.goto(f"/?flight={flight['flight_id']}")

    expect(page.locator("#answer .outcome")).to_contain_text("Not known yet.")


@pytest.mark.parametrize(
    ("late", "minutes", "said"),
    [
        (False, -12, "Arrived 12\u00a0minutes early."),
        (False, 0, "Arrived on time, to the minute."),
        (False, 9, "Arrived 9\u00a0minutes late. That counts as on time: late begins at 15\u00a0minutes."),
        (True, 60, "Arrived 1\u00a0hour late."),
        (True, None, "Arrived late, by 15\u00a0minutes or more."),
        (False, None, "Arrived on time, or less than 15\u00a0minutes late."),
    ],
)
def test_what_happened_is_told_in_minutes(
    late: bool, minutes: int | None, said: str, page: Page, settings: Settings, service: Service, flight: pd.Series
) -> None:
    forget(settings, database.outcomes, flight["flight_id"])
    known_at = flight["arrived_at"].isoformat()
    service.post(
        "/v1/outcomes",
        {"flight_id": flight["flight_id"], "late": late, "delay_minutes": minutes, "known_at": known_at},
    )

    page.goto(f"/?flight={flight['flight_id']}")

    expect(page.locator("#answer .outcome")).to_contain_text(said)


def test_there_is_one_base_rate_and_the_reasons_begin_with_it(page: Page, flight: pd.Series) -> None:
    page.goto(f"/?flight={flight['flight_id']}")

    answer = page.locator("#answer")
    expect(answer).to_contain_text("Of all flights, 24 in 100 do: the base rate.")
    expect(answer.locator(".ends").first).to_have_text("All flights, the base rate24 in 100")
    expect(answer.locator(".gauge .base")).to_contain_text("24")
    assert "usual" not in answer.inner_text()
