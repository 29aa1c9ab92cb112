"""API keys and their scopes. The file contains only digests, so reading it reveals no key.

`ontime key NAME SCOPE...` adds a key, records that in `decisions` and prints the key
once. A key has 256 random bits, so one round of SHA-256 is enough; unlike a password it cannot be guessed.
"""

import secrets
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ontime import database, files, locks
from ontime.settings import BadSettings, Settings, load_settings

DEFAULT_FILE = Path("var/keys.json")


class KeyScope(StrEnum):
    PREDICT = "predict"
    OUTCOMES = "outcomes"
    ADMIN = "admin"


class Key(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[KeyScope]


class Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()

    def by_digest(self) -> dict[str, Key]:
        """By digest, so that the time of a look-up reveals nothing about a key."""
        return {key.sha256: key for key in self.keys}


def key_digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> Keys:
    """Raises BadSettings if the file is missing, invalid, or contains no key."""
    try:
        keys = Keys.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadSettings(f"ONTIME_API_KEYS={path}: {error.strerror}; create it with `make key`") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise BadSettings(f"ONTIME_API_KEYS={path}: {first['msg']} at {first['loc']}") from None
    if not keys.keys:
        raise BadSettings(f"ONTIME_API_KEYS={path}: contains no key; add one with `make key`")
    return keys


def add(path: Path, name: str, scopes: Iterable[str]) -> str:
    """The new key, which cannot be read again. If the name exists, the new key replaces its old one."""
    key = f"ontime_{secrets.token_urlsafe(32)}"
    added = Key(name=name, sha256=key_digest(key), scopes=frozenset(KeyScope(scope) for scope in scopes))
    files.make_private_folder(path.parent)
    with locks.wait_and_hold(
        path.with_name(f".{path.name}.lock"), "key"
    ):  # otherwise a key that is added meanwhile would be lost
        keys = read_keys(path).keys if path.exists() else ()
        others = tuple(each for each in keys if each.name != name)
        files.write_text(path, Keys(keys=(*others, added)).model_dump_json(indent=2) + "\n", files.PRIVATE)
    return key


def create(settings: Settings, path: Path, name: str, scopes: Sequence[str]) -> str:
    """`add`, recorded in `decisions`. Raises SQLAlchemyError if that is not possible, before the key exists."""
    engine = database.connect(settings.database_url)
    is_new = not path.exists() or all(each.name != name for each in read_keys(path).keys)
    key = add(path, name, scopes)
    evidence = {"name": name, "scopes": sorted(scopes), "reason": f"key {name} with the scopes {','.join(scopes)}"}
    database.record_decision(engine, "key", "created" if is_new else "replaced", evidence, actor=settings.actor)
    return key


def main(name: str, scopes: Sequence[str]) -> None:
    try:
        settings = load_settings()
        path = settings.api_keys or DEFAULT_FILE
        print(create(settings, path, name, scopes))
    except (sa.exc.SQLAlchemyError, locks.Busy) as error:
        sys.exit(f"key: no key was created, because it could not be recorded: {str(error).partition(chr(10))[0]}")
    except ValueError as error:
        sys.exit(f"key: {str(error).partition(chr(10))[0]}; try: make key NAME=desk SCOPES=predict,outcomes")
    print(
        f"key: {name} has the scopes {','.join(scopes)}; the key is not shown again. Serve with ONTIME_API_KEYS={path}",
        file=sys.stderr,
    )
