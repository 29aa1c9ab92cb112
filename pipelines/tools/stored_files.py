"""What files hold about an entity: the spool, quarantined batches, and releases."""

import fcntl
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ontime import erasure, files, release, split
from ontime.datasets import KEY
from ontime.settings import REJECTED, SPOOL_FILES
from pipelines.layout import write_table


class ReleaseTrace(NamedTuple):
    """What a release holds about an entity; both stay, because a release is never changed."""

    version: str
    is_trained_on: bool = False
    has_probe: bool = False
    is_readable: bool = True

    def __str__(self) -> str:
        if not self.is_readable:
            return f"release {self.version} cannot be read, so it may have been trained on it"
        traces = ["was trained on it"] * self.is_trained_on + [f"has it in {release.PROBE}"] * self.has_probe
        return f"release {self.version} {' and '.join(traces)}"


class FilteredSpool(NamedTuple):
    """Predictions removed from files of stopped services; those in files of running services go when these drain."""

    removed: int
    waiting: int


def spooled(folder: Path, entity_ids: Collection[str]) -> list[str]:
    """The lines about these entities: predictions that wait for the database, and damaged lines."""
    lines = (line for path in _spool_files(folder) for line in _lines_of(path) if _mentions(line, entity_ids))
    return [line.decode(errors="replace").strip() for line in lines]


def spooled_predictions(folder: Path, entity_ids: Collection[str]) -> set[str]:
    """The ids of the predictions about these entities in the spool."""
    return {each for line in spooled(folder, entity_ids) for each in re.findall(r'"prediction_id":\s*"(\w+)"', line)}


def remove_spooled(folder: Path, entity_ids: Collection[str]) -> FilteredSpool:
    """Remove the lines about these entities from the files of stopped services, and from rejected lines.

    The file of a running service is locked by it, and stays: the service drops these predictions when it writes the
    file to the database (ontime.erasure.remaining_predictions).
    """
    removed = waiting = 0
    for path in _spool_files(folder):
        with _locked_if_orphaned(path) as is_orphan:
            lines = _lines_of(path)
            remaining = [line for line in lines if not _mentions(line, entity_ids)]
            if not is_orphan:
                waiting += len(lines) - len(remaining)
            elif len(remaining) < len(lines):
                with files.replacing(path) as temporary:
                    temporary.write_bytes(b"".join(remaining))
                removed += len(lines) - len(remaining)
    return FilteredSpool(removed, waiting)


def _spool_files(folder: Path) -> list[Path]:
    return [*sorted(folder.glob(SPOOL_FILES)), *sorted(folder.glob(f"{REJECTED}/{SPOOL_FILES}"))]


def _mentions(line: bytes, entity_ids: Collection[str]) -> bool:
    """Whether a line has one of the ids as a value. Read as text, because the line may be damaged, or be quoted."""
    text = line.decode(errors="replace").replace('\\"', '"')
    return any(f'"{entity_id}"' in text for entity_id in entity_ids)


def _lines_of(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:  # a service has drained it meanwhile
        return []


@contextmanager
def _locked_if_orphaned(path: Path) -> Iterator[bool]:
    """Whether no running service has locked the file; inside this block none can, as in serving/spool.py."""
    try:
        file = path.open("rb+")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield path.exists()


def quarantined(folder: Path, entity_ids: Collection[str]) -> dict[str, pd.DataFrame]:
    """The quarantined rows of these entities, by the name of the batch."""
    rows = {path.stem: _rows_of(pd.read_parquet(path), entity_ids) for path in sorted(folder.glob("*.parquet"))}
    return {name: table for name, table in rows.items() if len(table)}


def _rows_of(table: pd.DataFrame, entity_ids: Collection[str]) -> pd.DataFrame:
    return table[table[KEY].isin(list(entity_ids))] if KEY in table else table.head(0)


def remove_quarantined(folder: Path, entity_ids: Collection[str]) -> int:
    """Remove these entities from quarantined batches, and their ids from the texts with the reasons."""
    removed = 0
    for path in sorted(folder.glob("*.parquet")):
        table = pd.read_parquet(path)
        rows = _rows_of(table, entity_ids)
        if len(rows):
            write_table(table.drop(index=rows.index), path)
            removed += len(rows)
    for path in sorted(folder.glob("*.txt")):
        before = path.read_text(encoding="utf-8")
        text = erasure.without_ids(before, entity_ids)
        if text != before:
            files.write_text(path, text)
    return removed


def release_traces(releases: Path, entity_ids: Collection[str]) -> dict[str, list[ReleaseTrace]]:
    """By entity, the published releases that were trained on it, have it as a probe, or cannot be read."""
    traces: dict[str, list[ReleaseTrace]] = {entity_id: [] for entity_id in entity_ids}
    keys = dict(zip(entity_ids, split.row_keys(pd.Series(list(entity_ids))), strict=True))
    for version in release.published(releases):
        try:
            trained_on = release.trained_on(releases, version)
            probes = release.PROBES.validate_json((releases / version / release.PROBE).read_bytes())
        except release.ReleaseRefused:  # made by other code, or damaged: an erasure must not wait for its repair
            for of_entity in traces.values():
                of_entity.append(ReleaseTrace(version, is_readable=False))
            continue
        probed = {probe.entity.entity_id for probe in probes}
        for entity_id, of_entity in traces.items():
            trace = ReleaseTrace(version, bool((trained_on == keys[entity_id]).any()), entity_id in probed)
            if trace.is_trained_on or trace.has_probe:
                of_entity.append(trace)
    return traces
