"""Compares the metrics of this workspace with those at a git revision, as markdown.

`python -m infra.metrics_report REVISION` (or `make metrics BASE=origin/main`). The report blocks nothing: the gate
decides, because it compares two models row by row, and a report has only their metrics.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ontime import rendering
from ontime.params import Gate, load_params

REPORTS = (Path("reports/metrics.json"), Path("reports/evaluation.json"))
TEMPLATE = Path(__file__).with_name("metrics_report.md.jinja")
HIGHER_IS_BETTER = {"auc", "average_precision"}
RENAMED = {"champion": "best"}  # in reports that earlier versions committed
ROUNDING = 1e-9  # metrics have four decimals: 0.4755 - 0.4735 is slightly above 0.002

Report = Mapping[str, Any]


class NothingToCompare(ValueError):
    """The revision has no reports; the message names it."""


def of_revision(revision: str) -> Report:
    """The committed reports of the revision. Raises NothingToCompare."""
    texts = []
    for path in REPORTS:
        command = ["git", "show", f"{revision}:{path}"]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  git, and a path of this project
        if completed.returncode != 0:
            raise NothingToCompare(f"metrics: {revision} has no {path}: {completed.stderr.strip()}")
        texts.append(completed.stdout)
    return _merged(texts)


def of_workspace() -> Report:
    return _merged([path.read_text() for path in REPORTS])


def worse(base: Report, head: Report, gate: Gate) -> Iterator[str]:
    """Each log-loss on the test period that increased by more than the gate's margin: candidates, then slices."""
    for margin, before, after in (
        (gate.margin_log_loss, _losses(base), _losses(head)),
        (gate.margin_slice_log_loss, gated_slices(base), gated_slices(head)),
    ):
        for name in _in_both(before, after):
            increase = after[name] - before[name]
            if increase > margin + ROUNDING:
                yield f"{name}: log-loss {before[name]} → {after[name]} ({increase:+.4f}, margin {margin})"


def gated_slices(report: Report) -> dict[str, float]:
    """The log-loss of each slice that is large enough for the gate."""
    return {
        f"{each.get('dimension', each.get('cut'))} {each['slice']}": each["log_loss"]  # earlier reports have `cut`
        for each in report["slices"]
        if each["gated"]
    }


def changes(base: Report, head: Report) -> Iterator[tuple[str, float, float, float, str]]:
    """The best models' metrics on the test period: name, before, after, difference, and whether that is better."""
    before, after = (each["candidates"][each["best"]]["test"] for each in (base, head))
    for metric in _in_both(before, after):
        difference = round(after[metric] - before[metric], 4)
        gain = difference if metric in HIGHER_IS_BETTER else -difference
        yield metric, before[metric], after[metric], difference, "" if gain == 0 else "better" if gain > 0 else "worse"


def render_report(base: Report, head: Report, gate: Gate, revision: str) -> str:
    removed = [*(base["candidates"].keys() - head["candidates"]), *(gated_slices(base).keys() - gated_slices(head))]
    return rendering.render(
        TEMPLATE,
        base=base,
        head=head,
        gate=gate,
        revision=revision,
        changes=changes(base, head),
        worse=list(worse(base, head, gate)),
        removed=sorted(removed),
    )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("metrics: name one revision to compare with: make metrics BASE=origin/main")
    try:
        print(render_report(of_revision(sys.argv[1]), of_workspace(), load_params().gate, sys.argv[1]), end="")
    except NothingToCompare as error:
        sys.exit(str(error))


def _merged(texts: Sequence[str]) -> Report:
    return {RENAMED.get(name, name): value for text in texts for name, value in json.loads(text).items()}


def _losses(report: Report) -> dict[str, float]:
    """The log-loss of the best model, and of each candidate by name."""
    losses = {name: each["test"]["log_loss"] for name, each in report["candidates"].items()}
    return {"the best model": losses[report["best"]], **losses}


def _in_both(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in after if name in before]


if __name__ == "__main__":
    main()
