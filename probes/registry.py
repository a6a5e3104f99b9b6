"""The list of probes: the `probe` decorator, discovery of built-in and third-party ones, and their construction.

Importing this module loads no engine and no torch; a probe's module must not do so either at its top.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from probes.errors import ProbeError
from probes.evidence import MeasureDefinition, Message, Need, Parameter, ProbeInfo, message
from probes.probe import Probe

ENTRY_POINTS = "plumbline.probes"
FAMILIES = ("performance", "fairness", "explanation", "robustness", "privacy", "data")

_PROBES: dict[str, type[Probe]] = {}
_ID = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")

C = TypeVar("C", bound=type)


def probe(
    id_: str,
    *,
    needs: Iterable[Need] = (),
    uses: Iterable[Need] = (),
    defines: Iterable[MeasureDefinition] = (),
    limits: Iterable[Message] = (),
    method: Message | None = None,
    requires: Iterable[str] = (),
    tasks: Iterable[str] = (),
) -> Callable[[C], C]:
    """Register a frozen dataclass as a probe.

    Args:
        id_: ``family.name`` in lower case.
        needs: what the subject and its data must offer; an unmet need makes the finding not applicable.
        uses: what it makes use of where it is offered; figures that rest on it are Undefined where it is not.
        defines: every measure that `summarise` may return.
        limits: what would make the answer wrong, or what it does not cover.
        method: how it was measured, in a sentence.
        requires: distributions that must be installed, such as ``captum``; their extra is named when missing.
        tasks: Hugging Face names of the tasks that it is made for; empty for any.

    The docstring's first sentence becomes the question it asks. Fields become the plan's options; a field's help is
    ``field(metadata={"help": "..."})``.

    Raises:
        ProbeError: the id is malformed or taken, or the class is no frozen dataclass.
    """

    def register(cls: C) -> C:
        if not _ID.fullmatch(id_):
            raise ProbeError(f"probe id {id_!r}", expected="family.name in lower case, such as fairness.groups")
        if not dataclasses.is_dataclass(cls):
            raise ProbeError(
                f"probe {id_} is no dataclass", fix="put @dataclass(frozen=True, kw_only=True) below @probe"
            )
        known = _PROBES.get(id_)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ProbeError(
                f"two probes are called {id_}: {known.__module__} and {cls.__module__}", fix="rename one of them"
            )
        distribution, version = _origin(cls.__module__)
        cls.info = ProbeInfo(  # type: ignore[attr-defined]
            id=id_,
            asks=message(_first_sentence(cls)),
            defines=tuple(defines),
            limits=tuple(limits),
            needs=tuple(sorted(needs)),
            uses=tuple(sorted(uses)),
            parameters=_parameters(cls),
            method=method,
            requires=tuple(requires),
            tasks=tuple(tasks),
            distribution=distribution,
            version=version,
        )
        _PROBES[id_] = cast(type[Probe], cls)
        return cls

    return register


def discover() -> dict[str, type[Probe]]:
    """Every probe that is installed: the built-in families, then the entry points of ``plumbline.probes``.

    Raises:
        ProbeError: an entry point cannot be loaded; the message names it.
    """
    _load_all()
    return dict(sorted(_PROBES.items()))


@lru_cache(maxsize=1)
def _load_all() -> None:
    for family in FAMILIES:
        package = importlib.import_module(f"probes.{family}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"probes.{family}.{module.name}")
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:
            raise ProbeError(
                f"the probe package {entry.dist.name if entry.dist else entry.value} cannot be loaded: {error}",
                expected=f"{entry.value} to import",
                fix="repair or uninstall that package",
            ) from error


def find(id_: str) -> type[Probe]:
    """The probe class called ``id_``.

    Raises:
        ProbeError: there is none; the message lists what there is.
    """
    known = discover()
    if id_ not in known:
        raise ProbeError(
            f"no probe is called {id_!r}", expected=f"one of {', '.join(known)}", fix="see `plumbline probes`"
        )
    return known[id_]


def create(id_: str, params: Mapping[str, Any]) -> Probe:
    """A probe with the plan's options.

    Raises:
        ProbeError: an option is unknown, missing or of the wrong type.
    """
    cls = find(id_)
    known = {p.name: p for p in cls.info.parameters}
    for name in params:
        if name not in known:
            raise ProbeError(f"{id_} has no option {name!r}", expected=f"one of {', '.join(known) or 'none at all'}")
    for p in known.values():
        if p.required and p.name not in params:
            raise ProbeError(f"{id_} needs the option {p.name!r}", expected=f"{p.name}: {p.type}", fix=p.help)
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in params.items():
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise ProbeError(f"{id_}: option {name} is {value!r} ({first['msg']})", expected=known[name].type) from None
    try:
        return cls(**values)
    except ValueError as error:
        raise ProbeError(f"{id_}: {error}") from None


def missing_requirements(info: ProbeInfo) -> tuple[str, ...]:
    """Distributions that the probe requires and that are not installed."""
    absent = []
    for name in info.requires:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    return tuple(absent)


@lru_cache(maxsize=256)
def source_digest(cls: type[Probe]) -> str:
    """Hash of the source that decides a probe's rows: its module and those of this room that it imports.

    Comments and layout do not count: the syntax tree is hashed. A class that is made from something else, such as a
    function in a notebook, adds the digest of that as ``own_source``.
    """
    seen: dict[str, str] = {"": getattr(cls, "own_source", "")}
    _walk(cls.__module__, seen)
    joined = "".join(f"{name}\0{digest}\n" for name, digest in sorted(seen.items()))
    return hashlib.sha256(joined.encode()).hexdigest()


_OURS = ("probes", "fine_tune")


def _walk(module: str, seen: dict[str, str]) -> None:
    if module in seen or not _is_module(module):
        return
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return
    text = Path(spec.origin).read_text(encoding="utf-8")
    tree = ast.parse(text)
    seen[module] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    if spec.submodule_search_locations and "iter_modules" in text:
        # What a package finds by looking is imported by no statement.
        for found in pkgutil.iter_modules(spec.submodule_search_locations):
            _walk(f"{module}.{found.name}", seen)
    own = module.partition(".")[0]
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        for name in names:
            root = name.partition(".")[0]
            if (root in _OURS or root == own) and _is_module(name):
                _walk(name, seen)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _first_sentence(cls: type) -> str:
    text = " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())
    match = re.match(r".+?[.?!](?=\s|$)", text)
    return match.group(0) if match else text or cls.__name__


def _parameters(cls: type) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(cls)
    out = []
    for f in dataclasses.fields(cls):
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        default = None
        if not required:
            default = repr(f.default_factory() if callable(f.default_factory) else f.default)
        out.append(
            Parameter(
                name=f.name,
                type=_type_name(hints[f.name]),
                default=default,
                required=required,
                help=textwrap.dedent(f.metadata.get("help", "")),
            )
        )
    return tuple(out)


def _type_name(hint: Any) -> str:
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return hint.__name__
    return str(hint).replace("typing.", "")


@lru_cache(maxsize=64)
def _origin(module: str) -> tuple[str, str]:
    root = module.partition(".")[0]
    names = ["plumbline-audit"] if root == "probes" else importlib.metadata.packages_distributions().get(root, [])
    for name in names:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return root, ""
