"""The study is of the model in models/, and the card shows it, and says so once the model is another one."""

from tests.project import Project

ONE_THREAD = "OMP_NUM_THREADS=1"


def card_of(project: Project) -> str:
    return (project.folder / "reports/model_card.md").read_text()


def test_the_card_shows_the_study_and_says_when_the_model_is_another_one(tiny: Project) -> None:
    params, picture = tiny.folder / "params.yaml", tiny.folder / "reports/plots/importance.png"
    unstudied = card_of(tiny)

    tiny.make("study", ONE_THREAD)
    studied = card_of(tiny)
    unchanged = tiny.make("train", ONE_THREAD)
    params.write_text(params.read_text().replace("c: 0.05\n", "c: 0.0001\n"))
    tiny.make("train", ONE_THREAD)

    assert unstudied.count("Not measured: `make study` measures it.") == 2
    assert "| feature | meaning | increase of the log-loss |" in studied
    assert "| control: days between |" in studied
    assert "Not measured" not in studied
    assert "another model" not in studied
    assert picture.exists()
    assert "Running stage" not in unchanged
    assert card_of(tiny).count("**Measured for another model**") == 2
