"""Folders that the workers of an engine read and write: local ones, or copies in ONTIME_SHARED_STORAGE, by fsspec.

That is an address such as `s3://bucket/prefix`, or a mounted folder. Workers on other machines need it. S3 takes its
endpoint and keys from the usual variables: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pandas as pd

from ontime import files
from ontime.refusal import Refusal
from ontime.settings import load_settings

Place = Path | str  # a local folder, or the address of one


class StorageRefused(Refusal):
    """The shared storage cannot be read or written."""


@contextmanager
def shared(inputs: Mapping[str, Path], outputs: Path | None = None) -> Iterator[dict[str, Place]]:
    """The places of `inputs`, and of `outputs` under that name, as all workers reach them.

    In shared storage the inputs are copied first, what the workers wrote is copied into `outputs` at the end, and both
    copies are deleted. Raises StorageRefused.
    """
    address = load_settings().shared_storage
    folders = {**inputs, **({} if outputs is None else {"outputs": outputs})}
    if address is None:
        yield {name: folder.resolve() for name, folder in folders.items()}
        return
    system, root = filesystem(address)
    run = f"{root}/ontime-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
    try:
        with _refusing(address):
            for name, folder in inputs.items():
                system.put(f"{folder}/", f"{run}/{name}/", recursive=True)
        yield {name: system.unstrip_protocol(f"{run}/{name}") for name in folders}
        if outputs is not None:
            with _refusing(address):
                system.get(f"{run}/outputs/", f"{outputs}/", recursive=True)
    finally:
        with _refusing(address):
            if system.exists(run):
                system.rm(run, recursive=True)


@contextmanager
def _refusing(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # s3fs raises S3's errors as OSError
        raise StorageRefused(f"ONTIME_SHARED_STORAGE={address}: {error}") from error


@contextmanager
def local_copy(place: Place) -> Iterator[Path]:
    """A local folder with the name and the files of a place: itself, or a temporary copy."""
    if isinstance(place, Path):
        yield place
        return
    system, root = filesystem(place)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, PurePosixPath(root).name)
        system.get(f"{root}/", f"{folder}/", recursive=True)
        yield folder


def read_text(place: Place, name: str) -> str:
    """Raises FileNotFoundError."""
    if isinstance(place, Path):
        return (place / name).read_text(encoding="utf-8")
    system, root = filesystem(place)
    return system.cat_file(f"{root}/{name}").decode("utf-8")


def read_parquet(place: Place, name: str, **options: Any) -> pd.DataFrame:
    """`options` as in `pandas.read_parquet`. Raises FileNotFoundError."""
    if isinstance(place, Path):
        return pd.read_parquet(place / name, **options)
    system, root = filesystem(place)
    return pd.read_parquet(f"{root}/{name}", filesystem=system, **options)


def write_parquet(table: pd.DataFrame, place: Place, name: str) -> None:
    """Write a file that is either complete or not there."""
    if isinstance(place, Path):
        with files.replacing(place / name) as temporary:
            table.to_parquet(temporary, index=False)
        return
    system, root = filesystem(place)
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        table.to_parquet(path, index=False)
        system.put_file(str(path), f"{root}/{name}")


def filesystem(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    import fsspec  # here, because hardly any run needs it

    # A bucket has no folders; in a mounted one they must be created.
    options = {"auto_mkdir": True} if fsspec.utils.get_protocol(address) in ("file", "local") else {}
    try:
        system, root = fsspec.core.url_to_fs(address, **options)
    except (ImportError, ValueError) as error:
        raise StorageRefused(f"ONTIME_SHARED_STORAGE={address}: {error}") from None
    return system, str(root).rstrip("/")
