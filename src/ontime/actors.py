"""Who makes a decision: the user and machine of a process, unless ONTIME_ACTOR names someone.

Apart from settings.py, because a stage imports the database, and no setting may change what a stage computes.
"""

import getpass
import os
import platform


def system_user() -> str:
    """The user and the machine of this process, such as `ada@worker-1`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id may have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{platform.node()}"


def current_actor() -> str:
    """Who `decisions` names if a caller names no one: `Settings.actor` of this environment."""
    return os.environ.get("ONTIME_ACTOR") or system_user()
