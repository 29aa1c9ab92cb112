"""The examples in docstrings, run as doctests."""

import doctest
from importlib import import_module
from pathlib import Path

from tests import ROOT


def modules_with_examples(*folders: str) -> list[str]:
    """The dotted names of the modules below `folders` that have an example."""
    files = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [_module_of(path) for path in files if ">>>" in path.read_text()]


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("src.")


def run_examples(module: str) -> doctest.TestResults:
    return doctest.testmod(import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
