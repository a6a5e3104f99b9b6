"""How alike two texts are to a sentence encoder that the user names: the cosine of mean-pooled embeddings. It refuses an
encoder with the weights of the examined model, which has just been misled, and downloads nothing unless that was allowed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tune.errors import CheckpointError
from fine_tune.untrusted import MOST_CONFIG, parse_json, place, read_file
from probes.errors import Unavailable

if TYPE_CHECKING:
    from fine_tune.checkpoint import Checkpoint
    from probes.probe import Context

BATCH = 32
_MODULES = ("Transformer", "Pooling", "Normalize")
_OWN_FILES = ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json")


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A sentence encoder that is loaded. Build with `open`.

    Attributes:
        name: what the user called it.
        digest: sha256 over its weights, configuration and tokenizer.
        max_length: tokens of a text that it reads; the rest is cut.
    """

    name: str
    digest: str
    max_length: int
    device: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)

    @classmethod
    def open(cls, name: str, *, network: bool, device: str) -> Encoder:
        """Load one from a folder, or by its hub id from a package or the hub's cache.

        Args:
            name: the folder or hub id.
            network: a hub id that is not cached may be downloaded.
            device: torch's name of the device.

        Raises:
            Unavailable: it is not here and may not be downloaded, or it does not pool by the mean.
            CheckpointError: it cannot be loaded safely.
        """
        from fine_tune.checkpoint import Checkpoint
        from fine_tune.tasks.text_classification import input_limit

        checkpoint = Checkpoint.open(_folder(name, network=network))
        _check_pooling(name, checkpoint.folder)
        model, tokenizer = _load(name, checkpoint), checkpoint.load_tokenizer()
        limit = _own(checkpoint.folder, "sentence_bert_config.json").get("max_seq_length")
        longest = input_limit(model, tokenizer)
        return cls(
            name=name,
            digest=checkpoint.digest,
            max_length=min(longest, limit) if isinstance(limit, int) and limit > 0 else longest,
            device=device,
            model=model.to(device).eval(),
            tokenizer=tokenizer,
        )

    def similarities(self, pairs: Sequence[tuple[str, str]], ctx: Context) -> list[float]:
        """The cosine of each pair's embeddings, in [-1, 1]; journalled batch by batch."""
        space = json.dumps(["similarity/1", self.digest, self.max_length, self.device.partition(":")[0], *_versions()])
        batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
        found: list[float] = []
        for batch in ctx.progress(batches, len(batches), f"comparing texts by {self.name}"):
            key = hashlib.sha256(json.dumps([space, batch]).encode()).hexdigest()
            kept = ctx.journal.lookup(key)
            if kept is None:
                kept = self._cosines(batch)
                ctx.journal.append([(key, kept)])
            found += kept
        return found

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than it reads."""
        encoded = self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"] if texts else []
        return sum(len(ids) > self.max_length for ids in encoded)

    def has_weights_of(self, model: Any) -> bool:
        """Whether a model's body is this encoder: every weight that both have by name is the same, and there are some.

        Poolers do not count, as neither embeddings nor many heads use them.
        """
        import torch

        body = getattr(model, getattr(model, "base_model_prefix", "") or "", model)
        theirs, mine = body.state_dict(), self.model.state_dict()
        common = [name for name in mine if name in theirs and "pooler" not in name and mine[name].is_floating_point()]
        return bool(common) and all(
            mine[name].shape == theirs[name].shape and torch.equal(mine[name].cpu(), theirs[name].cpu())
            for name in common
        )

    def _cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        import torch

        with torch.inference_mode():
            one, two = (self._embed([pair[side] for pair in pairs]) for side in (0, 1))
            cosines = torch.nn.functional.cosine_similarity(one, two, dim=-1).clamp(-1.0, 1.0)
        return [float(value) for value in cosines]

    def _embed(self, texts: Sequence[str]) -> Any:
        """Mean over the tokens of each text, shape (len(texts), width), in float64."""
        import torch

        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt", verbose=False
        ).to(self.device)
        hidden = self.model(**batch).last_hidden_state.to("cpu", torch.float64)
        mask = batch["attention_mask"].to("cpu", torch.float64).unsqueeze(-1)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)


def _folder(name: str, *, network: bool) -> str:
    import huggingface_hub

    from fine_tune.checkpoint_files import MATTERS, PICKLES, resolve_base

    folder = place(Path(), resolve_base(name), error=CheckpointError)
    if folder.is_dir():
        return str(folder)
    try:
        return str(
            huggingface_hub.snapshot_download(
                name,
                allow_patterns=[*MATTERS, *_OWN_FILES],
                ignore_patterns=list(PICKLES),
                local_files_only=not network,
            )
        )
    except Exception as error:
        if network:
            raise Unavailable(f"the encoder {name} is no folder here, and the hub did not give it") from error
        raise Unavailable(
            f"the encoder {name} is no folder here and not in the hub's cache, and no download was allowed",
            fix="name a folder, or set network: true",
        ) from error


def _own(folder: Path, name: str) -> dict[str, Any]:
    """A settings file of sentence-transformers; empty where there is none."""
    path = folder / name
    if not path.is_file():
        return {}
    body = parse_json(
        read_file(path, MOST_CONFIG, error=CheckpointError), str(path), error=CheckpointError, strict=False
    )
    if isinstance(body, list):
        return {"modules": body}
    return body if isinstance(body, dict) else {}


def _check_pooling(name: str, folder: Path) -> None:
    pooling = _own(folder, "1_Pooling/config.json")
    chosen = [
        key.removeprefix("pooling_mode_") for key, on in pooling.items() if key.startswith("pooling_mode_") and on
    ]
    kinds = [
        str(module.get("type", "")).rpartition(".")[2] for module in _own(folder, "modules.json").get("modules", [])
    ]
    further = [kind for kind in kinds if kind not in _MODULES]
    if (chosen and chosen != ["mean_tokens"]) or further:
        raise Unavailable(
            f"the encoder {name} makes its embeddings by {', '.join(further or chosen)}",
            fix="name one that takes the mean over tokens, such as sentence-transformers/all-MiniLM-L6-v2",
        )


def _load(name: str, checkpoint: Checkpoint) -> Any:
    import torch
    from transformers import AutoModel

    from fine_tune.quiet import quiet_transformers

    checkpoint.check_room(AutoModel)
    try:
        with quiet_transformers():
            model, info = AutoModel.from_pretrained(
                str(checkpoint.folder), local_files_only=True, use_safetensors=True, dtype=torch.float32,
                output_loading_info=True,
            )  # fmt: skip
    except Exception as error:
        raise CheckpointError(f"the encoder {name} cannot be loaded: {type(error).__name__}: {error}") from error
    absent = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if absent:
        raise CheckpointError(f"the encoder {name} lacks {len(absent)} weights, such as {absent[0]}")
    return model


def _versions() -> tuple[str, ...]:
    import importlib.metadata

    return tuple(importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers"))
