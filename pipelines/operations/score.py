"""Scores files of any size: `ontime score rows.csv --to scored.parquet`.

The input is a csv or parquet file, or a folder of them, with the columns of a request; others are ignored. Rows are
checked one by one, by the service's own declaration; invalid ones are written to a csv file beside the output.
Features are looked up in the online store as the service does, or built from the tables in `history`, as of each row's
prediction moment. The probabilities are those of the service, bit for bit.

The memory does not grow with the input: it is scored in parts, which lie in `<output>.parts/` until all are there.
After an interruption the same command continues with the next part. The output is written to a temporary file, which is
then renamed.
"""

import csv
import gc
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from ontime import batch_scoring, database, features, files, locks, partitions, release, release_pointer
from ontime.batch_scoring import LookUp, Scored
from ontime.datasets import KEY
from ontime.declaration import EntityRequest
from ontime.online import OnlineRow
from ontime.online_store import Stored
from ontime.params import FeatureParams, load_params
from ontime.progress import progress_bar
from ontime.release import Release
from ontime.schema import WORDS
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.layout import read_tables, write_json
from pipelines.operations import score_input
from pipelines.operations.score_input import Chunk, NotScored

SCHEMA = pa.schema(
    [
        ("file", pa.string()), ("row", pa.int64()), ("entity_id", pa.string()), ("probability", pa.float32()),
        ("alert", pa.bool_()), ("model_version", pa.string()), ("features", pa.string()),
        ("features_as_of", pa.timestamp("us", "UTC")), ("flags", pa.list_(pa.string())),
    ]
)  # fmt: skip
LOCK = ".lock"
REASONS = pa.field("reasons", pa.string())  # JSON, as in the service's response


class Options(NamedTuple):
    """`version`: None for the live release. `history`: None for the online store. `log`: also into `predictions`."""

    version: str | None = None
    history: Path | None = None
    reasons: bool = False
    strict: bool = False
    log: bool = False


class Result(NamedTuple):
    scored: int
    without_features: int  # of these, from the request alone
    rejected: int
    reused_parts: int  # of an interrupted run
    seconds: float
    rejections: Path | None

    def __str__(self) -> str:
        text = f"{self.scored:,} {WORDS.entities} in {self.seconds:.1f} s"
        if self.without_features:
            text += f", {self.without_features:,} of them without features (flag request_only)"
        if self.reused_parts:
            text += f", continued after {self.reused_parts} parts"
        return f"{text}; {self.rejected:,} rows rejected: {self.rejections}" if self.rejected else text


def from_history(folder: Path, params: FeatureParams, released: Release) -> LookUp:
    """Builds features from tables in the layout of data/validated, in which the scored entities have rows.

    It reads the rows around the chunk, so the memory is bounded if the input is sorted by time.
    """
    question = released.manifest.question
    if params.lead_minutes != question.lead_minutes:
        raise NotScored(
            f"params.yaml has lead_minutes {params.lead_minutes}, release {released.manifest.version} was trained with "
            f"{question.lead_minutes}"
        )

    def build(entities: Sequence[EntityRequest]) -> dict[str, Stored]:
        times = [entity.event_at for entity in entities]
        start, end = min(times), max(times) + timedelta(microseconds=1)
        tables = read_tables(folder, partitions.window(start, end, params))
        built = features.build(tables, start, end, params, question)
        built = built[built[KEY].isin([entity.entity_id for entity in entities])]
        vectors, texts = features.online_of(built)
        moments = built["moment"].dt.to_pydatetime()
        rows = zip(built[KEY], moments, vectors, texts, strict=True)
        return {key: Stored(moment, OnlineRow(vector, text)) for key, moment, vector, text in rows}

    return build


class Plan(NamedTuple):
    """What identifies a run: a run with the same plan continues with its parts."""

    files: list[list[Any]]  # path, size, time of the last change
    release: str
    manifest_sha256: str
    options: list[Any]


