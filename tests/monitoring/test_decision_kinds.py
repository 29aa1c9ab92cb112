"""docs/monitoring.md lists every kind of row in the table `decisions`, with the verdicts that the code writes."""

import ast
import re
from collections import defaultdict

from monitoring.policy import Action
from pipelines.operations import transition_log
from pipelines.operations.transition_log import CHALLENGE, PROMOTION, ROLLBACK, Move
from tests import ROOT
from tests.repository.test_rules import OUR_CODE

CAUSES = [value for name, value in vars(transition_log).items() if name.startswith("BY_")] + [
    transition_log.FORCED,
    transition_log.INTERRUPTED,
]
MOVES = (Move(PROMOTION, "2"), Move(ROLLBACK, "1", left="2"), Move(CHALLENGE, "2", 0.1), Move(CHALLENGE, "2"))
NUMBERS = {"from 2": "from <version>", "share 0.1": "share <share>"}


def documented() -> dict[str, set[str]]:
    """The verdicts of each kind, from the table on the page."""
    rows = re.findall(r"^\| `([\w ]+)` \| (.*?) \|", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE)
    return {kind: set(re.findall(r"`(.*?)`", verdicts)) for kind, verdicts in rows}


def written() -> dict[str, set[str]]:
    """The verdicts of each kind, from the calls that record a decision."""
    verdicts: dict[str, set[str]] = defaultdict(set)
    for path in OUR_CODE:
        tree = ast.parse(path.read_text())
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            function, arguments = ast.unparse(call.func), call.args
            if function.endswith(("record_decision", "append_decision")) and isinstance(arguments[1], ast.Constant):
                verdicts[str(arguments[1].value)] |= texts(arguments[2], tree)
    monitor = ast.parse((ROOT / "pipelines/operations/monitor.py").read_text())
    verdicts["monitor"] = texts(ast.Name("verdict"), monitor)
    verdicts["policy"] = {*Action}
    for move in MOVES:
        for cause in CAUSES:
            verdict = move.verdict(cause)
            verdicts[move.kind].add(NUMBERS.get(verdict, verdict))
    return dict(verdicts)


def texts(node: ast.expr, tree: ast.Module) -> set[str]:
    """The texts that an expression may have: a constant, a choice of them, or a variable to which they are assigned."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=first, orelse=second):
            return texts(first, tree) | texts(second, tree)
        case ast.Name(id=name):
            return {
                text
                for assignment in ast.walk(tree)
                if isinstance(assignment, ast.Assign) and ast.unparse(assignment.targets[0]) == name
                for text in texts(assignment.value, tree)
            }
    return set()


def test_the_page_lists_each_kind_of_decision_with_its_verdicts() -> None:
    assert documented() == written()
