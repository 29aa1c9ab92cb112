"""The pages as people use them, in a real browser: with a mouse, with a keyboard, on a phone, with a key."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from ontime import database, database_tables
from ontime.datasets import Tables
from ontime.declaration import span
from ontime.settings import Settings
from pipelines.operations.local_server import free_port
from serving import keys
from tests import browser
from tests.service import MORNING, Service, ServiceInThread, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.running() as started:
        yield started


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def tab(chromium: Browser, port: int) -> Page:
    """One for all tests, because a new one starts a process and compiles the scripts, which takes a second."""
    return chromium.new_page(base_url=f"http://127.0.0.1:{port}", reduced_motion="reduce")


@pytest.fixture
def service(settings: Settings, stored: pd.DataFrame, port: int) -> Iterator[Service]:
    assert len(stored)
    started = ServiceInThread(settings, port)
    yield started
    started.stop()


@pytest.fixture
def page(tab: Page, service: Service) -> Iterator[Page]:
    """An empty page; fails the test if it has logged errors or warnings."""
    assert service.get("/health/live")
    tab.context.clear_cookies()
    tab.goto("/favicon.ico")  # of the service's origin, whose storage it can clear
    tab.evaluate("localStorage.clear(); sessionStorage.clear()")
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.emulate_media(color_scheme="light")
    messages: list[str] = []
    listeners: dict[Any, Callable[[Any], None]] = {
        "console": lambda line: messages.append(line.text) if line.type in ("error", "warning") else None,
        "pageerror": lambda error: messages.append(str(error)),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield tab
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    # Chromium always logs these: 404 for a flight without an outcome, 422 for an invalid code.
    assert [line for line in messages if "404" not in line and "422" not in line] == []


@pytest.fixture
def flight(stored: pd.DataFrame, tables: Tables) -> pd.Series:
    """A flight that arrived late."""
    late = stored[stored["label"] == True]  # noqa: E712  it may be missing
    return tables["flights"].set_index("entity_id", drop=False).loc[late["entity_id"].iloc[5]]


def delay(flight: pd.Series) -> str:
    """The delay as the page displays it."""
    return span(int(flight["arr_delay_minutes"]))


def test_a_flight_is_found_scored_and_explained(page: Page, service: Service, flight: pd.Series) -> None:
    local = flight["scheduled_departure"].tz_convert("America/New_York")
    before = service.metric("ontime_predictions_total")
    page.goto("/")
    page.get_by_label("Day").fill(f"{local:%Y-%m-%d}")
    page.get_by_label("Hour", exact=True).select_option("")
    page.get_by_label("Flight number").fill(str(flight["flight_number"]))
    page.get_by_label("From", exact=True).select_option(flight["origin"])
    page.get_by_role("button", name="Find flights").click()

    page.locator(f"[data-entity='{flight['entity_id']}']").click()

    answer = page.locator("#answer")
    expect(answer.get_by_role("heading", level=2)).to_contain_text(f"{flight['carrier']} {flight['flight_number']}")
    expect(answer).to_contain_text("in 100 flights like this arrive late.")
    expect(answer).to_contain_text(f"Arrived {delay(flight)} late.")
    expect(answer).to_contain_text("raises it")
    expect(answer).to_contain_text("Track record")
    expect(answer).to_contain_text("version 1, lightgbm")
    expect(page.locator("#spoken")).to_contain_text(f"What happened: Arrived {delay(flight)} late.")
    assert service.metric("ontime_predictions_total") - before == 2  # one of them is the initial example


@pytest.mark.parametrize("link", ["UA1-EWR-20131399T9999Z", "UA\u0661-EWR-20131105T1015Z", "<b>"])
def test_a_link_to_an_unknown_flight_shows_an_error(link: str, page: Page) -> None:
    page.goto(f"/?entity={quote(link)}")

    expect(page.locator("#answer")).to_contain_text(f"The flight {link} is not in the online store.")


def test_the_page_shows_the_probability_of_the_service(page: Page, service: Service, flight: pd.Series) -> None:
    listed = service.get(f"/v1/entities?flight_number={flight['flight_number']}&limit=200")["entities"]
    chosen = next(each for each in listed if each["entity_id"] == flight["entity_id"])
    prediction = service.post("/v1/predictions", chosen["request"])

    page.goto(f"/?entity={flight['entity_id']}")

    per_hundred = round(100 * prediction["probability"])
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

    expect(page).to_have_url(re.compile("entity="))
    expect(page.locator("#answer")).to_contain_text("in 100 flights like this")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize("path", ["/", "/ops"])
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_fits_the_width_of_the_window(path: str, width: int, page: Page, flight: pd.Series) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path if path == "/ops" else f"/?entity={flight['entity_id']}")
    expect(page.get_by_text("Version 1") if path == "/ops" else page.locator("#answer .claim")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", ["/", "/ops"])
def test_a_screen_reader_can_navigate_the_page(path: str, page: Page) -> None:
    page.goto(path)

    assert page.locator("html[lang=en]").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    unlabelled = (
        "[...document.querySelectorAll('input,select')].filter(each => !each.labels.length).map(each => each.id)"
    )
    assert page.evaluate(unlabelled) == []


def test_the_operations_page_shows_releases_and_traffic(page: Page, service: Service, settings: Settings) -> None:
    service.post("/v1/predictions", [MORNING] * 3)
    engine = database.connect(settings.database_url)
    database.record_decision(engine, "gate", "reject", {"reason": "log-loss not wholly below 0"})

    page.goto("/ops")

    main = page.get_by_role("main")
    expect(main).to_contain_text("Version 1")
    expect(main).to_contain_text("on standby")
    expect(main).to_contain_text("log-loss not wholly below 0")
    expect(main).to_contain_text("in the last 60 minutes")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_prediction_is_tried_on_the_page_of_the_api(
    scheme: Literal["light", "dark"], page: Page, service: Service
) -> None:
    """The complete Swagger UI, without third-party requests or violations of the content security policy."""
    urls: list[str] = []
    before = service.metric("ontime_predictions_total")
    page.on("request", lambda request: urls.append(request.url))
    page.emulate_media(color_scheme=scheme)
    page.goto("/docs")

    page.locator("[id$=predictions_post] button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()

    responses = page.locator(".live-responses-table")
    expect(responses.locator(".response-col_status").last).to_contain_text("200")
    expect(responses).to_contain_text("UA1487-EWR-20131105T1015Z")
    page.locator("section.models button").first.click()
    assert service.metric("ontime_predictions_total") - before == 1
    assert [url for url in urls if not url.startswith(f"http://127.0.0.1:{service.port}/")] == []
    assert (page.locator("html.dark-mode").count() == 1) == (scheme == "dark")


def test_the_api_page_accepts_a_key(chromium: Browser, settings: Settings) -> None:
    path = settings.releases.parent / "keys.json"
    key = keys.add(path, "reader", ["predict"])
    with running(settings, ONTIME_API_KEYS=str(path)) as service:
        page = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}")
        page.goto("/docs")
        page.locator("[id$=predictions_post] button").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        status = page.locator(".live-responses-table .response-col_status").last
        expect(status).to_contain_text("401")

        page.locator(".btn.authorize").first.click()
        page.locator(".auth-container input").fill(key)
        page.locator(".auth-btn-wrapper .authorize").click()
        page.locator(".auth-btn-wrapper .btn-done").click()
        page.get_by_role("button", name="Execute").click()

        expect(status).to_contain_text("200")
        page.close()
        service.stop()


ALERT = {"name": "blind_features", "tier": 1, "value": 2.0, "above": 0.0, "reason": "features lost their values"}
QUALITY = {
    "since": "2013-02-06",
    "until": "2013-02-19",
    "entities": 200,
    "labelled": 150,
    "positive_rate": 0.24,
    "predicted_rate": 0.22,
    "auc": 0.7133,
    "ece": 0.0123,
    "cost_per_1000": 438.2,
}
MIDNIGHT = datetime(2013, 2, 20, 5, tzinfo=UTC)


def look(settings: Settings, alerts: list[dict[str, object]], action: str, reason: str, why: str | None = None) -> None:
    """What the monitor and the policy write at the end of a day."""
    engine = database.connect(settings.database_url)
    looked = {"day": "2013-02-19", "reason": "ok", "figures": {}, "alerts": alerts, "quality": QUALITY}
    looked |= {"why": why} if why else {}
    database.record_decision(engine, "monitor", "alert" if alerts else "ok", looked, MIDNIGHT)
    decided = {"day": "2013-02-19", "action": action, "reason": reason, "champion": "1"}
    database.record_decision(engine, "policy", action, decided, MIDNIGHT)


def open_state(state: str, page: Page, service: Service, settings: Settings, entity_id: str) -> None:
    """Open a page in a state that shows as many of its parts as possible."""
    if state == "operations":
        service.post("/v1/predictions", [MORNING] * 3)
        slices = "; ".join(f"carrier {number}: +0.0300" for number in range(22))
        look(
            settings, [ALERT, {**ALERT, "tier": 2}], "stop", f"slices get worse: {slices}", "carrier UA: no longer fits"
        )
        page.goto("/ops")
        expect(page.locator("#monitored .tier-1")).to_be_visible()
        expect(page.locator("#latency tbody tr").first).to_be_visible()
        page.get_by_role("button", name="Pause").click()
    elif state == "nothing found":
        search(page, flight_number="9999")
        expect(page.locator("#count")).to_contain_text("No flight")
    elif state == "unknown entity":
        page.goto("/?entity=unknown")
        expect(page.locator("#answer .problem")).to_be_visible()
    else:
        if state == "prediction from the request":
            forget(settings, database_tables.features, entity_id)
        page.goto(f"/?entity={entity_id}")
        expect(page.locator("#answer .claim")).to_be_visible()
        expect(page.locator("#board [data-entity]").first).to_be_visible()
    for summary in page.locator("summary").all():
        summary.click()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "state", ["prediction", "prediction from the request", "nothing found", "unknown entity", "operations"]
)
def test_a_page_has_no_fault_of_accessibility(
    state: str,
    scheme: Literal["light", "dark"],
    width: int,
    page: Page,
    service: Service,
    settings: Settings,
    flight: pd.Series,
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)

    open_state(state, page, service, settings, flight["entity_id"])

    assert browser.accessibility_faults(page) == []


def test_the_prompt_for_a_key_has_no_fault_of_accessibility(chromium: Browser, settings: Settings) -> None:
    path = settings.releases.parent / "keys.json"
    keys.add(path, "reader", ["predict"])
    with running(settings, ONTIME_API_KEYS=str(path)) as service:
        page = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}")
        page.goto("/")
        expect(page.locator("#key input")).to_be_visible()

        assert browser.accessibility_faults(page) == []
        page.close()
        service.stop()


# The colours of each text of a chart and of what lies behind it, which axe-core cannot tell for SVG.
CHART_COLOURS = """() => [...document.querySelectorAll("svg text")].map((text) => {
  let behind = text;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  return [getComputedStyle(text).fill, getComputedStyle(behind).backgroundColor];
})"""


def luminance(colour: str) -> float:
    """The relative luminance of `rgb(r, g, b)`, as WCAG 2.1 defines it."""
    shares = [int(each) / 255 for each in re.findall(r"\d+", colour)]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_texts_of_charts_have_enough_contrast(
    scheme: Literal["light", "dark"], page: Page, service: Service, settings: Settings, flight: pd.Series
) -> None:
    page.emulate_media(color_scheme=scheme)
    open_state("prediction", page, service, settings, flight["entity_id"])

    colours = page.evaluate(CHART_COLOURS)

    assert colours
    for text, behind in colours:
        darker, lighter = sorted((luminance(text), luminance(behind)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, behind)


def test_a_planted_fault_of_accessibility_is_found(page: Page) -> None:
    page.goto("/ops")
    page.evaluate(
        "document.querySelector('h1').style.color = '#ccc'; document.querySelector('#pause').textContent = ''"
    )

    assert [each.partition(":")[0] for each in browser.accessibility_faults(page)] == ["button-name", "color-contrast"]


# Notes the focused element, and whether its focus is visible. Returns false after the last one.
STOP = """() => {
  const active = document.activeElement, stops = (window.stops ??= new Map());
  // A date has several stops: the browser itself marks the one of its calendar.
  if (active === document.body || (stops.has(active) && active !== window.latest)) return false;
  stops.set(window.latest = active, stops.get(active) || getComputedStyle(active).outlineStyle !== "none");
  return true;
}"""
UNMARKED = "() => [...window.stops].filter(([, visible]) => !visible).map(([each]) => each.outerHTML)"
UNREACHED = """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
  .filter((each) => each.checkVisibility() && !each.disabled && !window.stops.has(each))
  .map((each) => each.outerHTML)"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("state", ["prediction", "operations"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    state: str, width: int, page: Page, service: Service, settings: Settings, flight: pd.Series
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_state(state, page, service, settings, flight["entity_id"])
    page.locator(".skip").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")  # a focus by a script is not marked as one by the keyboard

    for _ in range(500):
        if not page.evaluate(STOP):
            break
        page.keyboard.press("Tab")

    assert page.evaluate(UNMARKED) == []
    assert page.evaluate(UNREACHED) == []


