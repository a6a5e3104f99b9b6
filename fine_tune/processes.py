"""Training in several processes, as torchrun and accelerate start them: who writes, and how the others wait. It
starts no process and ends none.
"""

from __future__ import annotations

import os


def process_count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """The number of this process among those that train together, from 0."""
    return int(os.environ.get("RANK", "0"))


def join_processes(device: str) -> None:
    """Let processes that were launched together know of one another; at once where there is one alone or they do already."""
    if process_count() > 1:
        import torch
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return process_rank() == 0


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