def plan_of(paths: Sequence[Path], released: Release, settings: Settings, options: Options) -> Plan:
    version = released.manifest.version
    digest = files.digest(settings.releases / version / release.MANIFEST)
    changes = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    return Plan(changes, version, digest, [str(options.history), *options[2:], score_input.CHUNK_ROWS])


def score_files(settings: Settings, source: Path, output: Path, options: Options) -> Result:
    """Raises NotScored, ReleaseRefused, OSError, and DatabaseRefused or SQLAlchemyError of the online store."""
    started, paths = time.monotonic(), score_input.input_files(source)
    if output.exists():
        raise NotScored(f"{output} exists: move it away first")
    if output.suffix != ".parquet":
        raise NotScored(f"{output} does not end with .parquet")
    version = options.version or release_pointer.require_pointer(settings.releases).version
    released = release.load(settings.releases, version)
    # Only what is needed is connected: features from history need no database.
    if options.history:
        look_up = from_history(options.history, load_params().features, released)
    else:
        engine = database.connect(settings.database_url)
        look_up = batch_scoring.from_online_store(engine, released.manifest.question)
    log_engine = database.connect(settings.database_url) if options.log else None
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    with locks.hold(parts / LOCK, "ontime score"):
        begun_at = _begin(parts, plan_of(paths, released, settings, options))
        with _without_garbage_collection():
            reused = _score_parts(paths, ScoringRun(parts, begun_at, released, look_up, options, log_engine))
        rejections = _join_rejected(parts, output.with_suffix(".rejected.csv"))
        scored, without_features = _join_scored(parts, output)
        shutil.rmtree(parts)
    return Result(scored, without_features, rejections.rows, reused, time.monotonic() - started, rejections.path)


def _begin(parts: Path, plan: Plan) -> datetime:
    """Keep the parts of a run with the same plan, and delete those of another; returns when the run began."""
    path, content = parts / "plan.json", json.loads(json.dumps(plan))
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["plan"] == content:
            return datetime.fromisoformat(before["begun_at"])
        for each in parts.iterdir():
            if each.name != LOCK:
                each.unlink()
    begun_at = datetime.now(UTC)
    write_json(path, {"plan": content, "begun_at": begun_at.isoformat()})
    return begun_at


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Automatic collections would search each chunk's requests again and again: `_score_parts` collects after each."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


class ScoringRun(NamedTuple):
    parts: Path
    begun_at: datetime
    released: Release
    look_up: LookUp
    options: Options
    log_engine: sa.Engine | None  # None: the predictions are not logged


def _score_parts(paths: Sequence[Path], run: ScoringRun) -> int:
    """Write each part that is not there yet; returns the number of those that were."""
    reused, number = 0, 0
    with progress_bar(total=sum(score_input.rows_in(path) for path in paths), desc="score", unit="rows") as bar:
        for path in paths:
            for chunk in score_input.chunks_of(path):
                if (run.parts / f"{number:06}.parquet").exists():
                    reused += 1
                else:
                    _score_part(chunk, number, run)
                    gc.collect()
                number += 1
                bar.update(len(chunk.numbers) + len(chunk.unreadable))
    return reused


def _score_part(chunk: Chunk, number: int, run: ScoringRun) -> None:
    """Write the rejected rows, the log and last the part, so that a part that exists is complete."""
    places, requests, rejected = batch_scoring.requests_of(chunk.records)
    lines = [(chunk.file, row, "", reason, "") for row, reason in chunk.unreadable]
    lines += [(chunk.file, chunk.numbers[each.place], each.field, each.reason, each.value) for each in rejected]
    lines.sort(key=lambda line: line[1])
    if lines and run.options.strict:
        file, row, *about = lines[0]
        raise NotScored(f"{file}, row {row}: {': '.join(filter(None, about))}")
    part = run.parts / f"{number:06}.parquet"
    _write_rejected(part.with_suffix(".rejected"), lines)
    schema = SCHEMA.append(REASONS) if run.options.reasons else SCHEMA
    if not requests:
        table = schema.empty_table()
    else:
        scored = batch_scoring.score_requests(run.released, requests, run.look_up)
        columns = batch_scoring.prediction_columns(scored, run.released, with_reasons=run.options.reasons)
        if run.options.reasons:
            columns["reasons"] = [json.dumps(each) for each in columns["reasons"]]
        rows = [chunk.numbers[place] for place in places]
        table = pa.table({"file": [chunk.file] * len(rows), "row": rows, **columns}, schema=schema)
        if run.log_engine is not None:
            rows_to_log = production_log_rows(scored, columns, run, number)
            database.restore_predictions(run.log_engine, rows_to_log)
    with files.replacing(part) as temporary:
        pq.write_table(table, temporary)


def _write_rejected(path: Path, lines: Sequence[tuple[Any, ...]]) -> None:
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)


def production_log_rows(scored: Scored, columns: Mapping[str, Any], run: ScoringRun, part: int) -> list[dict[str, Any]]:
    """Rows of the table `predictions`. Their ids follow from the run and the place, so a repeated part adds nothing."""
    first = int(run.begun_at.timestamp() * 1e6) * 1000 + part * score_input.CHUNK_ROWS
    return [
        {
            "prediction_id": f"{first + place:016x}{sha256(f'{first + place} {entity_id}'.encode()).hexdigest()[:16]}",
            "entity_id": entity_id,
            "answered_at": run.begun_at,
            "model_version": run.released.manifest.version,
            "probability": probability,
            "alert": alert,
            "features": source,
            "vector": vector.astype("<f4", copy=False).tobytes(),
            "latency_ms": 0.0,
        }
        for place, (entity_id, probability, alert, source, vector) in enumerate(
            zip(
                scored.entity_ids,
                scored.probabilities.tolist(),
                columns["alert"],
                columns["features"],
                scored.matrix,
                strict=True,
            )
        )
    ]


class Rejections(NamedTuple):
    rows: int
    path: Path | None


def _join_rejected(parts: Path, path: Path) -> Rejections:
    """Write the rejected rows of all parts to one file, if there are any."""
    rows = 0
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["file", "row", "field", "reason", "value"])
        for part in sorted(parts.glob("*.rejected")):
            with part.open(encoding="utf-8", newline="") as rejected:
                for line in csv.reader(rejected):
                    lines.writerow(line)
                    rows += 1
    if not rows:
        path.unlink()
        return Rejections(0, None)
    return Rejections(rows, path)


def _join_scored(parts: Path, output: Path) -> tuple[int, int]:
    """Write the predictions of all parts to one file; returns their number, and how many had no features."""
    paths = sorted(parts.glob("*.parquet"))
    if not paths:
        raise NotScored("the input has no rows")
    scored = without_features = 0
    with files.replacing(output) as temporary, pq.ParquetWriter(temporary, pq.read_schema(paths[0])) as writer:
        for path in paths:
            table = pq.read_table(path)
            writer.write_table(table)
            scored += table.num_rows
            without_features += pc.sum(pc.equal(table["features"], "request")).as_py() or 0
    return scored, without_features


def main(source: Path, output: Path, options: Options, *, as_json: bool = False) -> None:
    try:
        result = score_files(load_settings(), source, output, options)
        line = json.dumps({**result._asdict(), "output": output}, default=str)
        print(line if as_json else f"score: {result}; {output}")
    except (NotScored, BadSettings, release.ReleaseRefused, locks.Busy, database.DatabaseRefused, OSError) as error:
        sys.exit(f"score: {error}")
    except sa.exc.SQLAlchemyError as error:
        sys.exit(f"score: the database: {str(error).partition(chr(10))[0]}; run the command again to continue")
