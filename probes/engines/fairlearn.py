"""The one door to fairlearn: thresholds for each group, with lots between them, by its `ThresholdOptimizer`.

It hands over stored scores and takes back plain rules, so that nothing else knows fairlearn's objects. It measures
nothing: what the rules are worth is measured on other rows. fairlearn is imported inside functions.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any, Literal

import numpy as np

from probes.intervals import Bool, Float, Int
from probes.threshold_rules import ThresholdRule

Criterion = Literal["demographic_parity", "equal_opportunity", "predictive_equality", "equalized_odds"]
Objective = Literal["accuracy", "balanced_accuracy"]

CONSTRAINTS: dict[Criterion, str] = {
    "demographic_parity": "demographic_parity",
    "equal_opportunity": "true_positive_rate_parity",
    "predictive_equality": "false_positive_rate_parity",
    "equalized_odds": "equalized_odds",
}
OBJECTIVES: dict[Objective, str] = {"accuracy": "accuracy_score", "balanced_accuracy": "balanced_accuracy_score"}


def version() -> str:
    """Of the installed fairlearn."""
    return importlib.metadata.version("fairlearn")


def randomised_rules(
    scores: Float, truly: Bool, groups: Int, criterion: Criterion, objective: Objective
) -> tuple[ThresholdRule, ...]:
    """The rule of each group, 0 to G - 1, that equalises the criterion on these rows and does best by the objective.

    Exact parity needs a lot between two thresholds wherever scores have steps (Hardt, Price and Srebro 2016).

    Args:
        scores: of the positive class, shape (N,).
        truly: whether the label is the positive class, shape (N,).
        groups: codes, shape (N,); each needs rows of both labels.
    """
    optimiser = fit(scores, truly, groups, criterion, objective)
    found = optimiser.interpolated_thresholder_.interpolation_dict
    return tuple(_rule(found[g]) for g in sorted(found))


def fit(scores: Float, truly: Bool, groups: Int, criterion: Criterion, objective: Objective) -> Any:
    """fairlearn's fitted `ThresholdOptimizer` itself; arguments as in `randomised_rules`."""
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator

    class StoredScores(BaseEstimator):  # type: ignore[misc]
        """An estimator whose answer is its one input column."""

        def fit(self, X: Any, y: Any = None) -> Any:  # noqa: N803, ARG002  the signature is scikit-learn's
            self.fitted_ = True
            return self

        def predict(self, X: Any) -> Any:  # noqa: N803
            return np.asarray(X, dtype=np.float64)[:, 0]

    optimiser = ThresholdOptimizer(
        estimator=StoredScores().fit(None),
        constraints=CONSTRAINTS[criterion],
        objective=OBJECTIVES[objective],
        prefit=True,
        predict_method="predict",
    )
    return optimiser.fit(scores.reshape(-1, 1), truly.astype(int), sensitive_features=groups)


def _rule(found: Any) -> ThresholdRule:
    share = float(found.p0)
    first, second = float(found.operation0.threshold), float(found.operation1.threshold)
    if {found.operation0.operator, found.operation1.operator} != {">"}:
        raise ValueError("fairlearn turned a threshold round, which was not asked for")
    if share == 0 or first == second:
        first, share = second, 1.0
    if share == 1:
        second = first
    ignore = float(found.get("p_ignore", 0.0))
    constant = float(found.get("prediction_constant", 0.0)) if ignore > 0 else 0.0
    return ThresholdRule(threshold=first, other=second, share=share, ignore=ignore, constant=constant)