def test_before_the_first_run_of_the_monitor_the_page_names_its_command(page: Page) -> None:
    page.goto("/ops")

    expect(page.locator("#monitored")).to_contain_text("The monitor has not run yet: make monitor")
    expect(page.locator("#links")).to_contain_text("make ui starts MLflow, Prefect and Evidently")


def test_a_calm_day_shows_the_quality_of_the_model(page: Page, settings: Settings) -> None:
    look(settings, [], "nothing", "nothing is wrong")

    page.goto("/ops")

    expect(page.locator("#answering .state")).to_have_text("ready")
    expect(page.locator("#notes")).to_have_text("No problems.")
    shown = page.locator("#monitored")
    expect(shown).to_contain_text("Last monitored day: 19 February 2013, on the feed's clock.")
    expect(shown).to_contain_text("No alert.")
    expect(shown).to_contain_text("Predictions for 200 flights from 6 February 2013 to 19 February 2013; 150 have")
    values = [text.replace("\u00a0", " ") for text in shown.locator(".value").all_inner_texts()]
    assert values == ["0.713", "0.012", "438", "75 %"]


def test_a_tier_1_alert_is_shown_everywhere(page: Page, settings: Settings) -> None:
    look(settings, [ALERT], "stop", "blind_features 2 (limit 0): the champion stays")

    page.goto("/ops")

    expect(page.locator("#answering .state")).to_have_text("ready, tier 1 alert")
    expect(page.locator("#notes")).to_contain_text("Tier 1 alert on 2013-02-19: features lost their values")
    expect(page.locator("#monitored .tier-1")).to_contain_text("Tier 1, stop")
    expect(page.locator("#monitored .finding")).to_have_text("Stop")
    expect(page.locator("#notes")).not_to_contain_text("No problems")


