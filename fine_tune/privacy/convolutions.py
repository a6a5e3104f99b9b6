"""Gradients of convolutions a row: written out by one grouped convolution, or as inputs cut into patches, from which norms come
without writing them out. It knows shapes and strides, not clipping.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight


def unfolded(module: Any, inputs: Tensor) -> Tensor:
    """What each place of the output sees, shape (b, t, inward times kernel), for one or two dimensions and a single group."""
    dims = inputs.dim() - 2
    inputs, padding = _padded(module, inputs)
    lead = (1,) * (2 - dims)
    inputs = inputs.reshape(*inputs.shape[:2], *lead, *inputs.shape[2:])
    patches = F.unfold(
        inputs, (*lead, *module.kernel_size), dilation=(*lead, *module.dilation),
        padding=(*(0,) * (2 - dims), *padding), stride=(*lead, *module.stride),
    )  # fmt: skip
    return patches.transpose(1, 2)


def convolved(module: Any, inputs: Tensor, grads: Tensor) -> Tensor:
    """Each row's weight gradient, shape (b, *weight): one grouped convolution in which every row is a group of its own."""
    rows, outward = len(inputs), module.weight.shape[0]
    convolve = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}[inputs.dim() - 2]
    inputs, padding = _padded(module, inputs)
    stacked: Tensor = convolve(  # type: ignore[no-untyped-call]
        inputs.reshape(1, rows * inputs.shape[1], *inputs.shape[2:]),
        (rows * outward, *module.weight.shape[1:]),
        grads.reshape(1, rows * outward, *grads.shape[2:]),
        stride=module.stride, padding=padding, dilation=module.dilation, groups=rows * module.groups,
    )  # fmt: skip
    return stacked.reshape(rows, *module.weight.shape)


def _padded(module: Any, inputs: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The inputs and the padding that is left to do, where padding is given by a word."""
    dims = inputs.dim() - 2
    if module.padding == "valid":
        return inputs, (0,) * dims
    if module.padding == "same":
        sides = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        pads = [side for total in reversed(sides) for side in (total // 2, total - total // 2)]
        return F.pad(inputs, pads), (0,) * dims
    return inputs, tuple(module.padding)
