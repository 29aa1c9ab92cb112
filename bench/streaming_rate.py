"""`make bench-stream`: what `ontime stream` can score in a second, and how long a prediction takes at a part of that.

A process reads a real NATS server and writes to SQLite, as in production; weeks of the dataset come to it faster than
they happened. First as fast as it can, then at a tenth, a half and all of that rate. The latency of a prediction is
from the message that made it due (the clock that reached its prediction moment) to the broker's receipt of the
prediction. Writes reports/bench_stream.json.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types

from ontime import database, local_time, sources
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from ontime.settings import load_settings
from pipelines import brokers
from pipelines.brokers import Broker, Message
from pipelines.layout import INGESTED, REPORTS, read_tables, write_json
from pipelines.operations import arrivals, processes, stream_events, stream_feed, stream_store
from pipelines.operations.embedded_broker import embedded_nats
from pipelines.operations.stream import PREDICTIONS
from pipelines.operations.stream_reader import EVENTS
from pipelines.tools.local_service import environment_of

WEEKS = 4
SHARES = (0.1, 0.5, 1.0)
SECONDS = 20.0  # of each share
TICK_SECONDS = 0.01
WAIT_SECONDS = 300


class Known(NamedTuple):
    """The messages of a feed, by the time at which each became feed."""

    times: Sequence[datetime]
    messages: Sequence[Message]


def main() -> None:
    params = load_params()
    last = sources.dataset(params.dataset).last_day
    start = local_time.midnight(last - timedelta(weeks=WEEKS + 1))
    end = start + timedelta(weeks=WEEKS)
    feed = messages_between(params, stream_feed.history_start(start, params), end)
    capacity = measure_capacity(params, feed, start, end)
    loads = [measure_share(params, feed, start, end, share, capacity["per_second"]) for share in SHARES]
    write_json(REPORTS / "bench_stream.json", {"weeks": WEEKS, "capacity": capacity, "loads": loads})
    print(
        f"bench-stream: {capacity['per_second']:,} predictions and {capacity['events_per_second']:,} events a second, "
        f"{capacity['per_cpu_second']:,} predictions a second of CPU time, {capacity['memory_mb']} MB"
    )
    for each in loads:
        print(
            f"  at {each['share']:4.0%} of that: {each['predictions_per_second']:5,} a second, "
            f"p50 {each['p50_ms']:,} ms, p99 {each['p99_ms']:,} ms, CPU {each['cpu_share']:.0%} of a core"
        )


def messages_between(params: Params, since: datetime, until: datetime) -> Known:
    tables = read_tables(INGESTED, (since - arrivals.lookback(params), until + timedelta(days=2)))
    events = [event for event in stream_events.events_of(tables) if since <= event.known_at < until]
    return Known(
        [event.known_at for event in events],
        [stream_feed.message(event.entity_id or event.table, stream_events.message_of(event)) for event in events],
    )


@contextmanager
def consumer(folder: Path, address: str, start: datetime) -> Iterator[psutil.Process]:
    """`ontime stream` as a process, with a database of its own and the live release."""
    settings = load_settings()
    url = type(settings.database_url)(f"sqlite:///{folder}/ontime.db")
    own = settings.model_copy(update={"database_url": url, "quarantine": folder / "quarantine"})
    command = [sys.executable, "-m", "cli", "stream", "--simulated", "--from", f"{start:%Y-%m-%dT%H:%MZ}"]
    with (
        (folder / "stream.log").open("w") as log,
        processes.process_group(command, env=environment_of(own, BROKER=address), stdout=log, stderr=log) as process,
    ):
        yield psutil.Process(process.pid)


def send(broker: Broker, messages: Sequence[Message]) -> None:
    for first in range(0, len(messages), 1000):
        broker.publish(EVENTS, messages[first : first + 1000])


def wait_until_scored(folder: Path, until: datetime) -> None:
    engine = database.connect(f"sqlite:///{folder}/ontime.db")
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        status = stream_store.status(engine, EVENTS, timedelta(0))
        if status["scored_until"] and status["scored_until"] >= until and not status["unscored_ranges"]:
            engine.dispose()
            return
        if time.monotonic() > deadline:
            sys.exit(f"bench-stream: not scored in {WAIT_SECONDS} s: {(folder / 'stream.log').read_text()[-2000:]}")
        time.sleep(0.01)


@contextmanager
def prepared(params: Params, feed: Known, start: datetime) -> Iterator[tuple[Path, Broker, psutil.Process, int]]:
    """A broker and a consumer that has read what features need of the past, and the number of its messages."""
    with TemporaryDirectory(prefix="bench-stream-") as name, embedded_nats(Path(name) / "nats") as address:
        folder, broker = Path(name), brokers.connect(address)
        broker.create_topic(EVENTS)
        past = sum(moment < start for moment in feed.times)
        send(broker, feed.messages[:past])
        lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)
        first = start - timedelta(minutes=1)  # a range of a minute, to see that the past is read
        with consumer(folder, address, first) as process:
            send(broker, [stream_feed.clock(start + lateness)])
            wait_until_scored(folder, start)
            yield folder, broker, process, past
        broker.close()


def measure_capacity(params: Params, feed: Known, start: datetime, end: datetime) -> dict[str, Any]:
    """Everything at once: predictions a second of wall time and of the process's CPU time."""
    lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)
    with prepared(params, feed, start) as (folder, broker, process, past):
        before, began = cpu_seconds(process), time.perf_counter()
        send(broker, [*feed.messages[past:], stream_feed.clock(end + lateness)])
        wait_until_scored(folder, end)
        seconds, cpu = time.perf_counter() - began, cpu_seconds(process) - before
        scored = len(received_predictions(broker))
        return {
            "events": len(feed.messages) - past,
            "predictions": scored,
            "per_second": round(scored / seconds),
            "per_cpu_second": round(scored / cpu),
            "events_per_second": round((len(feed.messages) - past) / seconds),
            "memory_mb": round(process.memory_info().rss / 1e6),
        }


