"""Trains the weights of `neural.NeuralNetwork` with Keras."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ontime.batches import Matrix
from ontime.neural import Dense, Embedding, Floats
from ontime.progress import progress_bar

os.environ.setdefault("KERAS_BACKEND", "jax")  # read by the import; JAX runs on a GPU where its package for one is

import keras
from keras import layers, ops


class TrainedWeights(NamedTuple):
    tables: Sequence[Floats]  # of each category: a row for each of its codes
    layers: Sequence[Dense]  # the last one gives the log-odds
    curves: Mapping[str, Sequence[float]]  # by name of the loss, its value after each epoch


class _Numbers(layers.Layer):  # type: ignore[misc]  # Keras is not there in every installation
    """`Embedding.numbers`, computed for a batch: of all training rows it would take a gigabyte."""

    def __init__(self, embedding: Embedding) -> None:
        super().__init__(trainable=False)
        self._of = embedding

    def call(self, rows: Any) -> Any:
        values = (ops.take(rows, self._of.source, axis=1) - self._of.low) * self._of.per_unit
        missing = ops.isnan(ops.take(rows, self._of.nullable, axis=1))
        bins = ops.where(ops.isnan(values), 0.0, ops.clip(values, 0.0, 1.0))
        return ops.concatenate([bins, ops.cast(missing, "float32")], axis=1)


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """A bar over the epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._bar = progress_bar(total=epochs, desc="neural network", unit="epochs")
        self._bar.leave = False

    def on_epoch_end(self, _epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._bar.set_postfix({name: f"{loss:.4f}" for name, loss in (logs or {}).items()}, refresh=False)
        self._bar.update()

    def on_train_end(self, _logs: Mapping[str, float] | None = None) -> None:
        self._bar.close()


def train(
    parameters: Mapping[str, Any],
    embedding: Embedding,
    rows: Matrix,
    label: Floats,
    weights: NDArray[np.float64] | None,
    held_out: NDArray[np.bool_],
    begin: tuple[Sequence[Floats], Sequence[Dense]] | None = None,
) -> TrainedWeights:
    """The best weights of all epochs, by the loss of the held-out rows. `parameters` are those of the network.

    `begin`: the tables and layers that training begins with, instead of random ones.
    """
    keras.utils.set_random_seed(parameters["seed"])
    fitted, codes = ~held_out, embedding.codes(rows).astype(np.int32)
    network = _network(parameters, embedding, rows.shape[1])
    tables = [each for each in network.layers if isinstance(each, layers.Embedding)]
    dense = [each for each in network.layers if isinstance(each, layers.Dense)]
    if begin is not None:
        for layer, weights_before in zip([*tables, *dense], [*([each] for each in begin[0]), *begin[1]], strict=True):
            layer.set_weights(weights_before)
    steps = parameters["epochs"] * -(-int(fitted.sum()) // parameters["batch_rows"])
    # The rate falls to zero along a cosine: large steps first, and no step that undoes the last ones at the end.
    rate = keras.optimizers.schedules.CosineDecay(parameters["learning_rate"], steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=parameters["weight_decay"])
    network.compile(optimizer, loss="binary_crossentropy")
    history = network.fit(
        [rows[fitted], codes[fitted]],
        label[fitted],
        sample_weight=None if weights is None else weights[fitted],
        validation_data=([rows[held_out], codes[held_out]], label[held_out]),
        batch_size=parameters["batch_rows"],
        epochs=parameters["epochs"],
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=parameters["patience"], restore_best_weights=True),
            _Progress(parameters["epochs"]),
        ],
    )
    return TrainedWeights(
        [each.get_weights()[0] for each in tables],
        [tuple(each.get_weights()) for each in dense],
        {"fitted_loss": history.history["loss"], "held_out_loss": history.history["val_loss"]},
    )


def _network(parameters: Mapping[str, Any], embedding: Embedding, width: int) -> Any:
    rows = keras.Input((width,))
    codes = keras.Input((len(embedding.sizes),), dtype="int32")
    embedded = [
        layers.Embedding(size, parameters["embedding"])(codes[:, place]) for place, size in enumerate(embedding.sizes)
    ]
    numbers = _Numbers(embedding)(rows)
    values = layers.Concatenate()([numbers, *embedded]) if embedded else numbers
    for _ in range(parameters["layers"]):
        values = layers.Dropout(parameters["dropout"])(layers.Dense(parameters["units"], activation="relu")(values))
    return keras.Model([rows, codes], layers.Dense(1, activation="sigmoid")(values))