def test_an_alert_shows_its_cause_and_links_the_diagnosis(page: Page, settings: Settings) -> None:
    look(
        settings,
        [{**ALERT, "tier": 2, "name": "auc_shortfall"}],
        "retrain",
        "auc_shortfall",
        "carrier UA: no longer fits",
    )
    page.goto("/ops")
    expect(page.locator("#monitored")).to_contain_text("Carrier UA: no longer fitsDetails: make diagnose")

    with socket.create_server(("127.0.0.1", 0)) as shown:
        address = f"http://127.0.0.1:{shown.getsockname()[1]}/diagnosis.html"
        settings.ui_links.write_text(json.dumps({"Reports: diagnosis": address}))

        expect(page.locator("#monitored a")).to_have_attribute("href", address)


def test_the_clock_of_each_decision_is_named(page: Page, settings: Settings) -> None:
    look(settings, [], "nothing", "nothing is wrong")
    engine = database.connect(settings.database_url)
    database.record_decision(engine, "promotion", "by hand", {"reason": "requested by hand"})

    page.goto("/ops")

    rows = page.locator("#decisions tr")
    expect(rows.filter(has_text="by hand").first).to_contain_text("real clock")
    expect(rows.filter(has_text="nothing is wrong")).to_contain_text("20 Feb 2013, 05:00feed's clock")


