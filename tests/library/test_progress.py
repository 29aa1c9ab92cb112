"""Progress is a bar on a terminal, lines in a log, and nothing if it is switched off."""

import pytest

from ontime import progress
from ontime.progress import progress_bar


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def test_a_log_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar(["a", "b"], desc="train", unit="models")) == ["a", "b"]

    text = capsys.readouterr().err
    assert text.startswith("train: 0 of 2 models, 00:00 elapsed, ? left\ntrain: 1 of 2 models, ")
    assert text.splitlines()[-1].startswith("train: 2 of 2 models, ")
    assert "\r" not in text


def test_without_a_total_no_end_is_foretold(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress_bar(iter(["a", "b"]), desc="ingest", unit="parts"))

    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("ingest: 2 parts, 00:0")
    assert not [line for line in lines if "?" in line or "left" in line]


def test_short_work_prints_nothing_into_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 60)

    list(progress_bar(["a"], desc="train", unit="models"))

    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    list(progress_bar(["a"], desc="train", unit="models"))

    assert "train: 100%|" in capsys.readouterr().err


def test_nothing_is_printed_where_it_is_switched_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")

    with progress_bar(total=2, desc="prune", unit="rows") as bar:
        bar.update(2)

    assert capsys.readouterr().err == ""


def test_steps_are_named_when_they_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("validate", 2) as begin:
        begin("reads")
        begin("checks")

    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("validate: checks: 1 of 2 steps, ") for line in lines)
    assert not any("3 of 2" in line for line in lines)


def test_a_bar_of_steps_is_removed_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    with progress.steps("validate", 1) as begin:
        begin("reads")

    text = capsys.readouterr().err
    assert "validate: reads:   0%|" in text
    assert text.rpartition("\r")[0].rpartition("\r")[2].strip() == ""


def test_a_bar_within_another_one_writes_lines_without_moving_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress_bar(["a"], desc="study", unit="fits"):
        list(progress_bar(["b", "c"], desc="network", unit="epochs"))

    lines = capsys.readouterr().err.splitlines()
    assert "\x1b" not in "".join(lines)
    assert any(line.startswith("network: 2 of 2 epochs") for line in lines)
