"""The study of a model, by `ontime study card`: what the model card shows, and takes too long for each training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from ontime.refusal import Refusal

Scores = Mapping[str, float]


@dataclass(frozen=True)
class StudiedModel:
    """The model that was studied. Another with the same algorithm, data and scores is the same for a reader."""

    dataset: str
    best: str  # its algorithm
    valid: Scores
    test: Scores


@dataclass(frozen=True)
class Study:
    of: StudiedModel
    ablations: Mapping[str, Scores]  # on the test period, of the same algorithm fitted without some features
    importance: Mapping[str, tuple[float, float]]  # by feature: mean and standard deviation, largest mean first
    coverage: Sequence[Mapping[str, Any]]  # of conformal sets, by conformal.coverage; first the control

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self | None:
        """None for an empty file: nothing has been studied yet. Raises Refusal for any other content."""
        if not content:
            return None
        try:
            importance = {name: (mean, deviation) for name, (mean, deviation) in content["importance"].items()}
            return cls(StudiedModel(**content["of"]), content["ablations"], importance, content["coverage"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Refusal(f"reports/study.json is not what `make study` writes ({error!r}): run it again") from None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
