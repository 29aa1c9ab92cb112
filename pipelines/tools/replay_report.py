"""The page of a replay: reports/replay.json -> reports/replay.html and its figures in reports/replay/.

python -m pipelines.tools.replay_report reports/replay.json
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontime import conformal, environment, figures, files, operation_plots
from ontime.figures import Picture
from pipelines.layout import read_json, replacing_folder
from pipelines.tools import pages
from pipelines.tools.replay_numbers import SYSTEMS

TEMPLATE = pages.TEMPLATES / "replay.html.jinja"


def write_page(path: Path) -> Path:
    """Write the page and the figures of <name>.json beside it, and return the path of the page."""
    numbers = read_json(path)
    pictures = _pictures(numbers)
    with replacing_folder(path.with_suffix("")) as folder:
        for name, picture in pictures.items():
            figures.save(picture, folder / f"{name}.png")
    files.write_text(path.with_suffix(".html"), _page(numbers, pictures))
    return path.with_suffix(".html")


def _pictures(numbers: Mapping[str, Any]) -> dict[str, Picture]:
    return {
        "auc": operation_plots.replay_auc(numbers["months"], SYSTEMS),
        "cost": operation_plots.replay_cost(numbers["months"], SYSTEMS),
        "loop": operation_plots.replay_timeline(
            numbers["timeline"], numbers["days"], numbers["from"], numbers["until"]
        ),
    }


def _page(numbers: Mapping[str, Any], pictures: Mapping[str, Picture]) -> str:
    return pages.render_page(
        TEMPLATE,
        pictures,
        replay=numbers,
        systems=SYSTEMS,
        alerts=_alerts(numbers),
        confidence=conformal.CONFIDENCE,
    )


def _alerts(numbers: Mapping[str, Any]) -> list[tuple[int, str, int, str, str, float]]:
    """For each alert: tier, name, number of days, first day, last day, highest value."""
    raised: dict[tuple[int, str], list[tuple[str, float]]] = {}
    for day in numbers["days"]:
        for alert in day["alerts"]:
            raised.setdefault((alert["tier"], alert["name"]), []).append((day["day"], alert["value"]))
    return [
        (tier, name, len(days), days[0][0], days[-1][0], max(value for _, value in days))
        for (tier, name), days in sorted(raised.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="replay_report")
    parser.add_argument("path", type=Path, metavar="reports/replay.json")
    path = parser.parse_args().path
    if not path.is_file():
        sys.exit(f"replay_report: {path} does not exist; `make replay` writes it")
    print(f"replay_report: {write_page(path)}")


if __name__ == "__main__":
    environment.enforce()
    main()
