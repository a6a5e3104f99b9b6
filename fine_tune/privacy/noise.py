"""The two streams of chance that a private training hangs on: which units are drawn, and the noise. They are kept apart from every
other generator, are the same in every process, and stand in no record.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import numpy as np
import torch

from fine_tune.errors import RecipeError
from fine_tune.processes import is_main, process_count

# torch seeds its Mersenne Twister with the low 32 bits of a seed and no more: whoever guesses through them all has the noise. So
# all 624 words of its state are filled instead. In the state's bytes they follow the seed and three counters, 8 bytes each.
_WORDS = 624
_WORDS_FROM = 24
_STATE_BYTES = 5056
_DRAWING_WORDS = 8


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Generators of one private training.

    Attributes:
        drawing: decides which units take part in which step.
        noise: on the device that trains.
    """

    drawing: np.random.Generator
    noise: torch.Generator

    @classmethod
    def secret(cls, device: str) -> Streams:
        """From the operating system's entropy; every process gets what the main one drew.

        Raises:
            RecipeError: this version of torch keeps its generator in another way than is known here.
        """
        words = _from_main(_DRAWING_WORDS + _WORDS, device)
        drawing = np.random.default_rng(words[:_DRAWING_WORDS])
        return cls(drawing=drawing, noise=_filled(words[_DRAWING_WORDS:], device))

    @classmethod
    def repeatable(cls, key: str, device: str) -> Streams:
        """From ``key``, so that the same request has the same chance; for tests and experiments."""
        noise = torch.Generator(device=device).manual_seed(seed_of(key, "noise"))
        return cls(drawing=np.random.default_rng(seed_of(key, "sampling")), noise=noise)


def seed_of(key: str, purpose: str) -> int:
    """A seed of 56 bits for one purpose of one request."""
    return int.from_bytes(hashlib.sha256(f"{key}\0{purpose}".encode()).digest()[:7], "big")


def _filled(words: list[int], device: str) -> torch.Generator:
    generator = torch.Generator(device=device)
    if torch.device(device).type != "cpu":
        # Philox, as on GPUs, takes all 64 bits of a seed as its key; the sign is left out.
        generator.manual_seed((words[0] << 31) ^ words[1])
        return generator
    state = generator.manual_seed(0).get_state()
    if len(state) != _STATE_BYTES:
        raise RecipeError(
            f"torch {torch.__version__} keeps {len(state)} bytes of generator state",
            expected=f"{_STATE_BYTES}, so that all of it can be filled with entropy",
            fix="use a version of torch that constraints.txt names, or secure_rng: false for a training that is not to be released",
        )
    raw = state.numpy()
    raw[_WORDS_FROM : _WORDS_FROM + 8 * _WORDS] = np.array(words, dtype=np.uint64).view(np.uint8)
    generator.set_state(torch.from_numpy(raw))
    return generator


def _from_main(count: int, device: str) -> list[int]:
    """Random numbers of 32 bits, the main process's in every process."""
    own = [secrets.randbits(32) for _ in range(count)] if is_main() else [0] * count
    if process_count() == 1:
        return own
    import torch.distributed as dist

    said = torch.tensor(own, dtype=torch.int64, device=device)
    dist.broadcast(said, src=0)
    return [int(v) for v in said.tolist()]
