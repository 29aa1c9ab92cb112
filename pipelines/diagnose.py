"""`make diagnose`: why the answers of one period are worse than the release's reference, or than another period.

    make diagnose                                       the monitor's window against the reference of the live release
    make diagnose FROM=2013-06-01 UNTIL=2013-07-01      ... of other days, the last one exclusive
    ... AGAINST_FROM=2013-05-01 AGAINST_UNTIL=2013-06-01    against what the same release answered on those days

The page is reports/diagnosis.html, the same as numbers reports/diagnosis.json.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from monitoring import diagnosis, diagnosis_words, performance, periods
from monitoring.changes import Change, Line, Period
from monitoring.diagnosis import Cause, Diagnosis
from ontime import database, environment, files, locks, operation_plots, release
from ontime.calendar import midnight
from ontime.params import Params, load_params
from ontime.release import Manifest
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines import clock, pages
from pipelines.layout import REPORTS, write_json

E = WORDS.entities
HOW = (
    "A probability says by itself what log-loss to expect: near 0 or 100 % little, near 50 % much.",
    "If those of now are harder, that expectation rises and nothing is broken: the mix, by family.",
    "What is measured beyond the expectation is a surprise; while the probabilities are right it is zero on average.",
    "The base rate's part of the surprise is what one constant, added to all answers, would have saved.",
    "What is left is the relation: the same features now mean something else, or their values are wrong.",
    "To find a family's part, those of before and now are paired, and the model is asked with every mix of families.",
    f"A family that pushes an answer up promises that such ones are {WORDS.positive} more often; its cost is the "
    "broken promise.",
    "A family that no longer moves any answer is silent; its cost is what those of before lose with such values.",
    "Of a slice the cost is what correcting its answers, as learned on every second day, saves on the other days.",
    f"From {diagnosis.STANDS_OUT:g} of log-loss a cause stands out, if its 99 % interval by days is above zero. "
    "Causes overlap (a slice, and slices within it): begin with the first.",
)


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
    live = release.load_current(settings.releases)
    engine = database.connect(settings.database_url)
    manifest = live.manifest
    if against is None:
        reference = periods.reference_of(settings, manifest)
        then, name = periods.of_reference(reference, manifest.categories), "its reference"
    else:
        then, name = _answered(engine, manifest, against), str(against)
    causes = diagnosis.diagnose(live.model, then, _answered(engine, manifest, now), params.cost, params.train.seed)
    return Report(causes, str(now), name, manifest.version)


def _answered(engine: sa.Engine, manifest: Manifest, days: Days) -> Period:
    since, until = midnight(days.start), midnight(days.until)
    rows = performance.answers(engine, since, until, manifest.label_at_least, vectors=True)
    return periods.of_answers(rows, manifest)


def write(report: Report, folder: Path) -> Path:
    """<folder>/diagnosis.json and .html; where the page is."""
    about = {"release": report.version, "now": report.now, "then": report.then}
    write_json(folder / "diagnosis.json", about | report.diagnosis.as_json())
    files.write_text(folder / "diagnosis.html", _page(report))
    return folder / "diagnosis.html"


def _page(report: Report) -> str:
    found = report.diagnosis
    return pages.document(
        f"First suspect: {found.culprits[0].name}" if found.culprits else "Nothing stands out",
        f"Release {report.version}: {found.entities[1]:,} {E} of {report.now} against {found.entities[0]:,} of "
        f"{report.then}. 95\N{NO-BREAK SPACE}% intervals by days: {E} of one day are alike.",
        pages.section("In short", pages.listed(line[0].upper() + line[1:] for line in diagnosis_words.lines(found))),
        pages.pictures(
            {
                "causes": operation_plots.causes(_rows_of_causes(found), diagnosis.STANDS_OUT),
                "change": operation_plots.parts_of_change(_rows_of_change(found.changes["log_loss"])),
            }
        ),
        pages.section("Causes", pages.paragraph(f"In log-loss, all {E} together."), _causes(found)),
        pages.section("The change, taken apart", _changes(found.changes)),
        pages.section("By slice", _slices(found)),
        pages.section("How this is found", pages.listed(HOW)),
    )


MOST_CAUSES = 8


def _rows_of_causes(found: Diagnosis) -> list[tuple[str, Line, bool]]:
    return [(cause.name, cause.cost, cause.stands_out) for cause in found.causes[:MOST_CAUSES]]


def _rows_of_change(change: Change) -> list[tuple[str, Line]]:
    families = sorted(change.families.items(), key=lambda each: -abs(each[1].value))
    return [
        ("all together", change.total),
        ("base rate", change.base_rate),
        ("the relation itself", change.relation),
        *((f"mix of {E}: {family}", line) for family, line in families),
    ]


def _causes(found: Diagnosis) -> str:
    rows = [
        (cause.name, cause.kind, diagnosis_words.interval(cause.cost, 4), ", ".join(_seen(cause)))
        for cause in found.causes
    ]
    return pages.table("Causes", ("cause", "kind", "costs, log-loss", ""), rows)


def _seen(cause: Cause) -> list[str]:
    return ["stands out"] * cause.stands_out + ["silent"] * cause.silent


def _changes(changes: Mapping[str, Change]) -> str:
    names, digits = {"log_loss": "log-loss", "cost_per_1000": f"cost of 1,000 {E}"}, {"log_loss": 4}
    parts = {name: _parts(change, digits.get(name, 1)) for name, change in changes.items()}
    rows = [(part, *(parts[name][part] for name in parts)) for part in parts["log_loss"]]
    return pages.table("The change", ("part", *(names[name] for name in parts)), rows)


def _parts(change: Change, digits: int) -> dict[str, str]:
    known = {
        f"mix of {E}": change.covariates,
        **{f"mix of {E}: {family}": line for family, line in change.families.items()},
        "base rate": change.base_rate,
        "the relation itself": change.relation,
        "all together": change.total,
    }
    return {"before": f"{change.before:.{digits}f}", "now": f"{change.after:.{digits}f}"} | {
        name: diagnosis_words.interval(line, digits) for name, line in known.items()
    }


def _slices(found: Diagnosis) -> str:
    every = found.entities[1]
    rows = [
        (f"{each.cut} {each.name}", f"{each.entities / every:.1%}", f"{each.positive_rate:.1%}",
         f"{each.predicted:.1%}",
         "" if each.before is None else f"{each.before:.4f}", f"{each.log_loss:.4f}", f"{each.expected:.4f}",
         f"{each.entities / every * (each.log_loss - each.expected):+.4f}")
        for each in found.slices
    ]  # fmt: skip
    head = ("slice", "share", WORDS.positive, "predicted", "log-loss before", "now", "expected", "adds to the surprise")
    return pages.table("By slice", head, rows)


def parse_periods(words: Sequence[str], settings: Settings, params: Params) -> tuple[Days, Days | None]:
    """The periods of the command line; by default the monitor's window, against the reference."""
    parser = argparse.ArgumentParser(prog="diagnose")
    for name in ("--from", "--until", "--against-from", "--against-until"):
        parser.add_argument(name, type=date.fromisoformat, dest=name.strip("-").replace("-", "_"))
    given = parser.parse_args(words)
    until = given.until or clock.yesterday(settings, params) + timedelta(days=1)
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
    for line in diagnosis_words.lines(report.diagnosis):
        print(f"diagnose: {line}")
    print(f"diagnose: {write(report, REPORTS)}")


if __name__ == "__main__":
    environment.settle()
    main()
