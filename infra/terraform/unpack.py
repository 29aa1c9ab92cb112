"""The first container of each task: makes files of what Secrets Manager handed to ECS, and hands over the folders.

    FILES='{"name": "content"}' python unpack.py FOLDER_OF_THE_FILES FOLDER...

ECS can hand a secret over in an environment variable only, and Fargate makes shared folders that belong to root. So
this runs as root, for a second, with the secret in its environment; the programs after it run as nobody special and
find files. Sent along in the task's definition (service.tf), where nothing but Python's own library is at hand.
"""

import json
import os
import sys
from pathlib import Path

OWNER = int(os.environ.get("OWNER", "10001"))  # the images' user


def unpack(files: dict[str, str], folder: Path) -> None:
    """Raises ValueError for a name that leads out of the folder."""
    for name, content in files.items():
        if Path(name).name != name:
            raise ValueError(f"{name} is no file's name")
        (folder / name).touch(0o600)
        (folder / name).write_text(content)
        os.chown(folder / name, OWNER, OWNER)


if __name__ == "__main__":
    secrets, *shared = map(Path, sys.argv[1:])
    unpack(json.loads(os.environ["FILES"]), secrets)
    for folder in shared:
        os.chown(folder, OWNER, OWNER)
