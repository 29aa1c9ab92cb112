"""The BentoML service of `bench.serve`: the model of the current release, loaded by the same code, in one thread.

Runs from the project's root in the environment of requirements/bench.txt: `bentoml serve bench.bento:Predictor`.
Asynchronous, because the thread pool of a plain `def` costs 30 % of the requests per second (16 connections).
"""

from pathlib import Path

import bentoml
import numpy as np
from numpy.typing import NDArray

from ontime import release_pointer


@bentoml.service(workers=1)
class Predictor:
    def __init__(self) -> None:
        self._model = release_pointer.load_live(Path("releases")).model

    @bentoml.api  # type: ignore[untyped-decorator]  # not installed where mypy looks
    async def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability of a positive label for each row."""
        return self._model.predict(rows)
