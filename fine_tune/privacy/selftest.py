"""Proves on a handful of rows, before any private step, that clipped sums are what they claim to be. A training whose proof fails
does not start, so that no epsilon is ever printed for an unchecked model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fine_tune.errors import RecipeError
from fine_tune.privacy.clipping import ChangedInputsError, Clipper
from fine_tune.privacy.meeting import module_where_rows_meet
from fine_tune.privacy.reference import Losses, Wanted, moved, references
from fine_tune.sources import first_line

# Of a weight's largest entry. Entries that are that small beside the largest of all weights are rounding.
TOLERANCE = 1e-4
_ROUNDING = 5e-6
ROWS = 4


def self_test(
    model: nn.Module,
    make: Callable[[], Clipper],
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    examples: list[dict[str, Any]],
    losses: Losses,
    *,
    bound: float,
) -> Clipper:
    """Compare a clipper with the reference and hand it over if they agree.

    They are compared twice: at the weights as they are, and at weights that are moved a little and put back, because
    weights that start at zero (the second factor of LoRA, small layer scales) hide the gradients of others.

    Args:
        model: with the flags of what is trained set; its modes and weights are restored.
        make: opens the clipper on the model.
        collate: examples to a batch on the model's device.
        examples: three or four rows, of different lengths where rows have a length.
        losses: from a batch to one loss a row.
        bound: the clipping norm.

    Raises:
        RecipeError: the sums differ, some parameter gets no gradient from any row though the reference has one, the
            clipper holds other parameters than the model trains, or a layer learns statistics without noise; the message
            names the layer.
    """
    if not examples:
        raise RecipeError("there is no row to check clipping with", expected="three or four training rows")
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    _refuse_statistics(model, collate(examples), losses)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    # Opacus' hooks look at layers in training mode alone; what owns weights directly seldom has dropout of its own.
    for module in model.modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)) or hasattr(module, "parametrizations"):
            module.training = True
    try:
        wanted, elsewhere = references(trained, [collate([e]) for e in examples], losses, bound)
        clipper = make()
        try:
            _same_weights(trained, clipper)
            clipper.bound = wanted.bound
            batch = collate(examples)
            _compare(model, clipper, wanted, batch, losses)
            clipper.bound = elsewhere.bound
            with moved(trained):
                _compare(model, clipper, elsewhere, batch, losses)
        except BaseException:
            clipper.close()
            raise
        clipper.bound = bound
        return clipper
    finally:
        for module, mode in modes.items():
            module.training = mode


def refuse_beyond_bound(clipper: Clipper, rows: Iterable[dict[str, Any]], losses: Losses) -> None:
    """In bfloat16 sums cannot equal the reference, but what a row contributes must still be within its bound.

    Args:
        clipper: its bound is restored, and nothing is left in its sums.
        rows: batches of one row.
        losses: from a batch to one loss a row, as in training.

    Raises:
        RecipeError: a contribution is larger than the norm that it was clipped to.
    """
    whole = clipper.bound
    for row in rows:
        norm = float(clipper.backward(losses(row))[0])
        clipper.take()
        if not norm > 0:
            continue
        clipper.bound = 0.5 * norm
        clipper.backward(losses(row))
        left = math.sqrt(sum(float(total.double().square().sum()) for total in clipper.take().values()))
        # Dropout makes the second norm another one, maybe below the bound; above it can't be.
        if not left <= clipper.bound * (1 + TOLERANCE):
            raise RecipeError(
                f"in bf16 a contribution of norm {left:.6g} was left of one clipped to {clipper.bound:.6g}",
                expected="none above the bound", fix="precision: fp32, or another privacy.gradients",
            )  # fmt: skip
    clipper.bound = whole


def _same_weights(trained: dict[str, nn.Parameter], clipper: Clipper) -> None:
    other = sorted(set(clipper.parameters) ^ set(trained))
    other += [n for n, p in clipper.parameters.items() if n in trained and p is not trained[n]]
    if other:
        raise RecipeError(
            f"private training would clip {len(clipper.parameters)} weights, and {len(trained)} are trained; {', '.join(other[:3])}"
            " is in one of the sets alone",
            expected="the same ones", fix="set privacy.gradients: hooks, or another method",
        )  # fmt: skip


def _compare(model: nn.Module, clipper: Clipper, wanted: Wanted, batch: dict[str, Any], losses: Losses) -> None:
    try:
        seen = clipper.backward(_forward(model, clipper, batch, losses))
    except ChangedInputsError:
        # The clipper knows by now whose inputs it has to copy.
        seen = clipper.backward(_forward(model, clipper, batch, losses))
    sums = clipper.take()
    if set(sums) != set(wanted.sums):
        raise RecipeError(
            f"clipping gives sums of {len(sums)} weights, and {len(wanted.sums)} are trained; one of them alone has"
            f" {', '.join(sorted(set(sums) ^ set(wanted.sums))[:3])}",
            expected="the same ones", fix="set privacy.gradients: hooks, or another method",
        )  # fmt: skip
    wrong = _wrong_sum(model, clipper.mode, wanted, sums) or _wrong_norm(wanted.norms, [float(v) for v in seen])
    if wrong is None:
        return
    where = module_where_rows_meet(model, batch, losses)
    if where is not None:
        raise RecipeError(
            f"rows of a batch meet in {where}, so no row's contribution can be clipped alone", expected="layers that look at one row at a time",
            fix="use a base without that layer",
        )  # fmt: skip
    raise wrong


def _forward(model: nn.Module, clipper: Clipper, batch: dict[str, Any], losses: Losses) -> Tensor:
    """The losses of a pass that went well without the clipper.

    Raises:
        RecipeError: it does not go well with it, as where something changes in place what Opacus has hooked.
    """
    failed: list[str] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG001
            if output is None:
                failed.append(f"{name or 'the model'} ({type(module).__name__})")

        return hook

    handles = [m.register_forward_hook(note(n), always_call=True) for n, m in model.named_modules()]
    try:
        return losses(batch)
    except RuntimeError as error:
        where = failed[0] if failed else "the loss"
        raise RecipeError(
            f"{where} fails while gradients are clipped ({clipper.mode}): {first_line(error)}", expected="layers that can be clipped",
            fix="set privacy.gradients: auto, or a method that does not train these layers (head, lora)",
        ) from error  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()


def _wrong_sum(model: nn.Module, mode: str, wanted: Wanted, sums: dict[str, Tensor]) -> RecipeError | None:
    """What is said of the weight that is furthest off, if one is too far off."""
    scale = max(wanted.sizes.values(), default=0.0) or 1.0
    furthest, name, worst = 0.0, "", 0.0
    for one, want in wanted.sums.items():
        if sums[one].shape != want.shape:
            return RecipeError(
                f"the clipped gradient of {one} has the shape {tuple(sums[one].shape)}", expected=f"{tuple(want.shape)}"
            )
        difference = float((sums[one].float() - want).abs().max()) if want.numel() else 0.0
        off = difference / (TOLERANCE * wanted.sizes[one] + _ROUNDING * scale)
        if not off <= max(1.0, furthest):
            furthest, name, worst = off, one, difference
        if math.isnan(off):
            break
    if not name:
        return None
    said = f"differs from one-at-a-time clipping by {worst:.2g}" if bool(sums[name].any()) else "is missing"
    kind = type(model.get_submodule(name.rpartition(".")[0])).__name__
    return RecipeError(
        f"the clipped gradient of {name} {said} ({kind}, {mode})",
        expected=f"a difference of at most {TOLERANCE:g} of its largest entry, {wanted.sizes[name]:.2g}",
        fix="set privacy.gradients to another way, or a method that does not train this layer (head, lora); without agreement"
        " no epsilon can be stated. If rows change with the padding that other rows bring, pad all to one length",
    )


def _wrong_norm(wanted: list[float], seen: list[float]) -> RecipeError | None:
    if len(wanted) != len(seen):
        return RecipeError(f"clipping saw {len(seen)} rows", expected=f"{len(wanted)}")
    for want, got in zip(wanted, seen, strict=True):
        if not abs(want - got) <= TOLERANCE * max(1e-3, want):
            return RecipeError(
                f"a row's gradient has the norm {want:.6g}, and clipping took it for {got:.6g}", expected="the same norm",
                fix="set privacy.gradients to another way",
            )  # fmt: skip
    return None


def _refuse_statistics(model: nn.Module, batch: dict[str, Any], losses: Losses) -> None:
    """Refuse what is learned without a gradient: it would leave with the weights, and no noise was added to it.

    Raises:
        RecipeError: a buffer that is saved with the weights changes in a forward pass; it is put back.
    """
    saved = set(model.state_dict(keep_vars=True))
    before = {n: b.detach().clone() for n, b in model.named_buffers() if n in saved}
    if not before:
        return
    # Masks are drawn here, and the training's own must not depend on that.
    with torch.random.fork_rng(devices=_accelerators(model)), torch.no_grad():
        losses(batch)
    after = dict(model.named_buffers())
    changed = [n for n, b in before.items() if not torch.equal(b, after[n])]
    with torch.no_grad():
        for name in changed:
            after[name].copy_(before[name])
    if changed:
        owner = changed[0].rpartition(".")[0]
        raise RecipeError(
            f"{owner} ({type(model.get_submodule(owner)).__name__}) learns {changed[0].rpartition('.')[2]} from rows without noise",
            expected="statistics that stand still",
            fix="set privacy.batch_norm: hold, or use a base without that layer",
        )


def _accelerators(model: nn.Module) -> list[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
