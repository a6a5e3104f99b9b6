"""What a private training may claim, and what it rests on: plain data, with the fields that NIST SP 800-226 asks for. A ledger
holds an epsilon only where every condition of the guarantee was met; otherwise it holds the reasons. It trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from fine_tune.errors import RecipeError
from fine_tune.privacy.accounting import epsilon_spent
from fine_tune.privacy.conditions import known_issues, refusals
from fine_tune.privacy.facts import Closed, Facts, Outside, Remark, message
from fine_tune.privacy.settings import Accountant

# An epsilon as large bounds nothing; RDP, which is cheap, tells whether it is as large.
MOST_BY_PRV = 1000

NEIGHBOURS = "add or remove one unit"
MECHANISM = "Poisson-subsampled Gaussian"


class Ledger(Closed):
    """What may be said of the privacy of a training; made by `settle`.

    Attributes:
        facts: what it rests on.
        neighbours: which data sets are neighbours.
        mechanism: what was run.
        epsilon: the guarantee at ``facts.delta``; None where it can't be stood behind.
        epsilon_rdp, epsilon_prv: the same by either accountant; None where that one gives none.
        refusals: why there is no epsilon; empty where there is one.
        not_covered: what epsilon does not protect.
        outside: everything that was fitted or chosen beside the private steps.
        versions: of the libraries.
        known_issues: what is known of these versions.
    """

    schema_: Literal["plumbline.ledger/v1"] = Field(default="plumbline.ledger/v1", alias="schema")
    facts: Facts
    neighbours: str = NEIGHBOURS
    mechanism: str = MECHANISM
    epsilon: float | None
    epsilon_rdp: float | None = None
    epsilon_prv: float | None = None
    refusals: tuple[Remark, ...] = ()
    not_covered: tuple[Remark, ...] = ()
    outside: tuple[Outside, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    known_issues: tuple[Remark, ...] = ()

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.epsilon is None) != bool(self.refusals):
            raise ValueError("a ledger holds an epsilon or the reasons why there is none")
        if self.epsilon is not None and refusals(self.facts, self.outside):
            raise ValueError("a ledger holds an epsilon that its own facts speak against")
        return self


def settle(
    facts: Facts,
    *,
    outside: Sequence[Outside] = (),
    not_covered: Sequence[Remark] = (),
    versions: dict[str, str] | None = None,
) -> Ledger:
    """The ledger of a training: an epsilon where `refusals` finds nothing against it, otherwise the reasons."""
    found = list(refusals(facts, outside))
    spent: dict[Accountant, float | None] = {"rdp": None, "prv": None}
    if not found:
        phases = [release.phase for release in facts.releases]
        for name in spent:
            if name == "prv" and (spent["rdp"] is None or spent["rdp"] > MOST_BY_PRV):
                # Its mesh grows with epsilon, to minutes and gigabytes, for a figure that promises nothing.
                if name == facts.accountant:
                    found.append(
                        message(
                            "Epsilon is beyond {most}, more than the PRV accountant is asked for.", most=MOST_BY_PRV
                        )
                    )
                continue
            try:
                spent[name] = epsilon_spent(phases, facts.delta, name)
            except (RecipeError, ValueError, ArithmeticError, MemoryError) as error:
                if name == facts.accountant:
                    found.append(
                        message("The {accountant} accountant gives no figure: {why}.", accountant=name, why=str(error))
                    )
    epsilon = None if found else spent[facts.accountant]
    if epsilon is not None and facts.target_epsilon is not None and epsilon > facts.target_epsilon:
        not_covered = (
            *not_covered,
            message("The training spent {spent}, more than the {asked} that was asked for.", spent=epsilon, asked=facts.target_epsilon),
        )  # fmt: skip
    made = dict(versions or {})
    return Ledger(
        facts=facts, epsilon=epsilon, epsilon_prv=spent["prv"], epsilon_rdp=spent["rdp"], refusals=tuple(found),
        not_covered=tuple(not_covered), outside=tuple(outside), versions=made, known_issues=known_issues(facts, made),
    )  # fmt: skip