def test_a_long_reason_is_collapsed_and_stays_open_once_expanded(page: Page, settings: Settings) -> None:
    slices = "; ".join(f"carrier {number}: +0.0300" for number in range(22))
    look(settings, [], "nothing", "nothing is wrong")
    engine = database.connect(settings.database_url)
    database.record_decision(engine, "gate", "reject", {"reason": f"slices get worse: {slices}"})
    page.goto("/ops")
    last = page.get_by_text("carrier 21: +0.0300")
    expect(last).to_be_hidden()

    page.locator("#decisions summary").click()
    database.record_decision(engine, "rollback", "from 2", {"reason": "requested by hand"})
    expect(page.locator("#decisions")).to_contain_text("from 2")

    expect(last).to_be_visible()


def test_on_a_phone_nothing_on_the_operations_page_is_cut_off(page: Page, service: Service, settings: Settings) -> None:
    service.post("/v1/predictions", [MORNING] * 3)
    look(settings, [ALERT, {**ALERT, "tier": 2}], "stop", "; ".join(["blind_features 2 (limit 0)"] * 12))
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/ops")
    expect(page.locator("#monitored .tier-1")).to_be_visible()

    cut = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(each => each.scrollWidth > each.clientWidth + 1"
        " && getComputedStyle(each).display !== 'inline' && !each.closest('svg')).map(each => each.outerHTML)"
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_lists_and_single_requests_are_shown_separately(page: Page, service: Service) -> None:
    service.post("/v1/predictions", [MORNING] * 3)
    service.post("/v1/predictions", MORNING)

    page.goto("/ops")

    expect(page.locator("#latency tbody tr")).to_have_count(2)
    expect(page.locator("#latency tbody tr").first).to_contain_text("one flight1")
    expect(page.locator("#latency tbody tr").last).to_contain_text("lists of 31")


def test_the_page_prompts_for_a_required_key(
    chromium: Browser, settings: Settings, stored: pd.DataFrame, flight: pd.Series
) -> None:
    path = settings.releases.parent / "keys.json"
    key = keys.add(path, "reader", ["predict"])
    with running(settings, ONTIME_API_KEYS=str(path)) as service:
        page = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}")
        page.goto(f"/?entity={flight['entity_id']}")
        page.locator("#key input").fill(key)
        page.keyboard.press("Enter")

        expect(page.locator("#answer")).to_contain_text("in 100 flights like this")
        page.close()
        service.stop()
    assert len(stored)


