"""The largest difference between this workspace's model and a registered one, over the test period.

    python -m pipelines.tools.prediction_deviation registered.onnx deviation.json

`make reproduce` runs this in the rebuilt workspace, with that workspace's code: only it knows the features that the
model takes.
"""

import sys
from pathlib import Path

import numpy as np

from ontime import model, release
from ontime.params import load_params
from pipelines.layout import write_json
from pipelines.operations import packaging
from pipelines.tools.rebuild import Deviation


def deviation_between(registered: bytes, rebuilt: packaging.BestModel) -> Deviation:
    """Compares two ONNX files on the same entities. Raises ReleaseRefused if a model does not take their features."""
    matrix = model.matrix_of(rebuilt.entities, rebuilt.training["categories"])
    difference = np.abs(release.Model(registered).predict(matrix) - release.Model(rebuilt.onnx).predict(matrix))
    place = int(difference.argmax())
    return Deviation(len(matrix), float(difference[place]), str(rebuilt.entities["entity_id"].iloc[place]))


def main() -> None:
    registered, output = map(Path, sys.argv[1:])
    try:
        deviation = deviation_between(registered.read_bytes(), packaging.read_best_model(load_params()))
    except release.ReleaseRefused as error:
        sys.exit(f"deviation: {error}")
    write_json(output, deviation._asdict())
    print(f"deviation: {deviation.largest:.2g} at most, over {deviation.entities:,} rows")


if __name__ == "__main__":
    main()
