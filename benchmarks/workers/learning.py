"""What the torch contestants have in common: device, threads, sizes, Adam at its fastest."""

import os
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def prepare() -> None:
    """As many threads as there are cores; the same numbers each time."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    np.random.seed(0)


def rounded(dtype: str) -> torch.autocast:
    """Products in bfloat16 where ours are; the rest, and all parameters, stay float32."""
    return torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16")


def wait(loss: torch.Tensor) -> None:
    """For the whole step: the teacher moves after the loss is known."""
    if loss.is_cuda:
        torch.cuda.synchronize()


def device_name() -> str:
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The fused kernel: of torch's forms the fastest."""
    wanted = [one for one in parameters if one.requires_grad]
    return torch.optim.AdamW(
        wanted, lr=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=True
    )


def update(
    loss: torch.Tensor, optimizer: torch.optim.Optimizer, clip: float | None = None
) -> torch.Tensor:
    """Backwards and one update; the loss, for which nobody has waited."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip:
        wanted = [one for group in optimizer.param_groups for one in group["params"]]
        nn.utils.clip_grad_norm_(wanted, clip)
    optimizer.step()
    return loss.detach()


def mover(student: nn.Module, teacher: nn.Module, decay: float = 0.999) -> Callable[[], None]:
    """teacher = decay * teacher + (1 - decay) * student, all that it owns in one call."""
    pairs = zip(student.parameters(), teacher.parameters())
    ours, theirs = zip(*[(one, other) for one, other in pairs if one is not other])

    @torch.no_grad()
    def move() -> None:
        torch._foreach_lerp_(theirs, ours, 1 - decay)

    return move


def count(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())
