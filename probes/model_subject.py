"""The subject that is a model in memory, or a `transformers.pipeline` around one: read by the same tasks as a checkpoint, from a
copy, so that what the user holds is left as it was. It refuses pipelines whose scores it would not reproduce.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fine_tune.checkpoint import Checkpoint
from fine_tune.checkpoint_files import list_files, sha256_of
from fine_tune.data import AuditData
from fine_tune.errors import CheckpointError
from fine_tune.quiet import quiet_transformers
from fine_tune.recipe import TrainingRecord
from fine_tune.roles import canonical
from fine_tune.sources import first_line
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import SubjectError

PASSING = frozenset({"_name_or_path", "name_or_path", "transformers_version"})
PIPELINES = {
    "TextClassificationPipeline": ("tokenizer", {"truncation", "max_length", "padding"}),
    "ImageClassificationPipeline": ("image_processor", {"timeout"}),
}
HARMLESS_AFTERWARDS = frozenset({"top_k", "function_to_apply", "_legacy", "return_all_scores"})


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel(Checkpoint):
    """A model in memory that reads like a checkpoint. Build with `of` or `of_pipeline`.

    Attributes:
        model: a `PreTrainedModel`, or a peft model around one; never changed.
        processor: its tokenizer or image processor; never changed.
        place: the folder with the processor's files, for tasks that open it from there; it goes with this object.
    """

    model: Any = field(repr=False)
    processor: Any = field(repr=False)
    place: tempfile.TemporaryDirectory[str] = field(repr=False)

    @classmethod
    def of(cls, model: Any, processor: Any, *, name: str | None = None) -> LoadedModel:
        """Take a model with its tokenizer or image processor.

        Raises:
            CheckpointError: there is no processor, or it cannot be copied or written down.
        """
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        called = name or type(inner).__name__
        if processor is None:
            raise CheckpointError(
                f"the model {called} was given without its tokenizer or image processor",
                expected="both", fix="give processor=tokenizer, or a transformers.pipeline, which has both",
            )  # fmt: skip
        adapters = getattr(model, "active_peft_config", None)
        if getattr(adapters, "is_prompt_learning", False):
            raise CheckpointError(
                f"the model {called} is steered by learned prompts, which are no part of its weights",
                expected="a model with its own weights, or adapters inside its layers such as LoRA",
                fix="give a function from inputs to probabilities that asks it",
            )
        place = tempfile.TemporaryDirectory(prefix="plumbline-model-")
        config = {**inner.config.to_dict(), "architectures": [type(inner).__name__]}
        try:
            kept = copy.deepcopy(processor)
            _forget_last_call(kept)
            with quiet_transformers():
                kept.save_pretrained(place.name)
        except Exception as error:
            raise CheckpointError(f"the processor of {called} cannot be copied: {first_line(error)}") from error
        (Path(place.name) / "config.json").write_text(canonical(config), encoding="utf-8")
        return cls(
            name=called, folder=Path(place.name), config=config, ignored_files=(), model=model, processor=kept, place=place
        )  # fmt: skip

    @classmethod
    def of_pipeline(cls, pipeline: Any, *, name: str | None = None) -> LoadedModel:
        """Take model and processor out of a text or image classification pipeline.

        Honoured: ``max_length``, and softmax. A text beyond the model's limit is cut and counted, whatever
        ``truncation`` says. Without influence on scores: ``padding``, ``top_k``, ``timeout``, batch size and device.

        Raises:
            SubjectError: another kind of pipeline, or a setting that would change scores.
        """
        kind = type(pipeline).__name__
        if kind not in PIPELINES or not type(pipeline).__module__.startswith("transformers."):
            raise SubjectError(
                f"a pipeline of the kind {kind}",
                expected=f"one of {', '.join(PIPELINES)}",
                fix="give it as a callable: lambda inputs: pipeline(inputs, top_k=None)",
            )
        part, allowed = PIPELINES[kind]
        before = _settings(pipeline, "_preprocess_params")
        after = _settings(pipeline, "_postprocess_params")
        _refuse(kind, {k: v for k, v in before.items() if k not in allowed})
        _refuse(kind, _settings(pipeline, "_forward_params"))
        _refuse(kind, {k: v for k, v in after.items() if k not in HARMLESS_AFTERWARDS})
        applied = after.get("function_to_apply") or getattr(pipeline.model.config, "function_to_apply", None)
        if str(getattr(applied, "value", applied) or "softmax").lower() != "softmax":
            _refuse(kind, {"function_to_apply": getattr(applied, "value", applied)})
        processor = getattr(pipeline, part, None)
        if before.get("max_length") is not None and processor is not None:
            processor = copy.deepcopy(processor)
            processor.model_max_length = min(int(before["max_length"]), processor.model_max_length)
        return cls.of(pipeline.model, processor, name=name)

    @cached_property
    def digest(self) -> str:
        """sha256 over the weights, the configuration with its label names, the processor's files and the model's code."""
        skipped = {k: v for k, v in self.config.items() if k not in PASSING}
        files = {f: sha256_of(self.folder / f) for f in list_files(self.folder) if f != "config.json"}
        parts = [self.weights_digest, canonical(skipped), canonical(files), _code_of(type(self.model))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def weights_digest(self) -> str:
        """sha256 over names, types, shapes and bytes of the state dict."""
        import torch

        hashed = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if not isinstance(tensor, torch.Tensor):
                hashed.update(f"{name}\0{tensor!r}\n".encode())
                continue
            if tensor.is_meta:
                raise CheckpointError(f"the weights {name} of {self.name} are not in memory (device meta)")
            hashed.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            hashed.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
        return hashed.hexdigest()

    @cached_property
    def file_digests(self) -> dict[str, str]:
        """Empty: it rests on no files."""
        return {}

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def training_record(self) -> TrainingRecord | None:
        """None: what is in memory has no record beside it."""
        return None

    def load_model(self, device: str = "cpu") -> Any:
        """A copy in float32, in evaluation mode, on ``device``, without the gradients of the original.

        Raises:
            CheckpointError: it cannot be copied.
        """
        import torch

        try:
            twin = copy.deepcopy(self.model)
            for parameter in twin.parameters():
                parameter.grad = None
                # As in a checkpoint that is loaded: what the user froze for training can still be asked for gradients.
                parameter.requires_grad_(parameter.is_floating_point())
            # Adapters sit inside the layers; without the wrapper the task finds positions and embeddings where they are.
            inner = twin.get_base_model() if hasattr(twin, "get_base_model") else twin
            return inner.to(device=device, dtype=torch.float32).eval()
        except Exception as error:
            raise CheckpointError(
                f"the model {self.name} cannot be copied to {device}: {first_line(error)}",
                expected="a model that copy.deepcopy copies, and room for a copy",
                fix="save it with save_pretrained and name the folder",
            ) from error

    def load_tokenizer(self) -> Any:
        """A copy of the processor."""
        return copy.deepcopy(self.processor)


class ModelSubject(CheckpointSubject):
    """A `PreTrainedModel` in memory with the data it is examined on; see `probes.subject.Subject`.

    It goes the way of a checkpoint, so the scores are the same: the weights are copied in float32, put into evaluation
    mode and asked batch by batch. The user's model keeps its mode, device, gradients and weights.

    Args:
        model: from `LoadedModel.of`.
        data, threshold, positive: as `CheckpointSubject`.

    Raises:
        CheckpointError, DataError: as `CheckpointSubject`.
    """

    kind = "model"

    def __init__(
        self, model: LoadedModel, data: AuditData, *, threshold: float | None = None, positive: str | None = None
    ) -> None:
        super().__init__(model, data, threshold=threshold, positive=positive)
        held = sorted({str(p.dtype).removeprefix("torch.") for p in model.model.parameters()})
        self.details["weights_held_in"] = ", ".join(held)


class PipelineSubject(ModelSubject):
    """A text or image classification pipeline, read as the model and processor that it holds."""

    kind = "pipeline"

    def __init__(
        self, model: LoadedModel, data: AuditData, *, threshold: float | None = None, positive: str | None = None
    ) -> None:
        super().__init__(model, data, threshold=threshold, positive=positive)
        self.details["pipeline_settings"] = (
            "max_length and softmax are honoured; inputs beyond the limit are cut and counted"
        )


def _settings(pipeline: Any, name: str) -> dict[str, Any]:
    found = getattr(pipeline, name, None) or {}
    return dict(found) if isinstance(found, Mapping) else {}


def _refuse(kind: str, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        raise SubjectError(
            f"the {kind} is set to {name}={value!r}, which may change its scores",
            expected="a pipeline with softmax and no further settings; multi-label is not supported",
            fix="leave the setting out, or give the pipeline as a callable: lambda inputs: pipeline(inputs, top_k=None)",
        )


def _forget_last_call(processor: Any) -> None:
    """A fast tokenizer writes down how it last cut and padded; that is no part of what it is."""
    backend = getattr(processor, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def _code_of(kind: type) -> list[str]:
    """Where a model's class comes from; the source too, where no installed library stands for it."""
    where = [kind.__module__, kind.__qualname__]
    if kind.__module__.partition(".")[0] in {"transformers", "peft"}:
        return where
    try:
        return [*where, inspect.getsource(kind)]
    except (OSError, TypeError):
        return [*where, secrets.token_hex(32)]
