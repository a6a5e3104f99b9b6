"""One file = one method of attribution, found like tasks are: a module that holds ``METHOD``. Listing them loads no torch.

A method sees an adapter and a batch of inputs (see `probes.engines.captum.adapter`), and knows no journal and no probe.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from probes.engines.captum.adapter import Adapter
    from probes.engines.captum.explainer import Attribution, Encoded
    from probes.evidence import Message


@runtime_checkable
class Method(Protocol):
    """One way of giving units weights: a frozen dataclass whose further fields are its settings.

    Attributes:
        name: as plans write it.
        title: for people.
        source: the paper.
        promises: the weights are meant to add up to f(x) - f(baseline), so an error can be reported.
        default: probes use it unless told otherwise.
        signed: a weight's sign says for or against the target.
        seeded: it draws, so the seed is part of what it depends on.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> Message: ...
    @property
    def source(self) -> str: ...
    @property
    def promises(self) -> bool: ...
    @property
    def default(self) -> bool: ...
    @property
    def signed(self) -> bool: ...
    @property
    def seeded(self) -> bool: ...

    def check(self, adapter: Adapter) -> Message | None:
        """Why it cannot be used on this model, or None."""
        ...

    def attribute(
        self,
        adapter: Adapter,
        batch: Sequence[Encoded],
        targets: Sequence[int],
        rngs: Sequence[np.random.Generator],
    ) -> list[Attribution]:
        """Weights of one batch of inputs of similar length, in order; ``rngs`` holds a generator an input."""
        ...


@lru_cache(maxsize=1)
def _found() -> dict[str, Method]:
    found = {}
    for module in pkgutil.iter_modules(__path__):
        method = getattr(importlib.import_module(f"{__name__}.{module.name}"), "METHOD", None)
        if isinstance(method, Method):
            found[method.name] = method
    return dict(sorted(found.items()))


def methods() -> Mapping[str, Method]:
    """Every method, by name, with its usual settings."""
    return dict(_found())


def default_methods() -> tuple[str, ...]:
    """The methods that probes use unless told otherwise, by name; a model that does not serve one is said so by `check`."""
    return tuple(name for name, method in _found().items() if method.default)