def measure_share(
    params: Params, feed: Known, start: datetime, end: datetime, share: float, capacity: float
) -> dict[str, Any]:
    """Publish at a share of the capacity, and measure each prediction from the clock that made it due."""
    lead = timedelta(minutes=params.features.lead_minutes)
    lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)
    with prepared(params, feed, start) as (folder, broker, process, past):
        moments = times_of_events(start, end)
        speed = share * capacity * (end - start).total_seconds() / len(moments)  # seconds of the feed in a second
        clocks, published_at = [start], [time.time()]
        place, began, before = past, time.perf_counter(), cpu_seconds(process)
        with progress_bar(total=SECONDS, desc=f"{share:.0%} of what it can", unit="s") as bar:
            while (elapsed := time.perf_counter() - began) < SECONDS and clocks[-1] < end:
                until = min(start + timedelta(seconds=elapsed * speed), end)
                first = place
                while place < len(feed.times) and feed.times[place] < until + lateness:
                    place += 1
                clocks.append(until)
                published_at.append(time.time())
                send(broker, [*feed.messages[first:place], stream_feed.clock(until + lateness)])
                bar.update(time.perf_counter() - began - bar.n)
                time.sleep(max(0.0, TICK_SECONDS - (time.perf_counter() - began - elapsed)))
        wait_until_scored(folder, clocks[-1])
        seconds, cpu = time.perf_counter() - began, cpu_seconds(process) - before
        latencies = list[float]()
        ends = np.array([clock.timestamp() for clock in clocks])
        for entity_id, received_at in received_predictions(broker):
            due = int(np.searchsorted(ends, (moments[entity_id] - lead).timestamp(), side="right"))
            if 0 < due < len(ends):
                latencies.append(1000 * (received_at - published_at[due]))
        return {
            "share": share,
            "predictions_per_second": round(len(latencies) / seconds),
            "p50_ms": round(float(np.percentile(latencies, 50)), 1),
            "p99_ms": round(float(np.percentile(latencies, 99)), 1),
            "cpu_share": round(cpu / seconds, 2),
        }


def times_of_events(start: datetime, end: datetime) -> dict[str, datetime]:
    """The event time of each entity of a period."""
    rows = read_tables(INGESTED, (start, end + timedelta(days=1)))[DATA.entities]
    return dict(zip(rows["entity_id"], rows[DATA.event_at].dt.to_pydatetime(), strict=True))


def received_predictions(broker: Broker) -> list[tuple[str, float]]:
    """Entity and time of receipt of each prediction in the output topic."""
    reader, rows = broker.reader(PREDICTIONS, {}), list[tuple[str, float]]()
    while messages := reader.fetch(5000, 0.2):
        rows += [(json.loads(each.body)["entity_id"], each.published_at.timestamp()) for each in messages]
    reader.close()
    return rows


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
