"""`make screenshots`: the service's page with the trained release -> docs/screenshots/."""

from pathlib import Path

from ontime.settings import load_settings
from tests import browser
from tests.service import Service, running

FOLDER = Path("docs/screenshots")
FLIGHT = "/?entity=VX29-JFK-20131127T2355Z"
ANSWERED = "#answer .outcome"
SIZES = {"desktop": (1280, 1500), "phone": (390, 1900)}


def take(service: Service) -> None:
    with browser.running() as chromium:
        for device, (width, height) in SIZES.items():
            page = chromium.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
            page.goto(f"http://127.0.0.1:{service.port}{FLIGHT}")
            page.wait_for_selector(ANSWERED)
            page.screenshot(path=FOLDER / f"flight-{device}.png")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running(load_settings()) as service:
        take(service)
        service.stop()
    print(f"screenshots: {FOLDER}")


if __name__ == "__main__":
    main()
