"""BadCharacters: changes that a reader cannot see, found by differential evolution.

Search and transformations are the recipe's own. Its goal aims at one class for every text; without a target the goal here
is any other class, as in the other recipes, so that their success rates can be compared. The search fails when it asks
beyond a query budget, with or without this package; `probes.engines.textattack.lanes` keeps what it had found by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.engines.textattack.arguments import Argument, Value

KINDS = ("homoglyphs", "invisible", "deletions", "reorderings")

ARGUMENTS = (
    Argument(name="perturbation_type", kind=str, default="homoglyphs", choices=KINDS, help="what is changed unseen"),
    Argument(name="perturbs", kind=int, default=1, lowest=1, help="how many changes a text may have"),
    Argument(name="popsize", kind=int, default=32, lowest=1, help="population of the search, times its dimensions"),
    Argument(name="maxiter", kind=int, default=10, lowest=1, help="generations of the search"),
    Argument(
        name="target_class", kind=int, lowest=0, help="number of the class to aim at; any other class if left out"
    ),
)


def make(wrapper: Any, values: Mapping[str, Value]) -> Any:
    """TextAttack's BadCharacters; without a target, with an untargeted goal."""
    from textattack import Attack
    from textattack.attack_recipes import BadCharacters2021
    from textattack.goal_functions import UntargetedClassification

    own = BadCharacters2021.build(
        wrapper,
        goal_function_type="targeted_classification",
        perturbation_type=values["perturbation_type"],
        perturbs=values["perturbs"],
        popsize=values["popsize"],
        maxiter=values["maxiter"],
        target_class=values.get("target_class", 0),
    )
    if "target_class" in values:
        return own
    return Attack(UntargetedClassification(wrapper), own.constraints, own.transformation, own.search_method)
