"""Recalibration of the log-odds, cross-fitted by days: how much loss one correction of the predictions would save.

A correction adds a linear function to the log-odds. It is fitted by maximum likelihood on every second day and applied
to the other days. An intercept corrects the base rate; an intercept and a slope (Cox 1958) correct all entities, or
those of one slice.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Days = NDArray[np.datetime64]

RIDGE = 1e-4  # without it, a slice that has only one label on every second day has no finite maximum
MAX_STEPS, MAX_STEP_SIZE, TOLERANCE = 20, 2.0, 1e-8


def intercept_design(log_odds: Floats) -> Floats:
    return np.ones((len(log_odds), 1))


def slope_design(log_odds: Floats, chosen: Labels) -> Floats:
    """Intercept and slope for the chosen entities; zeros for the others, so that their log-odds stay the same.

    >>> slope_design(np.array([-1.0, 1.0, 5.0]), np.array([True, True, False])).tolist()
    [[1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]
    """
    centred = log_odds - log_odds[chosen].mean()
    design: Floats = np.column_stack([chosen, np.where(chosen, centred, 0)]).astype(np.float64)
    return design


def cross_fitted(log_odds: Floats, label: Labels, design: Floats, days: Days) -> Floats:
    """The corrected log-odds; each half of the days is corrected by a fit to the other half."""
    _, day = np.unique(days, return_inverse=True)
    corrected = log_odds.copy()
    for half in (0, 1):
        rows = day % 2 == half
        weights = _fit(log_odds[~rows], label[~rows], design[~rows])
        corrected[rows] += design[rows] @ weights
    return corrected


def _fit(log_odds: Floats, label: Labels, design: Floats) -> Floats:
    """Newton's method, with a limit on the size of a step."""
    weights, count = np.zeros(design.shape[1]), len(label)
    for _ in range(MAX_STEPS):
        probability = expit(log_odds + design @ weights)
        gradient = design.T @ (probability - label) / count + RIDGE * weights
        weighted = design * (probability * (1 - probability))[:, None]
        step = np.linalg.solve(weighted.T @ design / count + RIDGE * np.eye(len(weights)), gradient)
        weights -= step * min(1.0, MAX_STEP_SIZE / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < TOLERANCE:
            break
    return weights
