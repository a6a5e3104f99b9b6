"""Training in several processes, as torchrun and accelerate start them: who writes, and how the others wait. It
starts no process and ends none.
"""

from __future__ import annotations

import os


def process_count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Return once every process is here; at once where there is one alone."""
    if process_count() > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.barrier()


def main_says(answer: bool, device: str) -> bool:
    """The main process's answer, in every process."""
    if process_count() == 1:
        return answer
    import torch
    import torch.distributed as dist

    said = torch.tensor([int(answer)], device=device)
    dist.broadcast(said, src=0)
    return bool(said.item())