def test_the_page_first_shows_an_example_and_labels_it(chromium: Browser, service: Service) -> None:
    page = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}")  # a new one, whose history begins here
    page.goto("/")

    expect(page.locator("#answer")).to_contain_text("An example. Choose any flight from the list.")
    expect(page.locator("#answer .claim")).to_contain_text("in 100 flights like this")
    expect(page.locator("#board button[aria-current]")).to_have_count(1)
    assert page.url.endswith("/")
    assert page.evaluate("history.length") == 2  # the empty page that it began with, and this one
    page.close()


def search(page: Page, **fields: str) -> None:
    page.goto("/")
    expect(page.locator("#answer .claim")).to_be_visible()
    page.get_by_label("Hour", exact=True).select_option("")
    for field, text in fields.items():
        page.locator(f"#search [name={field}]").fill(text)
    page.get_by_role("button", name="Find flights").click()


@pytest.mark.parametrize("written", ["{code}", "{lower}", "{name}"])
def test_a_flight_is_found_by_the_code_and_by_the_name_of_its_airline(
    written: str, page: Page, flight: pd.Series
) -> None:
    code, number = flight["carrier"], flight["flight_number"]
    airline = {"B6": "JetBlue", "UA": "United", "EV": "ExpressJet", "DL": "Delta", "AA": "american airlines"}[code]
    local = flight["scheduled_departure"].tz_convert("America/New_York")

    carrier = written.format(code=code, lower=code.lower(), name=airline)
    search(page, day=f"{local:%Y-%m-%d}", carrier=carrier, flight_number=str(number))

    expect(page.locator(f"[data-entity='{flight['entity_id']}']")).to_be_visible()
    rows = page.locator("#board [data-entity]")
    assert all(f"{code}{number}-" in str(row.get_attribute("data-entity")) for row in rows.all())


@pytest.mark.parametrize("written", ["SFO", "sfo", "San Francisco Intl (SFO)", "san fran"])
def test_a_destination_is_found_by_its_name_and_by_its_code(written: str, page: Page) -> None:
    search(page, dest=written)

    rows = page.locator("#board [data-entity]")
    expect(rows.first).to_contain_text("San Francisco Intl")
    expect(rows.filter(has_text="SFO")).to_have_count(rows.count())


@pytest.mark.parametrize(
    ("field", "written", "message"),
    [
        ("dest", "Atlantis", "No match for Atlantis"),
        ("dest", "Intl", "Several match"),
        ("carrier", "Nowhere Air", "No match for Nowhere Air"),
        ("flight_number", "VX29", "No match for VX29. Enter it as in 29."),
    ],
)
def test_an_invalid_search_shows_a_message_at_its_field(field: str, written: str, message: str, page: Page) -> None:
    search(page, **{field: written})

    expect(page.locator(f"#search [name={field}]:invalid")).to_be_visible()
    assert message in page.locator(f"#search [name={field}]").evaluate("field => field.validationMessage")


def test_flights_of_several_days_are_listed_with_their_day(page: Page) -> None:
    search(page)
    expect(page.locator("#board .clock .small")).to_have_count(0)

    page.get_by_label("Day").fill("")
    page.get_by_role("button", name="Find flights").click()

    expect(page.locator("#board .clock .small").first).to_have_text(re.compile(r"^\d+ [A-Z][a-z]{2}"))


