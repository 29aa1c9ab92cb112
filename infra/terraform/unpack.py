"""The first container of each task: writes secrets from an environment variable to files.

    FILES='{"name": "content"}' python unpack.py SECRETS_FOLDER FOLDER...

ECS passes secrets as environment variables only, and on Fargate shared folders belong to root. So this runs briefly as
root, with the secrets in its environment, and changes the folders' owner; the other containers run unprivileged and
read files. The task definition (service.tf) contains this script, so it uses the standard library only.
"""

import json
import os
import sys
from pathlib import Path

OWNER = int(os.environ.get("OWNER", "10001"))  # the images' user


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write the files for the images' user. Raises ValueError for a name with a path."""
    for name, content in files.items():
        if Path(name).name != name:
            raise ValueError(f"{name} is not a file name")
        (folder / name).touch(0o600)
        (folder / name).write_text(content)
        os.chown(folder / name, OWNER, OWNER)


if __name__ == "__main__":
    secrets, *shared = map(Path, sys.argv[1:])
    write_files(json.loads(os.environ["FILES"]), secrets)
    for folder in shared:
        os.chown(folder, OWNER, OWNER)
