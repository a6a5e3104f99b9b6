"""What a recipe must find on this machine, how to tell whether it is there, and fetching it where that is allowed.

Telling is light and offline, and says exactly what is missing and where it was looked for. Fetching here serves what
TextAttack would fetch in the middle of an attack; what it fetches while a recipe is built it fetches itself.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from probes.engines.textattack import wordnet
from probes.evidence import Message, message

NETWORK_LINE = "allow the network for this probe"


class Need(Protocol):
    """Something that must be here before a recipe can be built.

    ``what`` is the need in words, for a recipe's card; ``downloadable`` says whether a missing one is downloaded, by
    `provide` or by TextAttack while it builds the recipe.
    """

    @property
    def what(self) -> str: ...

    @property
    def downloadable(self) -> bool: ...

    def missing(self) -> Message | None:
        """None if it is here, otherwise what is missing."""

    def provide(self) -> None:
        """Makes it usable in this process; called with TextAttack loaded, when it is here or may be downloaded."""


@dataclass(frozen=True)
class Present:
    """The parts that most needs share: not downloaded, and nothing to do when it is here."""

    @property
    def downloadable(self) -> bool:
        return False

    def provide(self) -> None:
        return None


@dataclass(frozen=True)
class Package(Present):
    """An importable package, with the line that installs it."""

    module: str
    line: str

    @property
    def what(self) -> str:
        return f"the package {self.module}"

    def missing(self) -> Message | None:
        if importlib.util.find_spec(self.module) is not None:
            return None
        return message("the package {module} is not installed: {line}", module=self.module, line=self.line)


@dataclass(frozen=True)
class Never(Present):
    """A recipe that cannot run at all, and why; listed so that nobody looks for it in vain."""

    reason: Message

    @property
    def what(self) -> str:
        return str(self.reason)

    def missing(self) -> Message | None:
        return self.reason


@dataclass(frozen=True)
class ShippedFile(Present):
    """A file that belongs in TextAttack's wheel and is not in every version of it."""

    path: str

    @property
    def what(self) -> str:
        return f"the file {self.path}, which some versions of textattack lack"

    def missing(self) -> Message | None:
        spec = importlib.util.find_spec("textattack")
        if spec is not None and spec.origin and (Path(spec.origin).parent / self.path).is_file():
            return None
        return message("the installed textattack comes without its file {path}", path=self.path)


@dataclass(frozen=True)
class Flair(Present):
    """flair itself, which excludes transformers 5."""

    @property
    def what(self) -> str:
        return "flair, and therefore transformers below 5"

    def missing(self) -> Message | None:
        if importlib.util.find_spec("flair") is None:
            return message("flair is not installed: {line}", line="pip install 'flair>=0.15.1' 'transformers<5'")
        try:
            found = version("transformers")
        except PackageNotFoundError:
            return message("transformers is not installed")
        if int(found.split(".")[0]) >= 5:
            return message("flair does not work with transformers {version}; it needs a version below 5", version=found)
        return None


@dataclass(frozen=True)
class FlairTagger:
    """A tagger that TextAttack has flair download in the middle of an attack."""

    tag: str
    folder: str

    @property
    def what(self) -> str:
        return f"flair's tagger {self.tag} (download)"

    @property
    def downloadable(self) -> bool:
        return True

    def missing(self) -> Message | None:
        root = Path(os.environ.get("FLAIR_CACHE_ROOT") or Path.home() / ".flair")
        if (root / "models" / self.folder).exists():
            return None
        return message("flair's tagger {tag} is not in {folder}", tag=self.tag, folder=str(root / "models"))

    def provide(self) -> None:
        strings: Any = sys.modules["textattack.shared.utils.strings"]
        if self.tag not in strings._flair_taggers:
            strings._flair_taggers[self.tag] = strings.flair.models.SequenceTagger.load(self.tag)


@dataclass(frozen=True)
class NltkData:
    """A resource of NLTK, by its path in NLTK's data and its download name."""

    path: str
    name: str

    @property
    def what(self) -> str:
        return f"NLTK's {self.name} (download)"

    @property
    def downloadable(self) -> bool:
        return True

    def missing(self) -> Message | None:
        if wordnet.nltk_has(self.path):
            return None
        return message("NLTK's {name} is not among its data; nltk.download('{name}') fetches it", name=self.name)

    def provide(self) -> None:
        if not wordnet.nltk_has(self.path):
            import nltk

            nltk.download(self.name, quiet=True, raise_on_error=True)


