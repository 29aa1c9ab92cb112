"""`make diagnose`: why the answers of one period are worse than the release's reference, or than another period.

    make diagnose                                       the monitor's window against the reference of the live release
    make diagnose FROM=2013-06-01 UNTIL=2013-07-01      ... of other days, the last one exclusive
    ... AGAINST_FROM=2013-05-01 AGAINST_UNTIL=2013-06-01    against what the same release answered on those days

The page is reports/diagnosis.html, the same as numbers reports/diagnosis.json.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from monitoring import diagnosis, diagnosis_text, performance, samples
from monitoring.decomposition import Change, Difference, LabelledSample
from monitoring.diagnosis import Diagnosis
from ontime import database, environment, files, locks, operation_plots, release, release_pointer
from ontime.local_time import midnight
from ontime.params import Params, load_params
from ontime.release import Manifest
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.layout import REPORTS, write_json
from pipelines.operations import feed_clock
from pipelines.tools import pages

E = WORDS.entities
TEMPLATE = pages.TEMPLATES / "diagnosis.html.jinja"


class Report(NamedTuple):
    diagnosis: Diagnosis
    now: str  # the periods, in words
    then: str
    version: str


class Days(NamedTuple):
    start: date
    until: date  # exclusive

    def __str__(self) -> str:
        return f"{self.start} to {self.until - timedelta(days=1)}"


def diagnosed(settings: Settings, params: Params, now: Days, against: Days | None) -> Report:
    """Raises ReleaseRefused, and TooFewDays where a period has too few days with outcomes."""
    live = release_pointer.load_live(settings.releases)
    engine = database.connect(settings.database_url)
    manifest = live.manifest
    if against is None:
        reference = samples.read_reference(settings, manifest)
        then, name = samples.from_reference(reference, manifest.categories), "its reference"
    else:
        then, name = _answered(engine, manifest, against), str(against)
    causes = diagnosis.diagnose(live.model, then, _answered(engine, manifest, now), params.cost, params.train.seed)
    return Report(causes, str(now), name, manifest.version)


def _answered(engine: sa.Engine, manifest: Manifest, days: Days) -> LabelledSample:
    since, until = midnight(days.start), midnight(days.until)
    rows = performance.predictions_with_outcomes(engine, since, until, manifest.label_at_least, vectors=True)
    return samples.from_predictions(rows, manifest)


def write(report: Report, folder: Path) -> Path:
    """<folder>/diagnosis.json and .html; where the page is."""
    about = {"release": report.version, "now": report.now, "then": report.then}
    write_json(folder / "diagnosis.json", about | report.diagnosis.as_json())
    files.write_text(folder / "diagnosis.html", _page(report))
    return folder / "diagnosis.html"


def _page(report: Report) -> str:
    found = report.diagnosis
    return pages.page(
        TEMPLATE,
        {
            "causes": operation_plots.causes(_rows_of_causes(found), diagnosis.NOTABLE_LOG_LOSS),
            "change": operation_plots.parts_of_change(_rows_of_change(found.changes["log_loss"])),
        },
        found=found,
        version=report.version,
        now=report.now,
        then=report.then,
        summary=[line[0].upper() + line[1:] for line in diagnosis_text.summary(found)],
        interval=diagnosis_text.format_interval,
        stands_out=diagnosis.NOTABLE_LOG_LOSS,
    )


MOST_CAUSES = 8


def _rows_of_causes(found: Diagnosis) -> list[tuple[str, Difference, bool]]:
    return [(cause.name, cause.cost, cause.stands_out) for cause in found.causes[:MOST_CAUSES]]


def _rows_of_change(change: Change) -> list[tuple[str, Difference]]:
    families = sorted(change.families.items(), key=lambda each: -abs(each[1].value))
    return [
        ("all together", change.total),
        ("base rate", change.base_rate),
        ("the relation itself", change.relation),
        *((f"mix of {E}: {family}", line) for family, line in families),
    ]


def parse_periods(words: Sequence[str], settings: Settings, params: Params) -> tuple[Days, Days | None]:
    """The periods of the command line; by default the monitor's window, against the reference."""
    parser = argparse.ArgumentParser(prog="diagnose")
    for name in ("--from", "--until", "--against-from", "--against-until"):
        parser.add_argument(name, type=date.fromisoformat, dest=name.strip("-").replace("-", "_"))
    given = parser.parse_args(words)
    until = given.until or feed_clock.yesterday(settings, params) + timedelta(days=1)
    start = vars(given)["from"] or until - timedelta(days=params.monitor.window_days)
    if given.against_until and not given.against_from:
        parser.error("AGAINST_UNTIL= needs AGAINST_FROM=")
    against = Days(given.against_from, given.against_until or start) if given.against_from else None
    for days in filter(None, (Days(start, until), against)):
        if days.start >= days.until:
            parser.error(f"there is no day from {days.start} until {days.until}, which is exclusive")
    return Days(start, until), against


def main() -> None:
    settings, params = load_settings(), load_params()
    now, against = parse_periods(sys.argv[1:], settings, params)
    try:
        report = diagnosed(settings, params, now, against)
    except (release.ReleaseRefused, diagnosis.TooFewDays, locks.Busy) as refused:
        sys.exit(f"diagnose: {refused}")
    print(f"diagnose: release {report.version}, {report.now} against {report.then}")
    for line in diagnosis_text.summary(report.diagnosis):
        print(f"diagnose: {line}")
    print(f"diagnose: {write(report, REPORTS)}")


if __name__ == "__main__":
    environment.enforce()
    main()