def test_on_a_phone_a_search_moves_to_its_result(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 500})
    search(page)

    expect(page.locator("#board .row").nth(1)).to_be_in_viewport()


def test_a_reader_is_told_that_the_flights_are_past_ones(page: Page) -> None:
    search(page)

    expect(page.locator("#invitation")).to_contain_text("All flights here are past ones")


def test_the_threshold_is_explained_by_the_costs(page: Page, flight: pd.Series) -> None:
    page.goto(f"/?entity={flight['entity_id']}")

    text = "alerts begin at 25 in 100; they pay if missing a late flight costs 3 times as much as a false alarm."
    expect(page.locator("#answer .verdict")).to_contain_text(text)


def test_a_code_without_a_choice_is_sent_unchanged(page: Page) -> None:
    with page.expect_request(lambda request: "dest=qqqQ" in request.url):
        search(page, dest=" qqqQ ")


def test_airlines_and_destinations_are_shown_by_name(page: Page, flight: pd.Series, tables: Tables) -> None:
    airport = tables["airports"].set_index("airport")["name"][flight["dest"]]

    page.goto(f"/?entity={flight['entity_id']}")

    expect(page.locator("#answer")).to_contain_text(f" to {airport} ({flight['dest']})")
    expect(page.locator("#board button[aria-current]")).to_contain_text(airport)
    assert page.locator("#search-dest-choices option").count() > 50
    assert page.locator("#search-carrier-choices option").count() == len(tables["airlines"])


def forget(settings: Settings, table: sa.Table, entity_id: str) -> None:
    engine = database.connect(settings.database_url)
    with engine.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.entity_id == entity_id))


def test_a_request_only_prediction_is_labelled_first(page: Page, settings: Settings, flight: pd.Series) -> None:
    forget(settings, database_tables.features, flight["entity_id"])

    page.goto(f"/?entity={flight['entity_id']}")

    answer = page.locator("#answer")
    expect(answer.locator(".claim")).to_contain_text("in 100 flights with such a timetable")
    text = answer.inner_text()
    assert text.index("Nothing is known about this flight but its timetable") < text.index("with such a timetable")
    assert "not known:" not in text.lower()
    alert = "It is not specific to this flight."
    assert (alert in text) == ("No alert" not in text)


def test_a_missing_outcome_is_shown_as_unknown(page: Page, settings: Settings, flight: pd.Series) -> None:
    forget(settings, database_tables.outcomes, flight["entity_id"])

    page.goto(f"/?entity={flight['entity_id']}")

    expect(page.locator("#answer .outcome")).to_have_text(
        "What happenedNot known yet, or never: cancelled and diverted flights have no outcome."
    )


@pytest.mark.parametrize(
    ("label", "minutes", "sentence"),
    [
        (False, -12, "Arrived 12 minutes early."),
        (False, 0, "Arrived on time, to the minute."),
        (False, 9, "Arrived 9 minutes late. That counts as on time: late begins at 15 minutes."),
        (True, 60, "Arrived 1 hour late."),
        (True, None, "Arrived late, by 15 minutes or more."),
        (False, None, "Arrived on time, or less than 15 minutes late."),
    ],
)
def test_the_outcome_is_shown_in_minutes(
    label: bool, minutes: int | None, sentence: str, page: Page, settings: Settings, service: Service, flight: pd.Series
) -> None:
    forget(settings, database_tables.outcomes, flight["entity_id"])
    known_at = flight["arrived_at"].isoformat()
    service.post(
        "/v1/outcomes",
        {"entity_id": flight["entity_id"], "label": label, "value": minutes, "known_at": known_at},
    )

    page.goto(f"/?entity={flight['entity_id']}")

    expect(page.locator("#answer .outcome")).to_contain_text(sentence)


def test_there_is_one_base_rate_and_the_reasons_begin_with_it(page: Page, flight: pd.Series) -> None:
    page.goto(f"/?entity={flight['entity_id']}")

    answer = page.locator("#answer")
    expect(answer).to_contain_text("Of all flights, 24 in 100 arrive late: the base rate.")
    expect(answer.locator(".ends").first).to_have_text("All flights, the base rate24 in 100")
    expect(answer.locator(".gauge .base")).to_contain_text("24")
    assert "usual" not in answer.inner_text()
