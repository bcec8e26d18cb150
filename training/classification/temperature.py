"""From logits to probabilities that can be believed: temperatures and biases, fitted on validation pictures.

Temperature scaling (Guo 2017), and for a presence a bias beside it (Platt 1999). Both maps keep the order of pictures.
A fit on few pictures is mostly chance, so each starts from "the network is right", temperature 1 and bias 0, and leaves
it only as far as the pictures pay for it: the logarithm of a temperature and a bias have normal priors about 0.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar

LOG_TEMPERATURE_DEVIATION = 0.5
"""Standard deviation of the prior: without a picture, a temperature lies between 0.37 and 2.7 in 95 of 100 cases."""

BIAS_DEVIATION = 1.0

_WIDEST = 3.0  # of the logarithm of a temperature, either way
_WIDEST_BIAS = 6.0


def presence_loss(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Negative log-likelihood of labels, summed over pictures; arguments as `fit_presence`, no label unknown."""
    signed = np.where(truth > 0, logits, -logits)
    return float(weights @ np.logaddexp(0.0, -signed))


def class_loss(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The same for classes; arguments as `fit_classes`, no label unknown."""
    own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]
    return float(weights @ (np.logaddexp.reduce(logits, axis=1) - own))


def fit_presence(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Temperature and bias of one condition's presence: the probability is the sigmoid of logit / temperature + bias.

    Args:
        logits: (N,) float.
        truth: (N,) int, 1, 0, negative: not known.
        weights: (N,) how much each picture counts; copies of one original should share one.

    Returns:
        1 and 0 without a picture whose label is known.
    """
    known, labels, counts = _known(truth, weights)
    values = np.asarray(logits, np.float64)[known]
    if not len(values):
        return 1.0, 0.0

    def loss(point: np.ndarray) -> float:
        prior = (point[0] / LOG_TEMPERATURE_DEVIATION) ** 2 / 2 + (point[1] / BIAS_DEVIATION) ** 2 / 2
        return float(presence_loss(values * np.exp(-point[0]) + point[1], labels, counts) + prior)

    start = np.zeros(2)
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(-_WIDEST, _WIDEST), (-_WIDEST_BIAS, _WIDEST_BIAS)]).x
    best = found if loss(found) <= loss(start) else start
    return float(np.exp(best[0])), float(best[1])


def fit_classes(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Temperature of one of several classes: the probabilities are the softmax of logits / temperature.

    Args:
        logits: (N, K) float.
        truth: (N,) int, 0 to K - 1, negative: not known.
        weights: as in `fit_presence`.

    Returns:
        1 without a picture whose label is known.
    """
    known, labels, counts = _known(truth, weights)
    values = np.asarray(logits, np.float64)[known]
    if not len(values):
        return 1.0

    def loss(log_temperature: float) -> float:
        prior = (log_temperature / LOG_TEMPERATURE_DEVIATION) ** 2 / 2
        return class_loss(values * np.exp(-log_temperature), labels, counts) + prior

    found = float(minimize_scalar(loss, bounds=(-_WIDEST, _WIDEST), method="bounded").x)
    return float(np.exp(found)) if loss(found) <= loss(0.0) else 1.0


def fit_severity(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Temperature of one condition's severity.

    The severity head only shares out what the presence head calls present (`device_app.vision.conditions`), so it is
    fitted where the condition is there, among mild, moderate and severe.

    Args:
        logits: (N, 4) float.
        truth: (N,) int, severity 0..3, negative: not known.
        weights: as in `fit_presence`.
    """
    truth = np.asarray(truth, np.int64)
    return fit_classes(logits[:, 1:], np.where(truth > 0, truth - 1, -1), weights)


def originals_share(groups: tuple[str, ...]) -> np.ndarray:
    """(N,) weights by which all pictures of one group count as one."""
    _, member, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / sizes[member])


def _known(truth: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which labels are known, those, and the weights of their pictures."""
    known = np.asarray(truth) >= 0
    counts = np.ones(len(known)) if weights is None else np.asarray(weights, np.float64)
    return known, np.asarray(truth)[known].astype(np.int64), counts[known]
