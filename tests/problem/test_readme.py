"""README and docs/ promise nothing that is not there: their commands, the tree, their links, their numbers."""

import json
import re
import subprocess
from typing import Any

import pytest

import bench.gate_power
from bench.feast_report import LABELS as STORES
from bench.request_profile import STAGES, function_of, profile_rows
from bench.runtimes import LABELS as RUNTIME_LABELS
from bench.serve import LABELS
from bench.servers import BUSY, LIST_CONNECTIONS
from bench.serving_goals import GOALS, goal_cells, spread_in_words
from cli.start import AFTER_TRAINING
from tests import ROOT
from tests.e2e.faults.report import page as attacks_page

NAMES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "benchmarks",
            "code",
            "commands",
            "episodes",
            "faq",
            "getting-started",
            "how-it-works",
            "monitoring",
            "replay",
            "results",
            "rubric",
            "service",
            "sizing",
            "streaming",
            "troubleshooting",
        )
    ),
)
PAGES = {name: (ROOT / name).read_text() for name in NAMES}
README = PAGES["README.md"]
MONITORING = PAGES["docs/monitoring.md"]
TARGETS = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
METRICS = json.loads((ROOT / "reports/metrics.json").read_text())
EVALUATION = json.loads((ROOT / "reports/evaluation.json").read_text())
STUDY = json.loads((ROOT / "reports/study.json").read_text())
QUALITY = json.loads((ROOT / "reports/data_quality.json").read_text())
BENCH = json.loads((ROOT / "reports/bench_train.json").read_text())
SERVING = json.loads((ROOT / "reports/bench_serving.json").read_text())
LISTS = json.loads((ROOT / "reports/bench_lists.json").read_text())
PROFILE = json.loads((ROOT / "reports/bench_profile.json").read_text())
STACK = json.loads((ROOT / "reports/bench_stack.json").read_text())
BATCH = json.loads((ROOT / "reports/bench_batch.json").read_text())
RUNTIMES = json.loads((ROOT / "reports/bench_runtimes.json").read_text())
SAMPLING = json.loads((ROOT / "reports/bench_sampling.json").read_text())
SCALE = json.loads((ROOT / "reports/bench_scale.json").read_text())
TRAINING_GROWTH = SCALE["growth"]["copies"]["train"]
ENGINES = json.loads((ROOT / "reports/bench_engines.json").read_text())
STARTUP = json.loads((ROOT / "reports/bench_startup.json").read_text())
SOAK = json.loads((ROOT / "reports/bench_soak.json").read_text())
LONG_STORE = json.loads((ROOT / "reports/bench_store.json").read_text())
BROKERS = json.loads((ROOT / "reports/bench_brokers.json").read_text())
STREAM = json.loads((ROOT / "reports/bench_stream.json").read_text())
FEAST = json.loads((ROOT / "reports/feast.json").read_text())
REDIS = json.loads((ROOT / "reports/bench_redis.json").read_text())
REPLAY = json.loads((ROOT / "reports/replay.json").read_text())
SABOTAGE = json.loads((ROOT / "reports/sabotage.json").read_text())
ATTACKS = json.loads((ROOT / "reports/bench_faults.json").read_text())
SECOND_ACT = json.loads((ROOT / "reports/replay_flights-2023.json").read_text())
STACK_DECISION = (ROOT / "docs/decisions/11-server-and-json.md").read_text()


def test_the_committed_study_is_of_the_committed_model() -> None:
    assert STUDY["of"]["best"] == METRICS["best"]
    assert {name: STUDY["of"][name] for name in ("valid", "test")} == METRICS["candidates"][METRICS["best"]]


def metrics_rows() -> list[str]:
    """The lines of the table of scores in docs/results.md, as reports/metrics.json has them."""
    rows = []
    for name, both in METRICS["candidates"].items():
        test = both["test"]
        bold = "**" if name == METRICS["best"] else ""
        figures = (test[key] for key in ("auc", "average_precision", "brier", "log_loss", "ece"))
        rows.append(
            f"| {bold}{name}{bold} | "
            + " | ".join(f"{value:.3f}" for value in figures)
            + f" | {test['cost_per_1000']:.0f} |"
        )
    return rows


def bench_rows() -> list[str]:
    return [
        f"| {stage} | {figures['seconds']:.1f} | {figures['peak_mb']} | {figures['ratio_to_bare']:.2f} | "
        f"{figures['import_seconds']:.1f} |"
        for stage, figures in BENCH["stages"].items()
    ]


def serving_rows() -> list[str]:
    """The service beside the others, and how it grows."""

    def figures(load: dict[str, float], rate: str) -> str:
        times = " | ".join(f"{load[name]:,}" for name in ("p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "longest_ms"))
        return f"{load[rate]:,} | {times} | {load['cpu_us']:,} | {load['errors']} |"

    rows = [
        f"| {LABELS[name]} | {connections} | {figures(load, 'requests_per_second')}"
        for name, server in SERVING["servers"].items()
        for connections, load in server["by_connections"].items()
    ]
    rows += [
        f"| {LABELS[name]} | {server['seconds_to_ready']} | {server['memory_mb']} |"
        for name, server in SERVING["servers"].items()
    ]
    rows += [
        f"| {workers} worker{'s' if workers != '1' else ''}, 64 connections | {figures(load, 'requests_per_second')}"
        for workers, load in SERVING["workers"].items()
        if workers.isdecimal()
    ]
    rows += [
        f"| lists of {size}, {LIST_CONNECTIONS} connections | {figures(load, 'entities_per_second')}"
        for size, load in SERVING["lists"].items()
    ]
    return rows


def table_rows(rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in rows]


def goal_rows() -> list[str]:
    return table_rows([goal_cells(name, result) for name, result in SERVING["goals"].items()])


def long_store_rows() -> list[str]:
    """Wall-clock and CPU seconds of each operation in both stores, and their ratios."""
    rows = []
    for name, costs in LONG_STORE["operations"].items():
        small, long = costs["small"], costs["long"]
        cells = (small["seconds"], long["seconds"], costs["ratio"])
        cpu_cells = (small["cpu_seconds"], long["cpu_seconds"], costs["cpu_ratio"])
        rows.append(f"| {name} | {' | '.join(map(str, (*cells, *cpu_cells)))} |")
    return rows


def broker_rows() -> list[str]:
    names = {"nats": "NATS, the embedded server, on the disk", "kafka": "Kafka, librdkafka's mock cluster, in memory"}
    return [
        f"| {name} | {each['published_per_second']:,} | {each['publish_cpu_microseconds']} | "
        f"{each['fetched_per_second']:,} | {each['fetch_cpu_microseconds']} |"
        for name, each in ((name, BROKERS[key]) for key, name in names.items())
    ]


def stream_rows() -> list[str]:
    return [
        f"| {each['share']:.0%} | {each['predictions_per_second']:,} | {each['p50_ms']:,} | {each['p99_ms']:,} | "
        f"{each['cpu_share']:.0%} |"
        for each in STREAM["loads"]
    ]


def stream_sentences() -> list[str]:
    capacity = STREAM["capacity"]
    return [
        f"scores {capacity['per_second']:,} entities a second, from {capacity['events_per_second']:,} events, and "
        f"{capacity['per_cpu_second']:,} for each second of its own CPU time, with {capacity['memory_mb']} MB"
    ]


def stream_latency_sentence() -> str:
    half = next(each for each in STREAM["loads"] if each["share"] == 0.5)
    return f"At half of that rate, 99 of 100 predictions are with the broker {half['p99_ms']:,} ms after"


def feast_rows() -> list[str]:
    """A line a store: look-ups and materialisation; then a line a join."""
    rows = []
    for name, store in FEAST["stores"].items():
        one, hundred, filled = store["look_up"]["1"], store["look_up"]["100"], store["materialise"]
        look_ups = [f"{each['ms']:.2f} | {cpu_of(each, 'ms'):.2f}" for each in (one, hundred)]
        rows.append(
            f"| {STORES[name]} | {' | '.join(look_ups)} | {cpu_of(filled, 'seconds'):.2f} | {store['megabytes']:.1f} |"
        )
    for name, join in FEAST["join"].items():
        figures = f"{join['asked']:,} | {join['returned']:,} | {join['differing']} | {cpu_of(join, 'seconds'):.2f} |"
        rows.append(f"| `{name}` | {figures}")
    return rows


def cpu_of(cost: dict[str, float], unit: str) -> float:
    """CPU time of the process and of its server."""
    return cost[f"cpu_{unit}"] + cost[f"server_cpu_{unit}"]


def feast_sentences() -> list[str]:
    assert {store["differing"] for store in FEAST["stores"].values()} == {0}  # "bit for bit"
    dropped = {case: count for case, count in FEAST["join"]["feast"]["dropped"].items() if count}
    assert list(dropped) == ["before the first row"]
    lines = FEAST["lines"]
    return [
        f"{FEAST['rows']:,} rows of {FEAST['features']} features",
        f"medians of {FEAST['rounds']} rounds",
        f"drops {dropped['before the first row']:,} of {FEAST['join']['feast']['asked']:,} rows",
        f"{FEAST['packages']} packages and {FEAST['environment_megabytes']} MB",
        f"{lines['feast']} lines, `online_store.py` {lines['ours']}",
    ]


def feast_ratios() -> list[str]:
    """How many times the CPU time of ours on SQLite: the phrases of decision 50."""
    ours, plain, packed = (FEAST["stores"][name] for name in ("ours, SQLite", "feast, SQLite", "feast, SQLite, packed"))
    hundred, filled = (
        [each[step] if step == "materialise" else each["look_up"][step] for each in (ours, plain, packed)]
        for step in ("100", "materialise")
    )
    one = packed["look_up"]["1"]["cpu_ms"] / ours["look_up"]["1"]["cpu_ms"]
    return [
        f"costs {hundred[1]['cpu_ms'] / hundred[0]['cpu_ms']:.0f} times the CPU time of ours on SQLite",
        f"materialising {filled[1]['cpu_seconds'] / filled[0]['cpu_seconds']:.0f} times",
        f"Feast needs {hundred[2]['cpu_ms'] / hundred[0]['cpu_ms']:.1f} times our CPU time for 100 and {one:.1f} for 1",
    ]


def redis_rows() -> list[str]:
    """A line a store and load, then a line a store."""
    rows = [
        f"| {name} | {task} | {load['requests_per_second']:,} | {load['p50_ms']:.2f} | {load['p99_ms']:.1f} | "
        f"{load['cpu_ms']:.2f} | {load['server_cpu_ms']:.2f} | {load['cpu_ratio']:.2f} "
        f"({load['cpu_ratio_lower_quartile']:.2f} to {load['cpu_ratio_upper_quartile']:.2f}) |"
        for name, store in REDIS["stores"].items()
        for task, load in store["tasks"].items()
    ]
    for name, store in REDIS["stores"].items():
        look_ups = [f"{each['ms']:.2f} | {cpu_of(each, 'ms'):.2f}" for each in store["look_up"].values()]
        rows.append(f"| {name} | {' | '.join(look_ups)} |")
    return rows


def redis_ratios() -> list[str]:
    """The phrases of decision 51: CPU time with Redis over CPU time without."""
    ratios = []
    for name in ("SQLite", "PostgreSQL"):
        figures = [each["cpu_ratio"] for each in REDIS["stores"][f"{name} and Redis"]["tasks"].values()]
        ratios.append(
            f"{name}: {figures[0]:.2f} on one connection, {figures[1]:.2f} on 64, {figures[2]:.2f} for lists of 100"
        )
    return ratios


def stack_rows() -> list[str]:
    """The tables of decision 11."""
    rows = [
        f"| {name} | {connections} | {load['requests_per_second']:,} | {load['p50_ms']} | {load['p99_ms']} |"
        for name, loads in STACK["servers"].items()
        for connections, load in loads.items()
    ]
    return rows + [
        f"| {what} | {way} | {microseconds} |"
        for what, ways in STACK["microseconds"].items()
        for way, microseconds in ways.items()
    ]


def serving_sentences() -> list[str]:
    """Medians of ratios within a round, with the lowest and the highest."""
    ratios = {name: spread_in_words(result, GOALS[name].digits) for name, result in SERVING["goals"].items()}
    return [
        f"medians of {SERVING['rounds']} rounds",
        f"With 64 connections that is {ratios['rate_busy']} times the throughput of MLflow's server at "
        f"{ratios['p99_busy']} of its p99, and {ratios['rate_of_bare']} times the bare route's throughput at "
        f"{ratios['cpu_busy']} times its CPU time",
        f"With 16 connections it is {ratios['rate_16']} times the throughput of MLflow's server, at "
        f"{ratios['p99_16']} of its p99",
        f"With one connection it is {ratios['rate_alone']} times the throughput of MLflow's server, at "
        f"{ratios['p50_alone']} of its p50 and {ratios['cpu_alone']} times the CPU time of the bare route",
        f"On PostgreSQL, with 64 connections, it is {ratios['rate_postgresql']} times the throughput of MLflow's",
    ]


def method_sentences() -> list[str]:
    """How the service was measured, and what only the page of benchmarks says."""
    workers, database = SERVING["workers"], SERVING["servers"]["postgresql"]["by_connections"][BUSY]
    own, rates = workers["load_tool_on_its_own_core"], [workers[each]["requests_per_cpu_second"] for each in "12"]
    return [
        f"{SERVING['seconds']} seconds a measurement, medians of {SERVING['rounds']} rounds",
        f"{SERVING['errors']} errors",
        f"PostgreSQL's own processes take {database['other_cpu_us']:,} µs more",
        f"For one worker and for two, wrk {'has a core of its own' if own else 'shares the cores with them'}",
        f"A second of CPU time serves {rates[0]:,} requests with one worker and {rates[1]:,} with two",
        f"a request costs {spread_in_words(workers['cpu_ratio'])} times the CPU time",
        f"a flight costs {LISTS['cpu_us_an_entity_few']} µs of CPU time with 4 connections and "
        f"{LISTS['cpu_us_an_entity_many']} with 64",
    ]


def soak_sentences() -> list[str]:
    memory, descriptors, slow = SOAK["drift"]["rss_mb"], SOAK["drift"]["descriptors"], SOAK["slow_requests"]
    longest_ms = max(each["longest_ms"] for route, each in SOAK["routes"].items() if route != "GET /v1/ops")
    client = SOAK["slow_for_a_client"]
    return [
        f"the other routes the longest took {longest_ms:.0f} ms",
        f"for each of its {client['requests']:,} requests, waited 200 ms or longer for {client['count']} of them",
        f"in {SOAK['seconds'] / 60:.0f} minutes to one worker",
        f"{SERVING['errors']} errors",
        f"{SOAK['requests']:,} requests",
        f"of resident memory rose from {memory['second_tenth']:.0f} to {memory['last_tenth']:.0f} MB",
        f"of descriptors from {descriptors['second_tenth']:.0f} to {descriptors['last_tenth']:.0f}",
        f"{slow['count']:,} requests took over 200 ms, {slow['unknown']} of them without a known cause",
    ]


def long_store_sentences() -> list[str]:
    compare = LONG_STORE["operations"]["compare"]
    without_events = LONG_STORE["operations"]["search: an hour without events"]
    return [
        f"CPU time rose only by {compare['cpu_ratio'] - 1:.0%}".replace("%", " %"),
        f"search for an hour without events ({without_events['ratio']:.0f} times)",
    ]


def batch_sentences() -> list[str]:
    rates = BATCH["rows_per_cpu_second"]
    return [
        f"{rates['online store']:,} rows per second of CPU with the features of",
        f"the online store, {rates['request only']:,} without them",
    ]


def batch_rows() -> list[str]:
    return [
        *(
            f"| {run['features']} | {run['rows']:,} | {run['seconds']:.1f} | {run['peak_mb']:.0f} |"
            for run in BATCH["runs"]
        ),
        *(f"| {step} | {value:.1f} |" for step, value in BATCH["cpu_microseconds_per_row"].items()),
    ]


def growth_rows(runs: list[dict[str, Any]], growth: dict[str, dict[str, float]], last: str) -> list[str]:
    """One line a stage: CPU seconds and MB by size, CPU time of the last size over the first, and one more figure."""
    rows = []
    for stage, each in growth.items():
        usage = [run["stages"][stage] for run in runs]
        cpu = " / ".join(f"{one['cpu_seconds']:.1f}" for one in usage)
        peak = " / ".join(f"{one['peak_mb']:,.0f}" for one in usage)
        rows.append(f"| {stage} | {cpu} | {peak} | {each['cpu_times']:.1f} | {each[last]:,} |")
    return rows


def scale_rows() -> list[str]:
    shown = {"copies": "bytes_per_row", "months": "peak_times"}
    return [
        row for size, last in shown.items() for row in growth_rows(SCALE["runs"][size], SCALE["growth"][size], last)
    ]


def engine_rows() -> list[str]:
    """One line a task and engine: CPU seconds and MB by copies."""
    rows = []
    for task, engine in dict.fromkeys((run["task"], run["engine"]) for run in ENGINES["runs"]):
        usage = [run for run in ENGINES["runs"] if (run["task"], run["engine"]) == (task, engine)]
        cells = [
            " / ".join(format(one[name], style) for one in usage)
            for name, style in (("cpu_seconds", ".1f"), ("peak_mb", ",.0f"))
        ]
        rows.append(f"| {task} | {engine} | {' | '.join(cells)} |")
    return rows


def scale_sentence() -> str:
    return f"A further row of the training period takes {TRAINING_GROWTH['bytes_per_row']} bytes in `train`"


def growth_sentences() -> list[str]:
    """The goals of growth, and what was measured."""
    copies, months = SCALE["growth"]["copies"], SCALE["growth"]["months"]
    cpu = {stage: f"{copies[stage]['cpu_growth']:.2f}" for stage in ("train", "validate", "features")}
    peak = {stage: f"{each['peak_times']:.2f}" for stage, each in months.items()}
    assert max(each["cpu_times"] for each in copies.values()) < 10
    return [
        f"takes {cpu['train']} times the CPU time",
        f"in `train`, {cpu['validate']} in `validate` and {cpu['features']} in `features`",
        f"`validate` and `explore` take {peak['validate']} and {peak['explore']} times the",
        f"`ingest` and `features` {peak['ingest']} and {peak['features']} times, and the reason",
    ]


def largest_training_sentence() -> str:
    sizes = (f"{each['million_rows']:,} million in {each['gb']} GB" for each in SCALE["largest_training"])
    return f"through the last two runs, {', '.join(sizes)} of memory would hold the training period"


def sampling_rows() -> list[str]:
    """Means of the seeds, with the lowest and the highest."""
    rows = []
    for each in SAMPLING["shares"]:
        loss, more = each["log_loss"], each["above_all_rows"] if each["share"] < 1 else None
        above = f"{more['mean']:+.4f} ({more['lowest']:+.4f} to {more['highest']:+.4f}) " if more else ""
        whole = f"{loss['mean']:.4f} ({loss['lowest']:.4f} to {loss['highest']:.4f})"
        rows.append(f"| {each['share']:.0%} | {each['rows']:,} | {whole} | {above}| {each['cpu_seconds']:.1f} |")
    return [row.replace("% |", " % |", 1) for row in rows]


def startup_rows() -> list[str]:
    rows = []
    for command, each in STARTUP["commands"].items():
        words, comma, condition = command.partition(",")
        rows.append(f"| `{words}`{comma}{condition} | {each['seconds']:.2f} | {each['cpu_seconds']:.2f} |")
    return rows


def training_sentence() -> str:
    return f"[{BENCH['stages']['all stages']['ratio_to_bare']:.1f} times as long](benchmarks.md#training)"


def runtime_rows() -> list[str]:
    """One line a runtime: CPU time by rows a call, seconds, sizes, and the difference from LightGBM's probabilities."""
    rows = []
    for name, each in RUNTIMES["runtimes"].items():
        costs = " | ".join(f"{value:.1f}" for value in each["cpu_microseconds_per_row"].values())
        compiled = f"{each['compile_cpu_seconds']:.1f}" if each["compile_cpu_seconds"] else ""
        sizes = f"{each['file_megabytes']:.2f} | {each['package_megabytes_with_dependencies']:.0f}"
        difference = f"{each['largest_difference']:.0e}" if each["largest_difference"] else "0"
        rows.append(
            f"| {RUNTIME_LABELS[name]} | {costs} | {compiled} | {each['load_seconds']:.4f} | {sizes} | {difference} |"
        )
    return rows


def runtime_sentences() -> list[str]:
    costs = [[*each["cpu_microseconds_per_row"].values()] for each in RUNTIMES["runtimes"].values()]
    ratios = [alone / many for alone, _, many in costs]
    return [
        f"a row alone takes {min(ratios):.1f} to {max(ratios):.1f} times the CPU time of a row among 1000",
        f"({RUNTIMES['trees']} trees, {RUNTIMES['features']} features)",
        f"medians of {RUNTIMES['rounds']} rounds over {RUNTIMES['timed_rows']:,} rows of the test period",
        f"from LightGBM's probabilities over {RUNTIMES['compared_rows']:,} rows",
    ]


def runtime_decision() -> list[str]:
    """What decision 54 says of ONNX Runtime with and without masks, and of the others."""
    costs = {name: [*each["cpu_microseconds_per_row"].values()] for name, each in RUNTIMES["runtimes"].items()}
    tests, compiled = RUNTIMES["category_tests"], RUNTIMES["runtimes"]["tl2cgen"]["compile_cpu_seconds"]
    (alone, _, many), (alone_before, _, many_before) = costs["released"], costs["converted"]
    lightgbm_alone, _, lightgbm_many = costs["lightgbm"]
    assert tests["released"]["mergeable"] == tests["released"]["nodes"] == tests["converted"]["nodes"]
    return [
        f"chains of {tests['converted']['nodes']:,} nodes",
        f"this holds for {tests['converted']['mergeable']:,} of the nodes",
        f"{alone} instead of {alone_before} microseconds of CPU alone, and {many} instead of {many_before} in calls",
        f"*LightGBM itself* takes {lightgbm_alone} microseconds for a row alone and {lightgbm_many} in calls",
        f"*treelite's interpreter* takes {costs['treelite'][0]} and {costs['treelite'][2]} microseconds",
        f"compiled as C, takes {costs['tl2cgen'][0]} and {costs['tl2cgen'][2]} microseconds",
        f"a C compiler and {compiled} seconds of CPU",
    ]


def soak_rows() -> list[str]:
    """One line a cause of slow requests."""
    return [f"| {cause} | {count:,} |" for cause, count in SOAK["slow_requests"]["by_cause"].items()]


NO_ACTION = re.compile(r"policy: nothing|\(tier 3\)|monitor: ok")  # a guard spoke, and nothing was stopped


def first_screen() -> list[str]:
    """The results of the README's first screen."""
    scores = {name: each["test"] for name, each in METRICS["candidates"].items()}
    model, table, logistic = scores[METRICS["best"]], scores["rate_table"], scores["logistic"]
    harmless, missed = faults_that_pass()
    seen = sum(bool(NO_ACTION.search(each["reported"])) for each in SABOTAGE if each["stopped_by"])
    lost = sum(value for name, result in ATTACKS.items() for key, value in result.items()
               if key.endswith("lost") and "file deleted" not in name)  # fmt: skip
    return [
        f"all {QUALITY['rows']['flights']:,} flights of 2013",
        f"AUC {model['auc']:.3f} instead of {table['auc']:.3f} on the "
        f"{EVALUATION['entities']['test']:,} flights of November and December; if a missed delay costs three false "
        f"alarms, the errors of 1000 flights cost {model['cost_per_1000']:.0f} false alarms instead of "
        f"{table['cost_per_1000']:.0f} (logistic regression: {logistic['cost_per_1000']:.0f})",
        f"the cost of {REPLAY['whole']['saved_per_1000']['against never retrained']:.0f} false alarms for 1000 flights",
        f"{lost} answered predictions were lost to kills",
        f"of {len(SABOTAGE)} planted faults, {len(SABOTAGE) - harmless - missed - seen} are stopped, {seen} only raise "
        f"an alert, {harmless} are harmless, {missed} pass",
    ]


def data_sentences() -> list[str]:
    return [f"{QUALITY['rows']['flights']:,} flights", f"{QUALITY['labelled']:,} of them labelled"]


def sentences() -> list[str]:
    """The phrases of the page of results, from the reports."""
    champion = METRICS["best"]
    low, high = EVALUATION["intervals"][champion]["auc"]
    alone, blind = EVALUATION["request_only"], STUDY["ablations"]["without_tailnum"]
    return [
        f"{EVALUATION['entities']['test']:,} flights of November and December",
        f"95 % confidence interval, clustered by day, of {low:.3f} to {high:.3f}",
        f"log-loss {alone['log_loss']:.3f}, AUC {alone['auc']:.3f}",
        f"AUC {blind['auc']:.3f} instead of {METRICS['candidates'][champion]['test']['auc']:.3f}",
    ]


def growth_sentence() -> str:
    return f"LightGBM keeps about {round(TRAINING_GROWTH['bytes_per_row'], -1)} bytes of a training row"


def replay_rows(replay: dict[str, Any]) -> list[str]:
    """A month a line: AUC and cost of the retrained system, of the first model and of its rate table."""
    systems = ("retrained", "never_retrained", "rate_table")
    return [
        f"| {month['month']} | {month['entities']:,} | {month['positive_rate']:.1%} | "
        + " | ".join(f"{month[name]['auc']:.3f}" for name in systems)
        + " | "
        + " | ".join(f"{month[name]['cost_per_1000']:.0f}" for name in systems)
        + " |"
        for month in replay["months"]
    ]


def gain_sentences() -> list[str]:
    """What retraining was worth in 2013: on the README and on the page of the replay."""
    whole = REPLAY["whole"]
    difference, low, high = whole["retraining_log_loss_difference"]
    saved = {name.removeprefix("against "): f"{value:.0f} less" for name, value in whole["saved_per_1000"].items()}
    return [
        f"Over all {whole['entities']:,} labelled flights retraining changes the log-loss by {difference:+.4f} "
        f"(95 % interval by days {low:+.4f} to {high:+.4f}).",
        f"Each 1000 flights cost {saved['no alerts']} than without alerts, {saved['rate table']} than with the rate "
        f"table, {saved['never retrained']} than with the first model",
    ]


def rejected_sentence() -> str:
    gates = [each for each in REPLAY["timeline"] if each["kind"] == "gate" and each["day"] >= REPLAY["from"]]
    rejected = sum(each["verdict"] == "reject" for each in gates)
    return f"The gate rejected {rejected} of {len(gates)} retrained models in the replay"


def second_gain() -> str:
    difference, low, high = SECOND_ACT["whole"]["retraining_log_loss_difference"]
    return f"retraining changes the log-loss by {difference:+.4f} ({low:+.4f} to {high:+.4f})"


def replay_sentences() -> list[str]:
    mean, exact = REPLAY["mean_monthly_auc"], REPLAY["parity"]
    return [
        f"mean monthly AUC {mean['retrained']:.3f} retrained, {mean['never_retrained']:.3f} never retrained, "
        f"{mean['rate_table']:.3f} rate table",
        f"All {exact['entities']:,} materialised rows were compared with a build of the whole year at once: "
        f"{exact['differing']} differ in any bit",
    ]


def gate_rows(replay: dict[str, Any]) -> list[str]:
    """One line a verdict of the gate: when, which release against which, and how the candidate did afterwards."""
    rows = []
    for each in replay["hindsight"]:
        mean, low, high = each["log_loss_difference"]
        difference = f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
        rows.append(f"| {each['day']} | {each['version']} | {each['against']} | {each['verdict']} | {difference} |")
    return rows


def hindsight_sentence(replay: dict[str, Any]) -> str:
    """How often the gate was right, measured over the four weeks after its verdicts."""
    promoted, rejected = (
        [each["log_loss_difference"][0] < 0 for each in replay["hindsight"] if each["verdict"] == verdict]
        for verdict in ("promote", "reject")
    )
    return f"{sum(promoted)} of {len(promoted)} promoted and {sum(rejected)} of {len(rejected)} rejected candidates"


def second_act_sentences() -> list[str]:
    mean, whole = SECOND_ACT["mean_monthly_auc"], SECOND_ACT["whole"]
    moved = [(each["kind"], each["verdict"], each["version"]) for each in SECOND_ACT["timeline"]]
    refused, through = (
        [each["version"] for each in SECOND_ACT["hindsight"] if each["verdict"] == verdict]
        for verdict in ("reject", "promote")
    )
    assert all(("promotion", "by the policy", version) in moved for version in through)
    return [
        f"Candidate {refused[0]} learned from three weeks of January",
        f"{through[0]}, which learned until the middle of May, is the first to pass",
        *(f"`{line}`" for line in SECOND_ACT["refused"]),
        f"mean monthly AUC {mean['retrained']:.3f} retrained, {mean['never_retrained']:.3f} 2013's last model, "
        f"{mean['rate_table']:.3f} its rate table",
        f"In 2023, {hindsight_sentence(SECOND_ACT)} beat the model",
        f"in 2013, {hindsight_sentence(REPLAY)}.",
        f"Over all {whole['entities']:,} labelled flights of that year {second_gain()}, "
        f"and 2013's last model has AUC {whole['never_retrained']['auc']:.3f}.",
    ]


def sabotage_rows() -> list[str]:
    """One line a kind of fault: in how many ways it was planted, what stopped it, and what did not."""
    rows = []
    for fault in dict.fromkeys(each["fault"] for each in SABOTAGE):
        planted = [each for each in SABOTAGE if each["fault"] == fault]
        guards = ", ".join(dict.fromkeys(each["stopped_by"] for each in planted if each["stopped_by"]))
        harmless = sum(each["harmless"] for each in planted)
        missed = sum(not each["harmless"] and not each["stopped_by"] for each in planted)
        rightly = f"nothing fires, rightly: {harmless}" if harmless else ""
        through = f"**nothing: {missed}**" if missed else ""
        rows.append(f"| {fault} | {len(planted)} | {'; '.join(filter(None, (guards, rightly, through)))} |")
    return rows


def faults_that_pass() -> tuple[int, int]:
    """How many planted faults are harmless, and how many others no guard stops."""
    harmless = sum(each["harmless"] for each in SABOTAGE)
    return harmless, sum(not each["harmless"] and not each["stopped_by"] for each in SABOTAGE)


def sabotage_sentences() -> list[str]:
    harmless, missed = faults_that_pass()
    return [
        f"plants {len(SABOTAGE)} faults",
        f"{harmless} of them are harmless, so no guard may fire; {missed} of them pass every guard",
    ]


def pairs(page: str, *groups: list[str]) -> list[tuple[str, str]]:
    return [(page, text) for group in groups for text in group]


ROWS = [
    *pairs("docs/results.md", metrics_rows()),
    *pairs(
        "docs/benchmarks.md",
        serving_rows(),
        goal_rows(),
        table_rows(profile_rows(PROFILE)),
        batch_rows(),
        runtime_rows(),
        soak_rows(),
        bench_rows(),
        startup_rows(),
        scale_rows(),
        engine_rows(),
        sampling_rows(),
        long_store_rows(),
        feast_rows(),
        broker_rows(),
        stream_rows(),
        redis_rows(),
    ),
    *pairs("docs/replay.md", replay_rows(REPLAY), replay_rows(SECOND_ACT), gate_rows(SECOND_ACT)),
    *pairs("docs/monitoring.md", sabotage_rows()),
]
WORDS = [
    *pairs("docs/benchmarks.md", feast_sentences(), stream_sentences()),
    *pairs("docs/benchmarks.md", runtime_sentences()),
    *pairs("docs/streaming.md", stream_sentences(), [stream_latency_sentence()]),
    *pairs("docs/benchmarks.md", [scale_sentence(), largest_training_sentence(), *growth_sentences()]),
    *pairs("README.md", first_screen(), gain_sentences()[:1]),
    *pairs("docs/getting-started.md", data_sentences()),
    *pairs("docs/results.md", sentences(), [training_sentence(), rejected_sentence()]),
    *pairs("docs/how-it-works.md", [growth_sentence()]),
    *pairs("docs/monitoring.md", sabotage_sentences()),
    *pairs(
        "docs/benchmarks.md",
        serving_sentences(),
        method_sentences(),
        batch_sentences(),
        long_store_sentences(),
        soak_sentences(),
    ),
    *pairs("docs/replay.md", gain_sentences(), replay_sentences(), second_act_sentences()),
]


@pytest.mark.parametrize(("page", "line"), ROWS)
def test_each_row_of_its_tables_is_what_the_reports_say(page: str, line: str) -> None:
    assert line in PAGES[page].splitlines()


@pytest.mark.parametrize("line", stack_rows())
def test_each_row_of_the_decision_on_the_stack_is_what_its_bench_says(line: str) -> None:
    assert line in STACK_DECISION.splitlines()


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_of_the_profile_is_a_function_of_the_service(stage: str) -> None:
    assert function_of(stage).__name__ == STAGES[stage].rpartition(":")[2].rpartition(".")[2]


def test_the_decision_on_class_weights_says_what_was_measured() -> None:
    text = (ROOT / "docs/decisions/28-class-weights.md").read_text()
    treatments = json.loads((ROOT / "reports/imbalance.json").read_text())["labels"][0]["treatments"]
    plain, weighted, *_ = treatments
    own = [row["cost_at_own_threshold"] for row in treatments]

    assert f"AUC moves by {max(abs(row['auc'] - plain['auc']) for row in treatments):.4f} at most" in text
    assert f"log-loss from {plain['log_loss']:.4f} to {weighted['log_loss']:.4f}" in text
    assert f"from {plain['cost_per_1000']:.0f} to {weighted['cost_per_1000']:.0f}" in text
    assert f"cost {min(own):.0f} to {max(own):.0f}" in text


def test_the_page_on_class_weights_is_about_the_released_model() -> None:
    """Measured again when the model changes by more than noise: make imbalance."""
    plain = json.loads((ROOT / "reports/imbalance.json").read_text())["labels"][0]["treatments"][0]
    released = METRICS["candidates"][METRICS["best"]]["test"]

    assert plain["log_loss"] == pytest.approx(released["log_loss"], abs=0.0015)
    assert plain["auc"] == pytest.approx(released["auc"], abs=0.003)


@pytest.mark.parametrize("words", feast_ratios())
def test_the_decision_on_feast_says_what_was_measured(words: str) -> None:
    assert words in " ".join((ROOT / "docs/decisions/50-own-online-store.md").read_text().split())


@pytest.mark.parametrize("words", runtime_decision())
def test_the_decision_on_category_masks_says_what_was_measured(words: str) -> None:
    assert words in " ".join((ROOT / "docs/decisions/54-category-masks-in-onnx.md").read_text().split())


@pytest.mark.parametrize("words", redis_ratios())
def test_the_decision_on_redis_says_what_was_measured(words: str) -> None:
    assert words in " ".join((ROOT / "docs/decisions/51-redis-look-ups.md").read_text().split())


@pytest.mark.parametrize(("page", "words"), WORDS)
def test_each_number_in_its_text_is_what_the_reports_say(page: str, words: str) -> None:
    assert words in " ".join(PAGES[page].split())


def test_its_output_of_make_train_ends_as_the_command_does() -> None:
    (output,) = re.findall(r"```text\n(ingest: .*?)```", PAGES["docs/getting-started.md"], re.DOTALL)

    assert output.splitlines()[-1] == AFTER_TRAINING.format(page="http://127.0.0.1:8000/")


@pytest.mark.parametrize("target", TARGETS)
def test_each_make_target_is_explained(target: str) -> None:
    assert f"`make {target}" in PAGES["docs/commands.md"]


@pytest.mark.parametrize("page", PAGES)
def test_each_make_command_it_shows_exists(page: str) -> None:
    assert set(re.findall(r"\bmake ([a-z-]+)", PAGES[page])) <= {*TARGETS}


def test_the_readme_is_read_in_ten_minutes() -> None:
    assert len(README.splitlines()) <= 140
    assert len(README.encode()) <= 14_000


def test_its_links_lead_somewhere() -> None:
    pages = [
        "README.md",
        *subprocess.run(
            ["git", "ls-files", "docs/*.md", "reports/*.md"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split(),
    ]
    broken = [
        f"{page}: {link}"
        for page in pages
        for link in re.findall(r"\]\((?!https?://|#|\.\./\.\./actions)([^)#\s]+)", (ROOT / page).read_text())
        if not ((ROOT / page).parent / link).exists()
    ]

    assert broken == []


def test_its_tree_is_the_real_tree() -> None:
    block = re.search(r"```text\n(ontime/.*?)```", PAGES["docs/code.md"], re.DOTALL)
    assert block
    shown: set[str] = set()
    folders: list[str] = []
    for line in block[1].splitlines()[1:]:
        name = re.match(r"([│├└─ ]*)(\S+)", line)
        assert name
        depth = len(name[1]) // 4 - 1
        folders[depth:] = [name[2].rstrip("/")]
        shown.add("/".join(folders) + ("/" if name[2].endswith("/") else ""))
    missing = [path for path in shown if not (ROOT / path).exists()]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    code = {path for path in listed if re.match(r"(src/ontime|pipelines|monitoring|serving|bench)/\w+\.py$", path)}
    unexplained = {path for path in code if not path.endswith("__init__.py")} - shown

    assert missing == []
    assert unexplained == set()


def test_the_decision_on_leaks_says_what_was_measured() -> None:
    lines = (ROOT / "docs/decisions/26-point-in-time-and-leak-checks.md").read_text().splitlines()
    results = json.loads((ROOT / "reports/bench_leaks.json").read_text())
    figures = ("auc", "explained", "lightgbm", "hist_gradient_boosting")
    rows = [f"| {name} | {' | '.join(f'{each[key]:.2f}' for key in figures)} |"
            for name, each in results["honest"].items()]  # fmt: skip
    rows += [f"| {name} | {each['auc']:.2f} | {each['gain']:.2f} | {each['test_auc']:.3f} |"
             for name, each in results["leaking"].items()]  # fmt: skip

    assert [row for row in rows if not any(line.strip().startswith(row) for line in lines)] == []


def test_the_limits_in_params_yaml_stand_beside_what_was_measured() -> None:
    text = (ROOT / "params.yaml").read_text()
    honest = json.loads((ROOT / "reports/bench_leaks.json").read_text())["honest"].values()
    quiet = json.loads((ROOT / "reports/bench_alarms.json").read_text())["days with a random effect"]["episodes"]
    trial = json.loads((ROOT / "reports/bench_gate.json").read_text())["trial"]
    (equal,) = (row["withdrawn"] for row in trial if (row["harm"], row["days"]) == (0.0, 7))

    assert f"honest ones reach {max(each['auc'] for each in honest):.2f}, in a month of storms" in text
    assert f"honest ones reach {max(each['explained'] for each in honest):.2f}\n" in text
    gains = [each[name] for each in honest for name in ("lightgbm", "hist_gradient_boosting")]
    assert f"honest ones reach {max(gains):.2f}, in the same month" in text
    assert ", ".join(f"{name} {quiet[name]:g}" for name in ("loss_excess", "auc_shortfall", "rate_gap")) in text
    words = " ".join(text.replace("#", "").split())
    assert f"Of equally good releases {equal:.1%}".replace("%", " %") in words


def test_what_a_diagnosis_finds_is_what_its_bench_says() -> None:
    results = json.loads((ROOT / "reports/bench_diagnose.json").read_text())
    ours, other, without_fault = results["sabotage_world"], results["released_model"], results["without_fault"]

    assert f"names the right cause first in {ours['right']} of {ours['worse']}" in MONITORING
    assert f"another model and other days in {other['right']} of {other['worse']}" in MONITORING
    assert without_fault["without_alert_stands_out"] + without_fault["with_alert_stands_out"] == 0
    assert f"in {without_fault['fortnights']} fortnights without one nothing stands out" in MONITORING


def test_the_page_about_the_gate_is_what_its_bench_says() -> None:
    results = json.loads((ROOT / "reports/bench_gate.json").read_text())

    assert (ROOT / "docs/gate.md").read_text() == bench.gate_power.gate_page(results)


def test_the_page_about_attacks_is_what_its_bench_says() -> None:
    results = json.loads((ROOT / "reports/bench_faults.json").read_text())

    assert (ROOT / "docs/attacks.md").read_text() == attacks_page(results)
