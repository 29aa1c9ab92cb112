"""`make diagnose`: why predictions of one period are worse than the release's reference, or than another period.

    make diagnose                                       the monitor's window against the reference of the live release
    make diagnose FROM=2013-06-01 UNTIL=2013-07-01      another period, the last day exclusive
    ... AGAINST_FROM=2013-05-01 AGAINST_UNTIL=2013-06-01    against the same release's predictions for those days

Writes reports/diagnosis.html, and its numbers as reports/diagnosis.json.
"""

import json
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from monitoring import diagnosis, diagnosis_text, performance, samples
from monitoring.decomposition import Change, Difference, LabelledSample
from monitoring.diagnosis import Diagnosis
from ontime import database, files, locks, operation_plots, release, release_pointer
from ontime.local_time import midnight
from ontime.params import Params, load_params
from ontime.progress import steps
from ontime.release import Manifest
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.layout import REPORTS, write_json
from pipelines.operations import feed_clock
from pipelines.tools import pages

TEMPLATE = pages.TEMPLATES / "diagnosis.html.jinja"
MOST_CAUSES = 8  # in the figure


class DiagnosisReport(NamedTuple):
    diagnosis: Diagnosis
    now: str  # the two periods, as text
    then: str
    version: str

    def as_json(self) -> dict[str, Any]:
        return {"release": self.version, "now": self.now, "then": self.then} | self.diagnosis.as_json()


class Days(NamedTuple):
    start: date
    until: date  # exclusive

    def __str__(self) -> str:
        return f"{self.start} to {self.until - timedelta(days=1)}"


def diagnose_days(settings: Settings, params: Params, now: Days, against: Days | None) -> DiagnosisReport:
    """Raises ReleaseRefused, and TooFewDays if a period has too few days with outcomes."""
    live = release_pointer.load_live(settings.releases)
    engine = database.connect(settings.database_url)
    manifest = live.manifest
    if against is None:
        reference = samples.read_reference(settings, manifest)
        then, name = samples.from_reference(reference, manifest.categories), "its reference"
    else:
        then, name = _predictions_of(engine, manifest, against), str(against)
    recent = _predictions_of(engine, manifest, now)
    result = diagnosis.diagnose(live.model, then, recent, params.cost, params.train.seed)
    return DiagnosisReport(result, str(now), name, manifest.version)


def _predictions_of(engine: sa.Engine, manifest: Manifest, days: Days) -> LabelledSample:
    since, until = midnight(days.start), midnight(days.until)
    rows = performance.predictions_with_outcomes(engine, since, until, manifest.label_at_least, vectors=True)
    return samples.from_predictions(rows, manifest)


def write_diagnosis(report: DiagnosisReport, folder: Path) -> Path:
    """Write <folder>/diagnosis.json and .html; returns the path of the page."""
    write_json(folder / "diagnosis.json", report.as_json())
    files.write_text(folder / "diagnosis.html", _page(report))
    return folder / "diagnosis.html"


def _page(report: DiagnosisReport) -> str:
    result = report.diagnosis
    return pages.render_page(
        TEMPLATE,
        {
            "causes": operation_plots.causes(_rows_of_causes(result), diagnosis.NOTABLE_LOG_LOSS),
            "change": operation_plots.parts_of_change(_rows_of_change(result.changes["log_loss"])),
        },
        diagnosis=result,
        version=report.version,
        now=report.now,
        then=report.then,
        summary=[line[0].upper() + line[1:] for line in diagnosis_text.summary(result)],
        interval=diagnosis_text.format_interval,
        stands_out=diagnosis.NOTABLE_LOG_LOSS,
    )


def _rows_of_causes(result: Diagnosis) -> list[tuple[str, Difference, bool]]:
    return [(cause.name, cause.cost, cause.stands_out) for cause in result.causes[:MOST_CAUSES]]


def _rows_of_change(change: Change) -> list[tuple[str, Difference]]:
    families = sorted(change.families.items(), key=lambda each: -abs(each[1].value))
    return [
        ("all together", change.total),
        ("base rate", change.base_rate),
        ("concept drift", change.concept_drift),
        *((f"mix of {WORDS.entities}: {family}", line) for family, line in families),
    ]


def main(
    start: date | None = None,
    until: date | None = None,
    against_start: date | None = None,
    against_until: date | None = None,
    *,
    as_json: bool = False,
) -> None:
    """By default the monitor's window, against the release's reference."""
    settings, params = load_settings(), load_params()
    until = until or feed_clock.yesterday(settings, params) + timedelta(days=1)
    now = Days(start or until - timedelta(days=params.monitor.window_days), until)
    against = Days(against_start, against_until or now.start) if against_start else None
    try:
        for days in filter(None, (now, against)):
            if days.start >= days.until:
                raise diagnosis.TooFewDays(f"the period from {days.start} until {days.until}, exclusive, is empty")
        with steps("diagnose", 2) as begin:
            begin("reads and compares the predictions")
            report = diagnose_days(settings, params, now, against)
            begin("draws the page")
            page = write_diagnosis(report, REPORTS)
    except (release.ReleaseRefused, diagnosis.TooFewDays, locks.Busy) as error:
        sys.exit(f"diagnose: {error}")
    if as_json:
        print(json.dumps({"page": str(page), **report.as_json()}))
        return
    print(f"diagnose: release {report.version}, {report.now} against {report.then}")
    for line in diagnosis_text.summary(report.diagnosis):
        print(f"diagnose: {line}")
    print(f"diagnose: {page}")
