"""The process's generators of random numbers, and torch's gradient mode, as one state that can be taken, put back and seeded.
TextAttack draws from all of them. It covers the CPU's generators; no recipe draws on an accelerator.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Generators:
    """See `probes.engines.textattack.fibers.Private`."""

    def take(self) -> Any:
        """States of `random`, numpy's global generator and torch's CPU generator, and whether gradients are on."""
        import numpy as np
        import torch

        return random.getstate(), np.random.get_state(), torch.get_rng_state(), torch.is_grad_enabled()

    def put(self, state: Any) -> None:
        """Put back what `take` gave."""
        import numpy as np
        import torch

        own, numpys, torchs, gradients = state
        random.setstate(own)
        np.random.set_state(numpys)
        torch.set_rng_state(torchs)
        torch.set_grad_enabled(gradients)

    def seed(self, seed: int) -> None:
        """Seed all three with a number in [0, 2**32)."""
        import numpy as np
        import torch

        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
