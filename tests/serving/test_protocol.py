"""The Open Inference Protocol, called by NVIDIA's Triton client."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from ontime import online, release, release_pointer, schema
from ontime.settings import Settings
from tests.service import Service, running

WIDTH = len(schema.FEATURE_NAMES)


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    """Five rows of numbers, some of them missing."""
    made = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    made[2, 10:20] = np.nan
    return made


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    release_pointer.set_challenger(settings.releases, "2")
    with running(settings) as started:
        yield started
        started.stop()


@pytest.mark.slow
def test_a_client_of_the_protocol_calls_the_model(
    service: Service, settings: Settings, rows: NDArray[np.float32]
) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    tensor = triton.InferInput("features", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=False)
    output = triton.InferRequestedOutput("probability", binary_data=False)

    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("ontime")
    assert client.is_model_ready("ontime", "2")
    assert not client.is_model_ready("ontime", "9")
    assert client.get_server_metadata() == {"name": "ontime", "version": "2", "extensions": []}
    assert client.get_model_metadata("ontime")["inputs"] == [
        {"name": "features", "datatype": "FP32", "shape": [-1, WIDTH]}
    ]
    for version in ("1", "2"):
        result = client.infer("ontime", [tensor], version, outputs=[output], request_id="mine")
        expected = release.load(settings.releases, version).model.predict(rows)
        np.testing.assert_array_equal(result.as_numpy("probability"), expected)
        assert result.get_response()["model_version"] == version
        assert result.get_response()["id"] == "mine"
    with pytest.raises(InferenceServerException, match="model 'weather' is not loaded"):
        client.infer("weather", [tensor])
    np.testing.assert_array_equal(client.infer("ontime", [tensor]).as_numpy("probability").shape, (len(rows),))
    tensor.set_data_from_numpy(rows)  # binary is the client's default
    with pytest.raises(InferenceServerException, match="binary tensor data extension is not supported: send the"):
        client.infer("ontime", [tensor])


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/models", "/v2/models/ontime/stats"])
def test_a_path_that_the_protocol_does_not_have_gets_the_protocols_error(path: str, client: TestClient) -> None:
    answer = client.get(path)

    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert path in answer.json()["error"]


def test_the_tensor_of_a_flight_gives_its_probability(client: TestClient, settings: Settings) -> None:
    loaded = release_pointer.load_live(settings.releases)
    probe = next(each for each in loaded.probes if each.online is None)
    row = online.request_matrix([probe.entity], [online.EMPTY_ROW], loaded)[0]
    data = [None if np.isnan(value) else float(value) for value in row]

    response = client.post("/v2/models/ontime/infer", json=request(shape=[1, WIDTH], data=data)).json()

    assert response["outputs"][0]["data"][0] == pytest.approx(probe.probability, abs=1e-6)


def request(**changed: Any) -> dict[str, Any]:
    tensor = {"name": "features", "shape": [1, WIDTH], "datatype": "FP32", "data": [0.0] * WIDTH}
    return {"inputs": [{**tensor, **changed}]}


def test_nested_and_flat_data_give_the_same_result(client: TestClient) -> None:
    flat = client.post("/v2/models/ontime/infer", json=request(shape=[2, WIDTH], data=[1] * 2 * WIDTH)).json()
    nested = client.post("/v2/models/ontime/infer", json=request(shape=[2, WIDTH], data=[[1] * WIDTH] * 2)).json()

    assert flat == nested
    assert len(flat["outputs"][0]["data"]) == 2


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "EOF while parsing"),
        (json.dumps({"inputs": []}), "request.inputs: Tuple should have at least 1 item"),
        (json.dumps(request(name="weather")), "request.inputs.0.name: Input should be 'features'"),
        (json.dumps(request(datatype="INT8")), "request.inputs.0.datatype: Input should be 'FP32'"),
        (json.dumps(request(shape=[1, 3])), "shape [1, 3] is not [n, 85]"),
        (json.dumps(request(shape=[0, WIDTH])), "shape [0, 85] is not [n, 85] with n from 1 to 1000"),
        (json.dumps(request(shape=[2, WIDTH])), "85 numbers for shape [2, 85]"),
        (json.dumps(request(data=[[1.0] * WIDTH] * 2)), "data do not have shape [1, 85]"),
        (json.dumps(request(data=["x"] * WIDTH)), "data.0 is neither a finite FP32 number nor null"),
        (json.dumps(request(data=[True] * WIDTH)), "data.0 is neither"),
        (json.dumps(request(data=[1e300] * WIDTH)), "data.0 is neither"),
        (json.dumps(request(data=[float("inf")] * WIDTH)), "data.0 is neither"),
        (json.dumps({**request(), "outputs": [{"name": "weather"}]}), "request.outputs.0.name"),
    ],
)
def test_an_error_has_the_body_of_the_specification(body: bytes | str, error: str, client: TestClient) -> None:
    answer = client.post("/v2/models/ontime/infer", content=body)

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert error in answer.json()["error"]


def test_a_body_of_more_than_a_megabyte_is_rejected(client: TestClient) -> None:
    answer = client.post("/v2/models/ontime/infer", content=b" " * 1_000_001)

    assert (answer.status_code, set(answer.json())) == (413, {"error"})


@pytest.mark.parametrize("path", ["/v2/models/ontime/versions/9", "/v2/models/weather", "/v2/models/weather/ready"])
def test_a_model_that_is_not_loaded_is_not_found(path: str, client: TestClient) -> None:
    answer = client.get(path)

    assert (answer.status_code, set(answer.json())) == (404, {"error"})
