"""The upper bound: a FastAPI route that parses the same request and returns a constant response."""

from datetime import UTC, datetime

from fastapi import FastAPI

from ontime.problem import PROBLEM
from serving.responses import Alive, Prediction

ANSWER = Prediction(
    prediction_id="18b0c1d2e3f405161f2e3d4c5b6a7988",
    entity_id=PROBLEM.example_outcome["entity_id"],
    probability=0.123456789,
    alert=False,
    base_rate=0.2,
    model_version="1",
    features="online",
    features_as_of=datetime(2013, 11, 5, 8, 15, tzinfo=UTC),
    flags=(),
    reasons=None,
)
app = FastAPI()


@app.post("/v1/predictions")
async def predict(entity: PROBLEM.request) -> Prediction:  # type: ignore[name-defined]  # noqa: ARG001  its parsing is measured
    return ANSWER


@app.get("/health/ready")
async def ready() -> Alive:
    return Alive()
