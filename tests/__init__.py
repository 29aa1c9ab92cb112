"""The tests of the generic code run on one problem, whatever this project predicts: on flights, its first one.

After `make adopt`, flights are in tests/reference. The tests in tests/problem and tests/repository test the problem in
src/ontime/problem, and a process can load only one: `pytest` ignores them, and `pytest tests/problem` runs them.
`make test` does both.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests/reference"
PARAMS_YAML = (REFERENCE if REFERENCE.is_dir() else ROOT) / "params.yaml"
OF_THIS_PROBLEM = ("tests/problem", "tests/repository")

if REFERENCE.is_dir() and not any(word.startswith(OF_THIS_PROBLEM) for word in sys.argv[1:]):
    os.environ.setdefault("ONTIME_PROBLEM", str(REFERENCE / "problem"))


# The problem under test, and the keys that sign the releases of the tests.
REMAINING = ("ONTIME_PROBLEM", "ONTIME_SIGNING_KEY", "ONTIME_TRUSTED_KEYS")


def without_settings() -> dict[str, str]:
    """The environment without our settings, except for the REMAINING ones."""
    return {name: value for name, value in os.environ.items() if name in REMAINING or not name.startswith("ONTIME_")}
