"""WordNet from wherever it lies: NLTK's data, or WordNet's own files as Debian's ``wordnet-base`` puts them.

WordNet's own files lack the short list of lexicographer names that NLTK keeps beside them; it is given here. TextAttack
takes synonyms out of a set, in an order that changes from one process to the next; they are sorted here, so that an
attack resumed elsewhere gives the same result. Which synonyms there are is left as it is. It downloads nothing.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Any

FOLDERS = (Path("/usr/share/wordnet"),)
LEXICOGRAPHER_FILES = (
    ("adj.all", 3), ("adj.pert", 3), ("adv.all", 4), ("noun.Tops", 1), ("noun.act", 1), ("noun.animal", 1),
    ("noun.artifact", 1), ("noun.attribute", 1), ("noun.body", 1), ("noun.cognition", 1), ("noun.communication", 1),
    ("noun.event", 1), ("noun.feeling", 1), ("noun.food", 1), ("noun.group", 1), ("noun.location", 1), ("noun.motive", 1),
    ("noun.object", 1), ("noun.person", 1), ("noun.phenomenon", 1), ("noun.plant", 1), ("noun.possession", 1),
    ("noun.process", 1), ("noun.quantity", 1), ("noun.relation", 1), ("noun.shape", 1), ("noun.state", 1),
    ("noun.substance", 1), ("noun.time", 1), ("verb.body", 2), ("verb.change", 2), ("verb.cognition", 2),
    ("verb.communication", 2), ("verb.competition", 2), ("verb.consumption", 2), ("verb.contact", 2),
    ("verb.creation", 2), ("verb.emotion", 2), ("verb.motion", 2), ("verb.perception", 2), ("verb.possession", 2),
    ("verb.social", 2), ("verb.stative", 2), ("verb.weather", 2), ("adj.ppl", 3),
)  # fmt: skip
"""Name and part of speech (1 noun, 2 verb, 3 adjective, 4 adverb) of each file, by number: lexnames(5WN)."""

_TRANSFORMATION = "textattack.transformations.word_swaps.word_swap_wordnet"
_READ = tuple(f"{kind}.{pos}" for kind in ("index", "data") for pos in ("noun", "verb", "adj", "adv")) + tuple(
    f"{pos}.exc" for pos in ("noun", "verb", "adj", "adv")
)


def nltk_has(path: str) -> bool:
    """Whether a resource of this path, unpacked or zipped, is where NLTK looks; does not import NLTK."""
    return any((folder / path).exists() or (folder / f"{path}.zip").exists() for folder in _nltk_folders())


def _nltk_folders() -> list[Path]:
    """NLTK's search path: as it stands if NLTK is loaded, otherwise as it will be."""
    nltk: Any = sys.modules.get("nltk")
    if nltk is not None:
        return [Path(folder) for folder in nltk.data.path]
    named = [Path(folder) for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    environment = [Path(sys.prefix, *parts, "nltk_data") for parts in ((), ("share",), ("lib",))]
    system = [Path(root, "nltk_data") for root in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    return [*named, Path.home() / "nltk_data", *environment, *system]


def find() -> str | None:
    """``nltk``, or the folder of WordNet's own files; None if it is nowhere.

    The folder is the one that WNSEARCHDIR names, WordNet's own variable, or Debian's.
    """
    if nltk_has("corpora/wordnet"):
        return "nltk"
    named = os.environ.get("WNSEARCHDIR")
    for folder in (Path(named),) if named else FOLDERS:
        if all((folder / name).is_file() for name in _READ):
            return str(folder)
    return None


def give_to_textattack(*, languages: bool = False) -> None:
    """Has TextAttack's WordNet transformation read what `find` found, and list synonyms in a lasting order.

    Args:
        languages: make NLTK's multilingual WordNet known too.

    Raises:
        LookupError: WordNet is nowhere.
    """
    module: Any = sys.modules.get(_TRANSFORMATION) or importlib.import_module(_TRANSFORMATION)
    found = find()
    if found is None:
        raise LookupError("WordNet is neither among NLTK's data nor on this machine")
    if found == "nltk":
        from nltk.corpus import wordnet

        if languages:
            wordnet.add_omw()
        module.wordnet = wordnet
    else:
        module.wordnet = _open(found)
    _sort_synonyms(module.WordSwapWordNet)


@functools.cache
def _open(folder: str) -> Any:
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Bare(WordNetCorpusReader):  # type: ignore[misc]
        """WordNet without the list of lexicographer files, and without the wordnets of other languages."""

        def open(self, file: str) -> Any:
            if file == "lexnames":
                lines = (f"{i:02d}\t{name}\t{pos}\n" for i, (name, pos) in enumerate(LEXICOGRAPHER_FILES))
                return io.StringIO("".join(lines))
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:  # noqa: ARG002
            return None

    # NLTK reads nothing that lies outside its search path.
    if folder not in nltk.data.path:
        nltk.data.path.append(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other languages are missing
        return Bare(folder, None)


def _sort_synonyms(transformation: Any) -> None:
    if getattr(transformation, "sorts_synonyms", False):
        return
    unsorted = transformation._get_replacement_words

    def replacement_words(self: Any, word: str, random: bool = False) -> list[str]:
        return sorted(unsorted(self, word, random))

    transformation._get_replacement_words = replacement_words
    transformation.sorts_synonyms = True
