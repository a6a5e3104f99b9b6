"""HotFlip's word swap for transformers models: the replacement that the loss's gradient says would raise it most.

TextAttack's `WordSwapGradientBased` refuses every model but its own LSTM, because it takes the n-th word of a text for
the n-th token of the model. Here words are matched with tokens by their place in the text; a word can be replaced if it is
one token, by any entry of the vocabulary that is one whole word. The gradient is that of the cross-entropy of the class
that the model predicts, in evaluation mode. Source: Ebrahimi et al. 2018, arXiv:1712.06751, equation 10 and section 5.
The recipe's filters on word vectors and parts of speech (both downloads) are left out, so a replacement may change the
meaning.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping
from typing import Any

from probes.engines.textattack.arguments import Argument, Value
from probes.errors import Unavailable

ARGUMENTS = (
    Argument(name="top_n", kind=int, default=1, lowest=1, help="replacements tried in each step of the search"),
    Argument(name="max_num_words", kind=int, default=2, lowest=1, help="how many words may be changed"),
    Argument(name="beam_width", kind=int, default=10, lowest=1, help="how many texts the search keeps"),
)

_WHOLE_WORDS: weakref.WeakKeyDictionary[Any, dict[int, str]] = weakref.WeakKeyDictionary()


def make(wrapper: Any, values: Mapping[str, Value]) -> Any:
    """HotFlip's beam search and limits over the gradient word swap.

    Raises:
        Unavailable: the wrapped model has no gradients here, or its tokenizer does not say where its tokens lie.
    """
    from textattack import Attack
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.goal_functions import UntargetedClassification
    from textattack.search_methods import BeamSearch

    constraints = [
        RepeatModification(),
        StopwordModification(),
        MaxWordsPerturbed(max_num_words=values["max_num_words"]),
    ]
    return Attack(
        UntargetedClassification(wrapper),
        constraints,
        _kind()(wrapper, values["top_n"]),
        BeamSearch(beam_width=values["beam_width"]),
    )


def whole_words(tokenizer: Any) -> dict[int, str]:
    """The entries of the vocabulary that are one whole word, by id: those that the tokenizer gives for it inside a text."""
    if tokenizer not in _WHOLE_WORDS:
        _WHOLE_WORDS[tokenizer] = _find_whole_words(tokenizer)
    return _WHOLE_WORDS[tokenizer]


def _find_whole_words(tokenizer: Any) -> dict[int, str]:
    from textattack.shared import utils

    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    words = [text.strip() for text in tokenizer.batch_decode([[i] for i in ids])]
    likely = [
        (i, word)
        for i, word in zip(ids, words, strict=True)
        if word and utils.has_letter(word) and utils.words_from_text(word) == [word]
    ]
    if not likely:
        return {}
    # Behind another word, where a tokenizer that marks word beginnings writes a word as it stands inside a text.
    anchor = likely[0][1]
    head = len(tokenizer(anchor, add_special_tokens=False)["input_ids"])
    back = tokenizer([f"{anchor} {word}" for _, word in likely], add_special_tokens=False)["input_ids"]
    return {i: word for (i, word), found in zip(likely, back, strict=True) if found[head:] == [i]}


def single_tokens(words: list[str], text: str, spans: list[tuple[int, int]]) -> dict[int, int]:
    """Which words are exactly one token: the word's number and the token's.

    Args:
        words: the words of ``text`` in order.
        text: what was tokenized.
        spans: first and last-plus-one character of each token; empty for tokens that stand for no character.
    """
    found: dict[int, int] = {}
    start = 0
    for number, word in enumerate(words):
        start = text.find(word, start)
        if start < 0:
            return found
        end = start + len(word)
        touching = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
        if len(touching) == 1 and text[slice(*spans[touching[0]])].strip() == word:
            found[number] = touching[0]
        start = end
    return found


@functools.cache
def _kind() -> type[Any]:
    import torch
    from textattack.transformations.word_swaps import WordSwap

    class WordSwapGradient(WordSwap):  # type: ignore[misc]
        """The ``top_n`` replacements in a text that the gradient favours, over all words that may be changed."""

        is_black_box = False
        model: Any
        tokenizer: Any

        def __init__(self, wrapper: Any, top_n: int) -> None:
            super().__init__()
            model, tokenizer = getattr(wrapper, "model", None), getattr(wrapper, "tokenizer", None)
            if not isinstance(model, torch.nn.Module) or not hasattr(model, "get_input_embeddings"):
                raise Unavailable(
                    "this recipe needs the model's gradients, and the model is not a transformers one in this process"
                )
            if not getattr(tokenizer, "is_fast", False):
                raise Unavailable("this recipe needs a fast tokenizer, which says where in a text each token lies")
            self.model, self.tokenizer, self.top_n = model, tokenizer, top_n
            self.vocabulary = whole_words(tokenizer)
            self.candidates = torch.tensor(sorted(self.vocabulary), dtype=torch.long)
            if not len(self.candidates):
                raise Unavailable("no entry of the model's vocabulary is a whole word")

        def _get_transformations(self, current_text: Any, indices_to_modify: Any) -> list[Any]:
            ids, spans, gradient = self._gradient(current_text.tokenizer_input)
            places = single_tokens(current_text.words, current_text.tokenizer_input, spans)
            wanted = [i for i in sorted(indices_to_modify) if i in places]
            if not wanted:
                return []
            table = self.model.get_input_embeddings().weight.detach()
            at = torch.tensor([places[i] for i in wanted], device=gradient.device)
            rises = gradient[at] @ table[self.candidates.to(table.device)].T
            rises = rises - (gradient[at] * table[ids[at]]).sum(dim=1, keepdim=True)
            order = torch.argsort(rises.flatten(), descending=True, stable=True).tolist()
            out: list[Any] = []
            for place in order:
                word = self.vocabulary[int(self.candidates[place % len(self.candidates)])]
                index = wanted[place // len(self.candidates)]
                if word.lower() != current_text.words[index].lower():
                    out.append(current_text.replace_word_at_index(index, word))
                if len(out) == self.top_n:
                    break
            return out

        def _gradient(self, text: str) -> tuple[Any, list[tuple[int, int]], Any]:
            """Token ids (n,), their character spans, and the gradient with respect to the input embeddings (n, width)."""
            device = next(self.model.parameters()).device
            encoded = self.tokenizer(text, truncation=True, return_tensors="pt", return_offsets_mapping=True)
            spans = [(int(a), int(b)) for a, b in encoded.pop("offset_mapping")[0].tolist()]
            encoded = encoded.to(device)
            embedded: list[Any] = []
            training = self.model.training

            def keep(_module: Any, _given: Any, out: Any) -> Any:
                embedded.append(out.detach().requires_grad_(True))
                return embedded[-1]

            hook = self.model.get_input_embeddings().register_forward_hook(keep)
            self.model.eval()
            try:
                with torch.enable_grad():
                    logits = self.model(**encoded).logits
                    loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1))
                    (gradient,) = torch.autograd.grad(loss, embedded[:1])
            finally:
                hook.remove()
                self.model.train(training)
            return encoded["input_ids"][0], spans, gradient[0]

        def extra_repr_keys(self) -> list[str]:
            return ["top_n"]

    return WordSwapGradient
