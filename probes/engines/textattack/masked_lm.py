"""Word substitution by a masked language model that the user names: the attacks of BAE and BERT-Attack on any such model.

It is those recipes' own transformation, search and pre-transformation constraints. Their sentence encoder (a TensorFlow
download) and, for BAE, the tagger (an NLTK download) are left out, so that nothing is fetched; an encoder that the user
names takes the sentence encoder's place at the recipe's own threshold. Weights are read from safetensors alone, and a
model without a trained masked-language head is refused, because it would propose random words.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probes.engines.textattack.arguments import Argument, Value
from probes.engines.textattack.needs import Model, Need, Package
from probes.errors import Unavailable

# What TextAttack knows how to tell whole words from parts of words for.
KNOWN_KINDS = ("bert", "electra", "roberta", "bart", "longformer", "xlnet", "gpt", "gpt2")
_LONGEST = 512
# Positions that these models keep for padding, and that no token can take.
_RESERVED_POSITIONS = {"roberta": 2, "longformer": 2}

ARGUMENTS = (
    Argument(
        name="model",
        kind=str,
        required=True,
        help="a masked language model: a folder, or a hub id",
        needs="the masked language model that `model` names: a folder, or a hub id (download)",
    ),
    Argument(
        name="method",
        kind=str,
        default="bae",
        choices=("bae", "bert-attack"),
        help="bae replaces whole words, bert-attack the pieces that words are made of",
    ),
    Argument(name="max_candidates", kind=int, lowest=1, help="candidates a word; 50 for bae and 8 for bert-attack if left out"),
    Argument(name="encoder", kind=str, help="a sentence-transformers model that candidates must stay close in; none if left out"),
    Argument(name="min_similarity", kind=float, lowest=-1, help="cosine similarity to stay above; the recipe's own if left out"),
)  # fmt: skip


def needs_of(values: Mapping[str, Value]) -> tuple[Need, ...]:
    """The models that these arguments name."""
    wanted: list[Need] = [Model(str(values["model"]))]
    if "encoder" in values:
        wanted += [Package("sentence_transformers", "pip install sentence-transformers"), Model(str(values["encoder"]))]
    return tuple(wanted)


def make(wrapper: Any, values: Mapping[str, Value]) -> Any:
    """The attack.

    Raises:
        CheckpointError: the model cannot be read.
        Unavailable: it has no masked-language head, no mask token, or is of a kind that TextAttack cannot use.
    """
    from textattack import Attack
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.goal_functions import UntargetedClassification
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import WordSwapMaskedLM

    bae = values["method"] == "bae"
    model, tokenizer = open_model(str(values["model"]))
    transformation = WordSwapMaskedLM(
        method=values["method"],
        masked_language_model=model,
        tokenizer=tokenizer,
        max_length=longest_input(model.config, tokenizer),
        max_candidates=values.get("max_candidates", 50 if bae else 8),
        min_confidence=0.0 if bae else 5e-4,
    )
    constraints: list[Any] = [RepeatModification(), StopwordModification()]
    if not bae:
        constraints.append(MaxWordsPerturbed(max_percent=0.4))
    if "encoder" in values:
        constraints.append(_encoder(values, bae=bae))
    search = GreedyWordSwapWIR(wir_method="delete" if bae else "unk")
    return Attack(UntargetedClassification(wrapper), constraints, transformation, search)


def open_model(name: str) -> tuple[Any, Any]:
    """A masked language model and its tokenizer, from safetensors; attacks on one model share it.

    Raises:
        CheckpointError: there is no such model, or it cannot be read.
        Unavailable: it cannot serve as a masked language model here.
    """
    from fine_tune.checkpoint_files import locate

    folder = locate(name)
    changed = max((file.stat().st_mtime_ns for file in folder.iterdir() if file.is_file()), default=0)
    return _open_model(name, folder, changed)


@functools.lru_cache(maxsize=1)
def _open_model(name: str, folder: Path, changed: int) -> tuple[Any, Any]:  # noqa: ARG001
    from transformers import AutoModelForMaskedLM

    from fine_tune.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(folder)
    kind = str(checkpoint.config.get("model_type", "none"))
    if kind not in KNOWN_KINDS:
        raise Unavailable(
            f"{name} is a {kind} model, whose word pieces TextAttack cannot tell from words",
            expected="one of " + ", ".join(KNOWN_KINDS),
        )
    checkpoint.check_room(AutoModelForMaskedLM)
    model, info = AutoModelForMaskedLM.from_pretrained(
        str(checkpoint.folder), local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    absent = sorted(info["missing_keys"])
    if absent:
        raise Unavailable(
            f"{name} has no trained masked-language head ({absent[0]} is missing)",
            expected="a masked language model, such as the base model before fine-tuning",
        )
    tokenizer = checkpoint.load_tokenizer()
    if tokenizer.mask_token is None:
        raise Unavailable(f"the tokenizer of {name} has no mask token", expected="a masked language model's tokenizer")
    return model, tokenizer


def longest_input(config: Any, tokenizer: Any) -> int:
    """Tokens that TextAttack may pad to: 512, as in its recipes, or fewer where the model takes fewer."""
    positions = getattr(config, "max_position_embeddings", None) or _LONGEST
    return int(min(_LONGEST, tokenizer.model_max_length, positions - _RESERVED_POSITIONS.get(config.model_type, 0)))


def _encoder(values: Mapping[str, Value], *, bae: bool) -> Any:
    from textattack.constraints.semantics.sentence_encoders import SBERT

    from fine_tune.checkpoint_files import locate

    return SBERT(
        model_name=str(locate(str(values["encoder"]))),
        threshold=values.get("min_similarity", 0.936338023 if bae else 0.2),
        metric="cosine",
        compare_against_original=True,
        window_size=15 if bae else None,
        skip_text_shorter_than_window=bae,
    )
