"""What a change does to the metrics: the reports of a git revision beside those of this workspace, as markdown.

`python -m infra.metrics_report REVISION` (or `make metrics BASE=origin/main`). It tells and refuses nothing: what may
answer is for the gate to decide, which compares two models row by row. Here only two sets of figures are left.
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
ROUNDING = 1e-9  # figures have four decimals: 0.4755 less 0.4735 is 0.002 and a little

Report = Mapping[str, Any]


class NothingToCompare(ValueError):
    """The revision has no reports; the message names it."""


def of_revision(revision: str) -> Report:
    """The reports as git keeps them there. Raises NothingToCompare."""
    texts = []
    for path in REPORTS:
        command = ["git", "show", f"{revision}:{path}"]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  git, and a file of ours
        if completed.returncode != 0:
            raise NothingToCompare(f"metrics: {revision} has no {path}: {completed.stderr.strip()}")
        texts.append(completed.stdout)
    return _merged(texts)


def of_workspace() -> Report:
    return _merged([path.read_text() for path in REPORTS])


def worse(base: Report, head: Report, gate: Gate) -> Iterator[str]:
    """Each log-loss on the test period that grew by more than the gate's margin: of candidates, then of slices."""
    for margin, before, after in (
        (gate.margin_log_loss, _losses(base), _losses(head)),
        (gate.margin_slice_log_loss, gated_slices(base), gated_slices(head)),
    ):
        for name in _in_both(before, after):
            grew = after[name] - before[name]
            if grew > margin + ROUNDING:
                yield f"{name}: log-loss {before[name]} → {after[name]} ({grew:+.4f}, margin {margin})"


def gated_slices(report: Report) -> dict[str, float]:
    """The log-loss of each slice that is large enough for the gate."""
    return {f"{each['cut']} {each['slice']}": each["log_loss"] for each in report["slices"] if each["gated"]}


def changes(base: Report, head: Report) -> Iterator[tuple[str, float, float, float, str]]:
    """The champions' figures on the test period: metric, before, after, difference, and whether that is better."""
    before, after = (each["candidates"][each["champion"]]["test"] for each in (base, head))
    for metric in _in_both(before, after):
        difference = round(after[metric] - before[metric], 4)
        gain = difference if metric in HIGHER_IS_BETTER else -difference
        yield metric, before[metric], after[metric], difference, "" if gain == 0 else "better" if gain > 0 else "worse"


def page(base: Report, head: Report, gate: Gate, revision: str) -> str:
    gone = [*(base["candidates"].keys() - head["candidates"]), *(gated_slices(base).keys() - gated_slices(head))]
    return rendering.render(
        TEMPLATE,
        base=base,
        head=head,
        gate=gate,
        revision=revision,
        changes=changes(base, head),
        worse=list(worse(base, head, gate)),
        gone=sorted(gone),
    )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("metrics: beside which revision? make metrics BASE=origin/main")
    try:
        print(page(of_revision(sys.argv[1]), of_workspace(), load_params().gate, sys.argv[1]), end="")
    except NothingToCompare as error:
        sys.exit(str(error))


def _merged(texts: Sequence[str]) -> Report:
    return {name: value for text in texts for name, value in json.loads(text).items()}


def _losses(report: Report) -> dict[str, float]:
    """Of the champion, whoever it is, and of each candidate by name."""
    losses = {name: each["test"]["log_loss"] for name, each in report["candidates"].items()}
    return {"the champion": losses[report["champion"]], **losses}


def _in_both(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in after if name in before]


if __name__ == "__main__":
    main()
