"""How much of the loss comes back when one thing about the answers is corrected, measured on days that were not used.

A correction shifts the log-odds by a few parameters, fitted by maximum likelihood on every second day and tried on the
others: a constant for the base rate, a constant and a slope (Cox 1958) for all entities or for those of one slice.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Days = NDArray[np.datetime64]

RIDGE = 1e-4  # a slice without a label entity on every second day has no finite maximum
STEPS, LONGEST_STEP = 20, 2.0


def constant(log_odds: Floats) -> Floats:
    return np.ones((len(log_odds), 1))


def constant_and_slope(log_odds: Floats, chosen: Labels) -> Floats:
    """Of the chosen entities; the others keep their answer."""
    centred = log_odds - log_odds[chosen].mean()
    corrections: Floats = np.column_stack([chosen, np.where(chosen, centred, 0)]).astype(np.float64)
    return corrections


def corrected(log_odds: Floats, label: Labels, corrections: Floats, days: Days) -> Floats:
    """The log-odds after a correction that each half of the days takes from the other half."""
    _, day = np.unique(days, return_inverse=True)
    after = log_odds.copy()
    for half in (0, 1):
        own = day % 2 == half
        weights = _fitted(log_odds[~own], label[~own], corrections[~own])
        after[own] += corrections[own] @ weights
    return after


def _fitted(log_odds: Floats, label: Labels, corrections: Floats) -> Floats:
    """Newton's method, with steps that cannot run away."""
    weights, count = np.zeros(corrections.shape[1]), len(label)
    for _ in range(STEPS):
        probability = expit(log_odds + corrections @ weights)
        gradient = corrections.T @ (probability - label) / count + RIDGE * weights
        spread = corrections * (probability * (1 - probability))[:, None]
        step = np.linalg.solve(spread.T @ corrections / count + RIDGE * np.eye(len(weights)), gradient)
        weights -= step * min(1.0, LONGEST_STEP / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights
