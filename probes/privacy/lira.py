"""The likelihood ratio attack (Carlini et al., 2022): is a row's confidence more like that of models which saw it, or of models
which did not? Arrays in, scores out; it trains nothing, and a row without the models that it needs has NaN.
"""

from __future__ import annotations

import numpy as np

from probes.intervals import Bool, Float

# From so many shadow models on the paper gives every row a variance of its own; below, one is shared by all rows.
OWN_VARIANCE = 64
_LEAST_VARIANCE = 1e-12
# Of probabilities: beyond it a float64 softmax holds nothing that could be told apart.
_LEAST = 1e-300


def confidence(scores: Float, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Float:
    """Logit-scaled confidence in the label, log(p / (1 - p)), shape (n,).

    1 - p is summed over the other classes, so that confidences near 1 keep their digits.

    Args:
        scores: probabilities, shape (n, K) with K at least 2.
        labels: codes in [0, K), shape (n,).
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    others = scores.copy()
    np.put_along_axis(others, labels[:, None], 0.0, axis=1)
    return np.asarray(np.log(np.maximum(own, _LEAST)) - np.log(np.maximum(others.sum(axis=1), _LEAST)))


def likelihood_ratio(observed: Float, shadows: Float, inside: Bool) -> Float:
    """The online attack: log of N(observed; models that saw the row) / N(observed; models that did not), shape (n,).

    Args:
        observed: confidence of the examined model in each row, shape (n,).
        shadows: the same of each shadow model, shape (k, n).
        inside: whether the row was in that model's training rows, shape (k, n).

    Returns:
        Higher is more like a member; NaN for rows that every model saw, or none.
    """
    return _log_density(observed, shadows, inside) - _log_density(observed, shadows, ~inside)


def exceedance(observed: Float, shadows: Float, inside: Bool) -> Float:
    """The offline attack: how far the confidence lies above that of models which did not see the row, shape (n,).

    The paper's 1 - P(Z > observed) for Z normal, on the scale of standard deviations, which ranks rows alike and does not
    saturate. Arguments as `likelihood_ratio`; NaN for rows that every model saw.
    """
    centre, variance = _normal(shadows, ~inside)
    return np.asarray((observed - centre) / np.sqrt(variance))


def _log_density(observed: Float, shadows: Float, chosen: Bool) -> Float:
    centre, variance = _normal(shadows, chosen)
    return np.asarray(-((observed - centre) ** 2) / (2 * variance) - np.log(variance) / 2)


def _normal(shadows: Float, chosen: Bool) -> tuple[Float, Float]:
    """Mean and variance of each row over the chosen models, both of shape (n,).

    With few models the variance is pooled: squared distances from each row's mean, over all rows. NaN where a row has no
    chosen model, or none could be estimated.
    """
    number = chosen.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.where(chosen, shadows, 0.0).sum(axis=0) / number
        squares = np.where(chosen, (shadows - centre) ** 2, 0.0).sum(axis=0)
        if len(shadows) >= OWN_VARIANCE:
            variance = np.where(number > 1, squares / (number - 1), np.nan)
        else:
            freedom = np.maximum(number - 1, 0).sum()
            variance = np.full(len(number), squares[number > 1].sum() / freedom if freedom else np.nan)
    return centre, np.maximum(variance, _LEAST_VARIANCE)
