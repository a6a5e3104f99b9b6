"""Stands in for flair while TextAttack is imported, where flair is missing or cannot be imported (transformers 5).

TextAttack names three things of flair at import and uses them for part-of-speech and named-entity tags alone. The stand-in
lets the import pass, raises a clear error when a recipe really asks for a tag, and leaves ``sys.modules`` when the import
is over, so that nothing else in the process takes it for flair.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import NoReturn

from probes.errors import Unavailable

FLAIR_MISSING = "stand-in"

_NAMES = ("flair", "flair.data", "flair.models")


def _refuse() -> NoReturn:
    raise Unavailable(
        "this recipe asks flair for part-of-speech or entity tags, and flair cannot be imported here",
        fix="pip install 'flair>=0.15.1' 'transformers<5'",
    )


class Tokenizer:
    """The base of TextAttack's tokenizer for flair, which nothing calls unless flair tags."""


class Sentence:
    """Raises: a sentence is made only to be tagged."""

    def __init__(self, *_args: object, **_options: object) -> None:
        _refuse()


class SequenceTagger:
    """Raises: there is no tagger to load."""

    @classmethod
    def load(cls, *_args: object, **_options: object) -> NoReturn:
        _refuse()


@contextlib.contextmanager
def without_flair() -> Iterator[None]:
    """Puts the stand-in where ``import flair`` looks, and takes it away again; a half-imported flair goes with it."""
    for name in [x for x in sys.modules if x == "flair" or x.startswith("flair.")]:
        del sys.modules[name]
    modules = {name: types.ModuleType(name) for name in _NAMES}
    for name, module in modules.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=name == "flair")
    root, data, models = modules.values()
    root.__dict__.update(__path__=[], data=data, models=models, device=None)
    data.__dict__.update(Sentence=Sentence, Tokenizer=Tokenizer)
    models.__dict__.update(SequenceTagger=SequenceTagger)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