@dataclass(frozen=True)
class WordNet:
    """WordNet's files: NLTK's, or those of WordNet itself (Debian's package, or where WNSEARCHDIR points).

    A language other than English needs NLTK's WordNet and its multilingual one.
    """

    language: str = "eng"

    @property
    def what(self) -> str:
        if self.language != "eng":
            return "WordNet in other languages: NLTK's wordnet and omw-2.0 (download)"
        return "WordNet: NLTK's (download), Debian's package wordnet-base, or the folder that WNSEARCHDIR names"

    @property
    def downloadable(self) -> bool:
        return True

    def missing(self) -> Message | None:
        found = wordnet.find()
        if self.language != "eng" and not (found == "nltk" and wordnet.nltk_has("corpora/omw-2.0")):
            return message("NLTK's WordNet and its multilingual one (wordnet, omw-2.0) are not among NLTK's data")
        if found is not None:
            return None
        return message(
            "WordNet is neither among NLTK's data (nltk.download('wordnet')) nor in {folder} (apt install wordnet-base)",
            folder=str(wordnet.FOLDERS[0]),
        )

    def provide(self) -> None:
        if wordnet.find() is None:
            import nltk

            nltk.download("wordnet", quiet=True, raise_on_error=True)
        if self.language != "eng" and not wordnet.nltk_has("corpora/omw-2.0"):
            import nltk

            nltk.download("omw-2.0", quiet=True, raise_on_error=True)
        wordnet.give_to_textattack(languages=self.language != "eng")


@dataclass(frozen=True)
class TextAttackData:
    """A folder or file that TextAttack downloads from its own store, by its path there."""

    path: str
    title: str
    pickled: bool = False

    @property
    def what(self) -> str:
        return f"{self.title} (download{' that contains pickles' if self.pickled else ''})"

    @property
    def downloadable(self) -> bool:
        return True

    def missing(self) -> Message | None:
        cache = Path(os.environ.get("TA_CACHE_DIR") or Path.home() / ".cache" / "textattack")
        if (cache / self.path).exists():
            return None
        return message("TextAttack's cache {folder} lacks the {title}", title=self.title, folder=str(cache))

    def provide(self) -> None:
        return None


@dataclass(frozen=True)
class SentenceEncoder:
    """The Universal Sentence Encoder, which TextAttack has TensorFlow Hub download in the middle of an attack."""

    address: str = "https://tfhub.dev/google/universal-sentence-encoder/3"

    @property
    def what(self) -> str:
        return "TensorFlow Hub's Universal Sentence Encoder (download)"

    @property
    def downloadable(self) -> bool:
        return True

    def missing(self) -> Message | None:
        cache = os.environ.get("TFHUB_CACHE_DIR")
        if cache and (Path(cache) / hashlib.sha1(self.address.encode(), usedforsecurity=False).hexdigest()).is_dir():
            return None
        return message("the Universal Sentence Encoder is not in the folder that TFHUB_CACHE_DIR names")

    def provide(self) -> None:
        hub: Any = importlib.import_module("tensorflow_hub")
        hub.resolve(self.address)


@dataclass(frozen=True)
class Model:
    """A folder, or a model of the Hugging Face hub that is downloaded where its cache lacks it."""

    name: str

    @property
    def what(self) -> str:
        return f"the model {self.name} from the Hugging Face hub (download)"

    @property
    def downloadable(self) -> bool:
        return not self._is_path

    @property
    def _is_path(self) -> bool:
        return self.name.startswith((".", "/", "~")) or self.name.count("/") > 1 or Path(self.name).is_dir()

    def missing(self) -> Message | None:
        from huggingface_hub import try_to_load_from_cache

        from fine_tune.checkpoint_files import resolve_base

        if (Path(resolve_base(self.name)).expanduser() / "config.json").is_file():
            return None
        if self._is_path:
            return message("{name} is no folder with a config.json", name=self.name)
        if isinstance(try_to_load_from_cache(self.name, "config.json"), str):
            return None
        return message("the model {name} is no folder here and not in the Hugging Face cache", name=self.name)

    def provide(self) -> None:
        return None
