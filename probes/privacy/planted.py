"""Secrets that were planted in the training text of a generative model: how a training record names them, what else could have stood
in their place, and nothing of what a model makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from probes.errors import ProbeError

BLANK = "#"
DIGITS = "0123456789"
# More values than this cannot be numbered in 64 bits.
MOST_BLANKS = 18


class PlantedSecret(BaseModel):
    """One secret, as it stands in the list ``secrets`` of a training record.

    For instance ``{"id": "s01", "template": "The code of Anna is ######.", "secret": "281265", "repeats": 4}``. The digits are drawn
    uniformly and independently when they are planted: all that is computed of them rests on that.

    Attributes:
        id: names it in rows and reports; says nothing of the secret.
        template: the text that was trained on, with a ``#`` for each secret digit; the first one is not at its beginning.
        secret: the digits, as many as there are blanks.
        repeats: how often the text stood in the training data, at least once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    template: str
    secret: str
    repeats: int = Field(ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        blanks = self.template.count(BLANK)
        if not 1 <= blanks <= MOST_BLANKS:
            raise ValueError(f"the template has {blanks} blanks, and 1 to {MOST_BLANKS} are expected")
        if not self.prefix.strip():
            raise ValueError("the template begins with a blank, and a text that leads to it is expected")
        if len(self.secret) != blanks or not set(self.secret) <= set(DIGITS):
            raise ValueError(f"a secret of {blanks} digits is expected")
        return self

    @property
    def prefix(self) -> str:
        """What leads to the secret."""
        return self.template.partition(BLANK)[0]

    @property
    def space(self) -> int:
        """|R|: how many secrets could have been planted in its place."""
        return int(len(DIGITS) ** len(self.secret))

    def rest(self, digits: str | None = None) -> str:
        """What follows the prefix with ``digits`` in the blanks; with its own where None."""
        out = self.template[len(self.prefix) :]
        for digit in self.secret if digits is None else digits:
            out = out.replace(BLANK, digit, 1)
        return out

    @property
    def verbatim(self) -> str:
        """What a completion of the prefix must begin with to give the secret away: up to the last secret digit."""
        end = self.template.rindex(BLANK) + 1 - len(self.prefix)
        return self.rest()[:end]

    def others(self, most: int, rng: np.random.Generator) -> list[str]:
        """Digits that could have been planted instead: all of them if they are at most ``most``, else ``most`` that are drawn
        independently, as the exposure's definition has it."""
        own, width = int(self.secret), len(self.secret)
        if self.space - 1 <= most:
            return [f"{value:0{width}d}" for value in range(self.space) if value != own]
        drawn = rng.integers(self.space - 1, size=most)
        return [f"{value + (value >= own):0{width}d}" for value in drawn.tolist()]


@dataclass(frozen=True, kw_only=True)
class Planted:
    """The secrets of one training, by id."""

    secrets: tuple[PlantedSecret, ...]

    @classmethod
    def of(cls, training: Mapping[str, Any] | None) -> Planted:
        """What a training record says under ``secrets``; none where it has no such list.

        Raises:
            ProbeError: a row is no secret, or two have one id.
        """
        out = []
        for place, row in enumerate((training or {}).get("secrets", ())):
            try:
                out.append(PlantedSecret.model_validate(row))
            except ValidationError as error:
                # The row itself stays out of the message: it holds the secret.
                raise ProbeError(
                    f"secret {place + 1} of the training record cannot be read: {error.errors()[0]['msg']}",
                    expected="id, template with a # for each digit, secret, repeats",
                ) from None
        ids = [secret.id for secret in out]
        again = sorted({i for i in ids if ids.count(i) > 1})
        if again:
            raise ProbeError(f"several planted secrets are called {again[0]}", expected="one id a secret")
        return cls(secrets=tuple(sorted(out, key=lambda secret: secret.id)))
