"""Imports TextAttack once, safely: offline, without side effects, and under both majors of transformers.

Left to itself, ``import textattack`` asks NLTK to download six packages, leaves a marker in its cache that keeps them from
ever being fetched again, fails offline without NLTK's English stopwords, reconfigures logging, sets environment variables
and needs flair, which excludes transformers 5. Here the install step is cut out of the one module that does it, what the
wheel lacks is served from ``assets``, and logging, the environment and ``sys.modules`` are put back as they were. It
downloads nothing, writes nothing and changes no attack.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import json
import logging
import os
import sys
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fine_tune.sources import first_line
from probes.engines.textattack.flair_stand_in import FLAIR_MISSING, without_flair
from probes.errors import Unavailable

ASSETS = Path(__file__).parent / "assets"
INSTALL_LINE = "pip install 'plumbline-audit[robustness]'"

_INSTALLER = "textattack.shared.utils.install"
_HOMOGLYPH_MODULE = "textattack.transformations.word_swaps.word_swap_homoglyph_swap"
_WORDNET_MODULE = "textattack.transformations.word_swaps.word_swap_wordnet"
_ENVIRONMENT = (
    "TOKENIZERS_PARALLELISM",
    "TFHUB_CACHE_DIR",
    "PYTORCH_TRANSFORMERS_CACHE",
    "HF_HOME",
    "XDG_CACHE_HOME",
    "WANDB_SILENT",
)
_LOCK = threading.RLock()
_FACTS: dict[str, str] = {}


def installed() -> bool:
    """Whether TextAttack can be found; imports nothing."""
    return importlib.util.find_spec("textattack") is not None


def load() -> types.ModuleType:
    """The ``textattack`` module, imported at most once a process, whichever thread asks first.

    Raises:
        Unavailable: it is not installed, or it cannot be imported here; the reason is the import's own.
    """
    with _LOCK:
        if _FACTS:
            return sys.modules["textattack"]
        if not installed():
            raise Unavailable("textattack is not installed", fix=INSTALL_LINE)
        already = "textattack" in sys.modules
        try:
            textattack, flair = _import_quietly()
        except Exception as error:
            if not already:
                _forget("textattack")
            raise Unavailable(f"textattack cannot be imported: {first_line(error)}", fix=INSTALL_LINE) from error
        homoglyphs = _complete_homoglyphs()
        _disarm_wordnet()
        _quieten()
        _FACTS.update(
            textattack=_version("textattack"),
            transformers=_version("transformers"),
            nltk=_version("nltk"),
            flair=flair,
            stopwords=_digest("\n".join(sorted(_stopwords()))),
            homoglyphs=homoglyphs,
        )
        return textattack


def facts() -> Mapping[str, str]:
    """What an attack's outcome may depend on besides model, text and seed: versions, and digests of the word tables.

    ``flair`` is its version or ``stand-in``; ``stopwords`` and ``homoglyphs`` are the first sixteen hex digits of sha256.
    """
    load()
    return dict(_FACTS)


def _import_quietly() -> tuple[types.ModuleType, str]:
    """The module, and which flair it was given."""
    with _restored_logging(), _restored_environment(), _without_installer():
        provide_stopwords()
        try:
            flair = importlib.import_module("flair") if importlib.util.find_spec("flair") else None
        except Exception as error:  # flair 0.15.1 fails in several ways under transformers 5
            logging.getLogger(__name__).info("flair cannot be imported: %s", first_line(error))
            flair = None
        if flair is not None:
            return importlib.import_module("textattack"), _version("flair")
        with without_flair():
            return importlib.import_module("textattack"), FLAIR_MISSING


class _InstallerLoader(importlib.machinery.SourceFileLoader):
    """Compiles one module of TextAttack without its call of the install step, and keeps the bytecode cache out of it."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        tree.body = [statement for statement in tree.body if not _calls_install_step(statement)]
        return compile(tree, path, "exec", dont_inherit=True)


class _InstallerFinder(importlib.abc.MetaPathFinder):
    """Hands the installer module, and nothing else, to its own loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _INSTALLER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _InstallerLoader(fullname, spec.origin)
        return spec


def _calls_install_step(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id == "_post_install_if_needed"
    )


@contextlib.contextmanager
def _without_installer() -> Iterator[None]:
    finder = _InstallerFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def _restored_logging() -> Iterator[None]:
    """Puts back what ``logging.config.dictConfig`` changes: it disables every logger that its configuration leaves out."""
    known = [
        logging.getLogger(),
        *(x for x in logging.Logger.manager.loggerDict.values() if isinstance(x, logging.Logger)),
    ]
    before = [(x, x.level, x.disabled, x.propagate, list(x.handlers)) for x in known]
    try:
        yield
    finally:
        for logger, level, disabled, propagate, handlers in before:
            logger.setLevel(level)
            logger.disabled, logger.propagate, logger.handlers[:] = disabled, propagate, handlers


@contextlib.contextmanager
def _restored_environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def provide_stopwords() -> None:
    """NLTK's own English stopwords if it has them; otherwise ours, in its search path.

    The entry stays: NLTK reads nothing that lies outside its search path. It holds stopwords and nothing else.
    """
    import nltk
    from nltk.corpus import stopwords

    try:
        stopwords.words("english")
    except (LookupError, OSError):
        if hasattr(stopwords, "_unload"):  # a corpus of other languages
            stopwords._unload()
        nltk.data.path.insert(0, str(ASSETS))
        stopwords.words("english")


def _stopwords() -> list[str]:
    from nltk.corpus import stopwords

    return list(stopwords.words("english"))


def _complete_homoglyphs() -> str:
    """Serves our table to the module that reads the file which the 0.3.11 wheel forgot; the digest of the table in use.

    Only the name ``open`` inside that module is set, so the class and what it does with the table stay its own.
    """
    module = sys.modules.get(_HOMOGLYPH_MODULE)
    if module is None or not module.__file__:
        return "none"
    path = Path(module.__file__).parents[2] / "shared" / "intentional_homoglyphs.txt"
    if path.is_file():
        return _digest(path.read_text(encoding="utf-8-sig"))
    table = homoglyph_table()
    vars(module)["open"] = functools.partial(_open_table, table)
    return _digest(table)


def _open_table(table: str, path: str, *_args: object, **_options: object) -> io.StringIO:
    if Path(path).name != "intentional_homoglyphs.txt":
        raise FileNotFoundError(path)
    return io.StringIO(table)


def homoglyph_table() -> str:
    """Our pairs of look-alike characters as the text file that TextAttack parses: one line a pair, the characters in it."""
    pairs = json.loads((ASSETS / "homoglyphs.json").read_text(encoding="utf-8"))["pairs"]
    return "".join(f"{a} ;\t{b}\t# ( {chr(int(a, 16))} ~ {chr(int(b, 16))} )\n" for a, b in pairs)


def _disarm_wordnet() -> None:
    """Building a WordNet transformation asks NLTK to download; what a recipe needs is fetched by ``recipes`` or not at all."""
    module: Any = sys.modules.get(_WORDNET_MODULE)
    if module is not None:
        module.nltk = types.SimpleNamespace(download=lambda *_args, **_options: True)


def _quieten() -> None:
    """TextAttack's logger writes to standard error on its own, at every goal function; its errors go to the root logger."""
    logger = logging.getLogger(_INSTALLER)
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.ERROR)


def _forget(package: str) -> None:
    for name in [x for x in sys.modules if x == package or x.startswith(f"{package}.")]:
        del sys.modules[name]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
