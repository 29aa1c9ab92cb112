"""Scores files of any size: `ontime score rows.csv --to scored.parquet`.

The input is a csv or parquet file, or a folder of them, with the columns of a request; others are ignored. Rows are
checked one by one, by the service's own declaration; invalid ones are written to a csv file beside the output.
Features are looked up in the online store as the service does, or built from the tables in `history`, as of each row's
prediction moment. The probabilities are those of the service, bit for bit.

The memory does not grow with the input: it is scored in parts, which lie in `<output>.parts/` until all are there.
Parts are worked on side by side, on the engine that ONTIME_ENGINE names. After an interruption the same command
continues with the next part. The output is written to a temporary file, which is then renamed.
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
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa
from pydantic import SecretStr

from ontime import batch_scoring, database, features, files, locks, partitions, release, release_pointer
from ontime.batch_scoring import LookUp, Scored
from ontime.counts import counted
from ontime.datasets import KEY
from ontime.declaration import EntityRequest, Question
from ontime.online import OnlineRow
from ontime.online_store import Stored
from ontime.params import FeatureParams, load_params
from ontime.progress import progress_bar
from ontime.refusal import Refusal
from ontime.release import Manifest, Release
from ontime.schema import WORDS
from ontime.settings import BadSettings, Settings, load_settings
from pipelines import engines, storage
from pipelines.layout import read_tables, write_json
from pipelines.operations import score_input
from pipelines.operations.score_input import Chunk, NotScored
from pipelines.storage import Place

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
            text += f", continued after {counted(self.reused_parts, 'part')}"
        return f"{text}; {counted(self.rejected, 'row')} rejected: {self.rejections}" if self.rejected else text


def from_history(tables_in: Place, params: FeatureParams, question: Question) -> LookUp:
    """Builds features from tables in the layout of data/validated, in which the scored entities have rows.

    It reads the rows around the chunk, so the memory is bounded if the input is sorted by time.
    """

    def build(entities: Sequence[EntityRequest]) -> dict[str, Stored]:
        times = [entity.event_at for entity in entities]
        start, end = min(times), max(times) + timedelta(microseconds=1)
        tables = read_tables(tables_in, partitions.window(start, end, params))
        built = features.build(tables, start, end, params, question)
        built = built[built[KEY].isin([entity.entity_id for entity in entities])]
        vectors, texts = features.online_of(built)
        moments = built["moment"].dt.to_pydatetime()
        rows = zip(built[KEY], moments, vectors, texts, strict=True)
        return {key: Stored(moment, OnlineRow(vector, text)) for key, moment, vector, text in rows}

    return build


def history_params(manifest: Manifest) -> FeatureParams:
    """The parameters to build features with. Raises NotScored if the release was trained with another lead."""
    params = load_params().features
    if params.lead_minutes != manifest.question.lead_minutes:
        raise NotScored(
            f"params.yaml has lead_minutes {params.lead_minutes}, release {manifest.version} was trained with "
            f"{manifest.question.lead_minutes}"
        )
    return params


class Plan(NamedTuple):
    """What identifies a run: a run with the same plan continues with its parts."""

    files: list[list[Any]]  # path, size, time of the last change
    release: str
    manifest_sha256: str
    options: list[Any]


def plan_of(paths: Sequence[Path], version: str, manifest_sha256: str, options: Options) -> Plan:
    changes = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    return Plan(changes, version, manifest_sha256, [str(options.history), *options[2:], score_input.CHUNK_ROWS])


def score_files(settings: Settings, source: Path, output: Path, options: Options) -> Result:
    """Raises NotScored, ReleaseRefused, OSError, and DatabaseRefused or SQLAlchemyError of the online store."""
    started, paths = time.monotonic(), score_input.input_files(source)
    if output.exists():
        raise NotScored(f"{output} exists: move it away first")
    if output.suffix != ".parquet":
        raise NotScored(f"{output} does not end with .parquet")
    version = options.version or release_pointer.require_pointer(settings.releases).version
    folder = settings.releases / version
    manifest, digest = release.verify(folder), files.digest(folder / release.MANIFEST)
    inputs = {version: folder} if options.history is None else {version: folder, "history": options.history}
    params = history_params(manifest) if options.history else None
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    with locks.hold(parts / LOCK, "ontime score"), storage.shared(inputs) as places:
        begun_at = _begin(parts, plan_of(paths, version, digest, options))
        # Features from history need no database, so its password does not leave this process.
        features_from = (places["history"], params) if params else settings.database_url
        scorer = Scorer(places[version], digest, features_from, options.reasons)
        reused = _score_parts(paths, scorer, ScoringRun(parts, begun_at, version, options), settings)
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


class ScoringRun(NamedTuple):
    parts: Path
    begun_at: datetime
    version: str
    options: Options


class Scorer(NamedTuple):
    """What a worker needs to score chunks."""

    release: Place  # its folder, whose name is the version; verified by whoever started the work
    manifest_sha256: str
    features_from: SecretStr | tuple[Place, FeatureParams]  # the online store's database, or a history
    reasons: bool


class ScoredChunk(NamedTuple):
    """The predictions of a chunk as SCHEMA, its invalid rows as (file, row, field, reason, value), and its log rows."""

    number: int
    read: int
    table: pa.Table
    rejected: Sequence[tuple[str, int, str, str, str]]
    to_log: Sequence[dict[str, Any]]


def _score_parts(paths: Sequence[Path], scorer: Scorer, run: ScoringRun, settings: Settings) -> int:
    """Write each part that is not there yet; returns the number of those that were."""
    reused = 0

    def missing() -> Iterator[tuple[int, Chunk]]:
        nonlocal reused
        numbered = enumerate(chunk for path in paths for chunk in score_input.chunks_of(path))
        for number, chunk in numbered:
            if (run.parts / f"{number:06}.parquet").exists():
                reused += 1
                bar.update(len(chunk.numbers) + len(chunk.unreadable))
            else:
                yield number, chunk

    with progress_bar(total=sum(score_input.rows_in(path) for path in paths), desc="score", unit="rows") as bar:
        for scored in engines.map_parts(partial(score_chunk, scorer=scorer, run=run), missing()):
            _write_part(scored, run, settings)
            bar.update(scored.read)
    return reused


def _write_part(scored: ScoredChunk, run: ScoringRun, settings: Settings) -> None:
    """Write the rejected rows, the log and last the part, so that a part that exists is complete."""
    if scored.rejected and run.options.strict:
        file, row, *about = scored.rejected[0]
        raise NotScored(f"{file}, row {row}: {': '.join(filter(None, about))}")
    part = run.parts / f"{scored.number:06}.parquet"
    _write_rejected(part.with_suffix(".rejected"), scored.rejected)
    if scored.to_log:
        database.restore_predictions(database.engine_of_process(settings.database_url), scored.to_log)
    with files.replacing(part) as temporary:
        pq.write_table(scored.table, temporary)


def score_chunk(numbered: tuple[int, Chunk], scorer: Scorer, run: ScoringRun) -> ScoredChunk:
    """Score a chunk in a worker, which keeps the release and the connection for the next one."""
    number, chunk = numbered
    with _without_garbage_collection():
        places, requests, rejected = batch_scoring.requests_of(chunk.records)
        lines = [(chunk.file, row, "", reason, "") for row, reason in chunk.unreadable]
        lines += [(chunk.file, chunk.numbers[each.place], each.field, each.reason, each.value) for each in rejected]
        lines.sort(key=lambda line: line[1])
        schema = SCHEMA.append(REASONS) if scorer.reasons else SCHEMA
        table, to_log = schema.empty_table(), []
        if requests:
            released = _release(scorer.release, scorer.manifest_sha256)
            scored = batch_scoring.score_requests(released, requests, _look_up(scorer, released))
            columns = batch_scoring.prediction_columns(scored, released, with_reasons=scorer.reasons)
            if scorer.reasons:
                columns["reasons"] = [json.dumps(each) for each in columns["reasons"]]
            rows = [chunk.numbers[place] for place in places]
            table = pa.table({"file": [chunk.file] * len(rows), "row": rows, **columns}, schema=schema)
            to_log = production_log_rows(scored, columns, run, number) if run.options.log else []
        return ScoredChunk(number, len(chunk.numbers) + len(chunk.unreadable), table, lines, to_log)


def _look_up(scorer: Scorer, released: Release) -> LookUp:
    question = released.manifest.question
    if isinstance(scorer.features_from, SecretStr):
        return batch_scoring.from_online_store(database.engine_of_process(scorer.features_from), question)
    return from_history(*scorer.features_from, question)


@lru_cache(maxsize=1)
def _release(place: Place, manifest_sha256: str) -> Release:
    with storage.local_copy(place) as folder:
        return release.load(folder.parent, folder.name, manifest_sha256, signed=False)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collect once at the end: automatic collections would search a chunk's requests again and again."""
    gc.freeze()
    gc.disable()
    try:
        yield
        gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


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
            "model_version": run.version,
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
    except (
        NotScored,
        Refusal,
        BadSettings,
        release.ReleaseRefused,
        locks.Busy,
        database.DatabaseRefused,
        OSError,
    ) as error:
        sys.exit(f"score: {error}")
    except sa.exc.SQLAlchemyError as error:
        sys.exit(f"score: the database: {str(error).partition(chr(10))[0]}; run the command again to continue")
