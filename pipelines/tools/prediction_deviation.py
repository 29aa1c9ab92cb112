"""How far the workspace's model is from a registered one, over the entities of the test period.

    python -m pipelines.tools.prediction_deviation registered.onnx deviation.json

`make reproduce` runs this in the rebuilt workspace and by its code, because only that code knows the features
that the model takes.
"""

import sys
from pathlib import Path

import numpy as np

from ontime import model, release
from ontime.params import load_params
from pipelines.layout import write_json
from pipelines.operations import packaging
from pipelines.tools.rebuild import Deviation


def between(registered: bytes, rebuilt: packaging.Winner) -> Deviation:
    """What the two ONNX files say of the same entities. Raises ReleaseRefused if one does not take their features."""
    matrix = model.matrix_of(rebuilt.entities, rebuilt.training["categories"])
    difference = np.abs(release.Model(registered).predict(matrix) - release.Model(rebuilt.onnx).predict(matrix))
    most = int(difference.argmax())
    return Deviation(len(matrix), float(difference[most]), str(rebuilt.entities["entity_id"].iloc[most]))


def main() -> None:
    registered, answer = map(Path, sys.argv[1:])
    try:
        found = between(registered.read_bytes(), packaging.read_winner(load_params()))
    except release.ReleaseRefused as refused:
        sys.exit(f"deviation: {refused}")
    write_json(answer, found._asdict())
    print(f"deviation: {found.largest:.2g} at most, over {found.entities:,} rows")


if __name__ == "__main__":
    main()
