"""Keys that several processes add at once are all kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import keys
from tests import ROOT

PROCESSES = 6
ADD_ON_SIGNAL = """
import sys
from pathlib import Path
from serving import keys
print("ready", flush=True)
sys.stdin.readline()
print(keys.add(Path(sys.argv[1]), sys.argv[2], ["predict"]), flush=True)
"""


@pytest.mark.slow
def test_six_keys_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    path, environment = tmp_path / "new/keys.json", {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    commands = [[sys.executable, "-c", ADD_ON_SIGNAL, str(path), f"desk{number}"] for number in range(PROCESSES)]
    processes = [
        subprocess.Popen(each, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for each in commands
    ]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * PROCESSES

    for process in processes:
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
    added = {process.communicate()[0].strip() for process in processes}

    assert {keys.key_digest(key) for key in added} == set(keys.read_keys(path).by_digest())
    assert len(added) == PROCESSES
    modes = {each.name: oct(each.stat().st_mode & 0o777) for each in (path.parent, *path.parent.iterdir())}
    assert modes == {"new": "0o700", "keys.json": "0o600", ".keys.json.lock": "0o600"}
