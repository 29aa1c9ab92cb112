"""`ontime audit`: verifies the hash chain of `decisions`, and writes the decisions as a table.

    ontime audit                        every decision, on stdout and as var/audit.html
    ontime audit --head 5f2c0e9d71ab    ... and whether the head that was noted earlier is still in the chain

The exit status is 1 if a row was changed, deleted, inserted or moved. docs/governance.md says what a chain does not
prove.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from ontime import database, decision_chain, files, locks
from ontime.counts import counted
from ontime.decision_chain import Break
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.tools import pages

TEMPLATE = pages.TEMPLATES / "audit.html.jinja"
PAGE = Path("var/audit.html")
DIGEST_SHOWN = 12  # characters


class DecisionLine(NamedTuple):
    """A decision as it is shown to people."""

    decision_id: int
    time: str
    clock: str
    kind: str
    verdict: str
    actor: str
    reason: str
    digest: str

    @classmethod
    def of(cls, row: sa.Row[Any]) -> "DecisionLine":
        evidence = row.evidence
        details = (f"{name} {value}" for name, value in evidence.items() if name != database.CLOCK)
        reason = evidence.get("reason") or ", ".join(details)
        version = f"release {evidence['version']}: " if "version" in evidence else ""
        return cls(
            row.decision_id,
            f"{row.decided_at:%Y-%m-%d %H:%M:%S}",
            database.FEED if evidence.get(database.CLOCK) == database.FEED else "real",
            row.kind,
            row.verdict,
            row.actor or "not recorded",
            f"{version}{reason}"[:300],
            (row.chain or "none")[:DIGEST_SHOWN],
        )


class Audit(NamedTuple):
    lines: list[DecisionLine]
    breaks: list[Break]
    head: str
    noted_head: str | None
    noted_id: int | None  # the row that the noted head is the digest of; None: there is no such row

    @property
    def is_intact(self) -> bool:
        return not self.breaks and (self.noted_head is None or self.noted_id is not None)

    def findings(self) -> list[str]:
        """The result in sentences; the last one has the head."""
        sentences = [f"row {each.decision_id} {each.reason}" for each in self.breaks]
        if self.noted_head is not None:
            sentences.append(
                f"no row has the noted head {self.noted_head}: rows at the end were deleted, or the chain was computed "
                "again"
                if self.noted_id is None
                else f"row {self.noted_id} has the noted head, {counted(len(self.lines), 'row')} in all"
            )
        if not self.breaks:
            sentences.append(f"{counted(len(self.lines), 'decision')}, each continues the one before it")
        return [*sentences, f"head {self.head}: note it outside of this database; make audit HEAD={self.head}"]


def audit(engine: sa.Engine, noted_head: str | None = None) -> Audit:
    rows = decision_chain.all_rows(engine)
    heads = ((row.decision_id, row.chain or "") for row in rows)
    noted_id = next((each for each, digest in heads if noted_head and digest.startswith(noted_head)), None)
    lines = [DecisionLine.of(row) for row in rows]
    return Audit(lines, decision_chain.breaks(rows), decision_chain.head(rows), noted_head, noted_id)


def write_audit(result: Audit, path: Path) -> None:
    broken = {each.decision_id for each in result.breaks}
    newest_first = list(reversed(result.lines))
    files.write_text(
        path,
        pages.render_page(TEMPLATE, {}, audit=result, findings=result.findings(), rows=newest_first, broken=broken),
    )


def run(settings: Settings, noted_head: str | None = None, *, as_json: bool = False) -> Audit:
    """Verify the chain and print it; writes PAGE."""
    result = audit(database.connect(settings.database_url), noted_head)
    write_audit(result, PAGE)
    if as_json:
        decisions = [each._asdict() for each in result.lines]
        summary = {"is_intact": result.is_intact, "head": result.head, "findings": result.findings()}
        print(json.dumps({**summary, "decisions": decisions}, default=str))
        return result
    for line in result.lines:
        print(
            f"{line.decision_id:>6}  {line.time}  {line.kind:<10}  {line.verdict:<14}  {line.actor:<24}  "
            f"{line.digest}  {line.reason}"
        )
    for sentence in result.findings():
        print(f"audit: {sentence}")
    print(f"audit: {PAGE}")
    return result


def main(noted_head: str | None = None, *, as_json: bool = False) -> None:
    try:
        result = run(load_settings(), noted_head, as_json=as_json)
    except (BadSettings, database.DatabaseRefused, locks.Busy) as error:
        sys.exit(f"audit: {error}")
    sys.exit(0 if result.is_intact else 1)
