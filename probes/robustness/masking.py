"""What the outcomes of attacks say about the attacks: whether gradients mislead them, so that a model looks more robust than it is
(Athalye, Carlini and Wagner 2018). It counts no accuracy, and hides no row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from probes.evidence import Message, message
from probes.intervals import Bool, Float

DOUBT = 0.01


def warnings(attacks: Sequence[str], epsilons: Sequence[str], flipped: Bool, steepest: Float) -> list[Message]:
    """Remarks on N rows under A attacks at E epsilons.

    Args:
        attacks: with "fgsm", "noise" and "pgd".
        epsilons: names, ascending.
        flipped: the right answer is changed by this attack at this epsilon, shape (N, A, E).
        steepest: largest absolute entry of the gradient at the input before any change, shape (N,).
    """
    return [*_flat(steepest), *_masked(attacks, epsilons, flipped), *_weaker(attacks, epsilons, flipped)]


def _flat(steepest: Float) -> list[Message]:
    """No gradient at all: FGSM is blind there, and PGD nearly."""
    flat = int(np.count_nonzero(steepest == 0))
    if not flat:
        return []
    return [
        message(
            "Warning, gradient masking: at {rows} of {attacked} rows the model has no gradient, so that FGSM sees nothing "
            "and PGD little. Robust accuracy is too high there.",
            rows=flat, attacked=len(steepest),
        )
    ]  # fmt: skip


def _masked(attacks: Sequence[str], epsilons: Sequence[str], flipped: Bool) -> list[Message]:
    """PGD should find what a weaker attack of the same size finds; one-sided sign tests tell where it clearly does not."""
    out = []
    strong = flipped[:, attacks.index("pgd")]
    for weaker in ("fgsm", "noise"):
        other = flipped[:, attacks.index(weaker)]
        doubtful = []
        for e, name in enumerate(epsilons):
            only, missed = int((other & ~strong)[:, e].sum()), int((strong & ~other)[:, e].sum())
            if only > missed and stats.binomtest(only, only + missed, alternative="greater").pvalue < DOUBT:
                doubtful.append((name, only, missed))
        if doubtful:
            name, only, missed = max(doubtful, key=lambda d: d[1] - d[2])
            out.append(
                message(
                    "Warning, gradient masking: at epsilon {epsilon}, {weaker} changes {only} rows that PGD does not, and "
                    "PGD {missed} that {weaker} does not. The gradients mislead, or the steps are too few; robust accuracy "
                    "may be too high.",
                    epsilon=name, weaker=weaker, only=only, missed=missed,
                )
            )  # fmt: skip
    return out


def _weaker(attacks: Sequence[str], epsilons: Sequence[str], flipped: Bool) -> list[Message]:
    """Rows that an attack changes at one epsilon, and not at a larger one."""
    out = []
    for a, attack in enumerate(attacks):
        lost = (np.logical_or.accumulate(flipped[:, a], axis=1) & ~flipped[:, a]).sum(axis=0)
        if lost.any():
            out.append(
                message(
                    "At epsilon {epsilon}, {attack} does not change {rows} rows that it changed at a smaller one. They count "
                    "as changed from the smaller one on, as that change lies within both.",
                    epsilon=epsilons[int(lost.argmax())], attack=attack, rows=int(lost.max()),
                )
            )  # fmt: skip
    return out
