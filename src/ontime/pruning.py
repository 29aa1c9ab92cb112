"""Pruning: removes the weakest units of a neural network's hidden layers, and trains the rest a little further."""

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime.batches import Matrix
from ontime.neural import NeuralNetwork


def pruned(network: NeuralNetwork, units: int) -> NeuralNetwork:
    """A copy whose hidden layers have the `units` strongest units: by the norm of their weights, in times out.

    Whole units, because a file with zeros in it is neither smaller nor faster.
    """
    smaller = deepcopy(network)
    layers = [(weights, bias) for weights, bias in smaller.layers_]
    for place in range(len(layers) - 1):
        (weights, bias), (following, shift) = layers[place], layers[place + 1]
        strength = np.linalg.norm(weights, axis=0) * np.linalg.norm(following, axis=1)
        kept = np.sort(np.argsort(-strength)[:units])
        layers[place], layers[place + 1] = (weights[:, kept], bias[kept]), (following[kept], shift)
    smaller.layers_, smaller.units = layers, layers[0][0].shape[1]
    return smaller


def fine_tuned(network: NeuralNetwork, rows: Matrix, label: NDArray[Any], epochs: int) -> NeuralNetwork:
    """A network with the same layers, trained further on these rows from the weights of this one."""
    further = NeuralNetwork(**network.get_params() | {"epochs": epochs})
    return further.fit(rows, label, begin_with=network)
