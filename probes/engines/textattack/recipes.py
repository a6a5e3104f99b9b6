"""The recipes by name: what each is, what it needs, whether it can run here and now, and building it.

A built attack has the recipe's own search, transformations, constraints and goal function; nothing of it is seeded, cached
or reordered here, so it answers as plain TextAttack does. Nothing is downloaded unless ``network`` is true, and a download
that fails leaves no lock behind. Asking for a card or a standing imports no TextAttack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fine_tune.errors import PlumblineError
from fine_tune.sources import first_line
from probes.engines.textattack import catalogue, loading
from probes.engines.textattack.arguments import Value, checked
from probes.engines.textattack.downloads import released_downloads
from probes.engines.textattack.needs import NETWORK_LINE
from probes.errors import ProbeError, Unavailable
from probes.evidence import Message, message

if TYPE_CHECKING:
    import textattack


@dataclass(frozen=True, kw_only=True)
class RecipeCard:
    """What a user reads about a recipe before running it.

    ``needs`` says in words what must be on this machine, ``network`` whether some of it is downloaded when it is not,
    and ``arguments`` names what the recipe accepts beyond TextAttack's defaults.
    """

    name: str
    title: str
    source: str
    works_on: Message
    needs: tuple[str, ...]
    network: bool
    arguments: tuple[str, ...]


def cards() -> Mapping[str, RecipeCard]:
    """Every recipe offered, by name, those that need no download first."""
    return {
        entry.name: RecipeCard(
            name=entry.name,
            title=entry.title,
            source=entry.source,
            works_on=entry.works_on,
            needs=tuple(need.what for need in entry.needs) + tuple(a.needs for a in entry.arguments if a.needs),
            network=entry.network,
            arguments=tuple(argument.name for argument in entry.arguments),
        )
        for entry in catalogue.entries()
    }


def standing(name: str, *, arguments: Mapping[str, Value], network: bool) -> Message | None:
    """None if the recipe can be built here and now, otherwise the exact reason why not.

    Args:
        name: a recipe's name; capitals, hyphens and underscores do not matter.
        arguments: what the user gives for the recipe, by name.
        network: whether downloading is allowed. With it, a need that can be downloaded is not held against the recipe.

    Raises:
        ProbeError: there is no such recipe, or an argument is unknown or has a wrong value.
    """
    entry = _entry(name)
    lack = _lack(entry, checked(entry.arguments, arguments, recipe=entry.name), network)
    return None if lack is None else lack[0]


def build(
    name: str,
    wrapper: textattack.models.wrappers.ModelWrapper,
    *,
    arguments: Mapping[str, Value],
    network: bool,
    query_budget: int | None,
) -> textattack.Attack:
    """The recipe as an attack on the wrapped model.

    Args:
        name: a recipe's name; capitals, hyphens and underscores do not matter.
        wrapper: the model as TextAttack sees it. Only ``gradient-words`` asks it for more than probabilities.
        arguments: what the user gives for the recipe, by name; the rest are TextAttack's own defaults.
        network: whether downloading is allowed.
        query_budget: the most queries that one example may cost, at least 1; None for no limit.

    Raises:
        ProbeError: there is no such recipe, or an argument or the budget has a wrong value.
        Unavailable: the recipe cannot run here; the message is that of `standing`, or what its construction said.
    """
    entry = _entry(name)
    values = checked(entry.arguments, arguments, recipe=entry.name)
    if query_budget is not None and query_budget < 1:
        raise ProbeError(f"a query budget of {query_budget}", expected="an integer of at least 1, or none")
    lack = _lack(entry, values, network)
    if lack is not None:
        raise Unavailable(str(lack[0]), fix=lack[1])
    loading.load()
    try:
        with released_downloads(network=network):
            for need in entry.needs_with(values):
                need.provide()
            attack = entry.make(wrapper, values)
    except PlumblineError:
        raise
    except Exception as error:
        raise Unavailable(f"{entry.name} could not be built: {first_line(error)}", fix=entry.fix) from error
    if query_budget is not None:
        attack.goal_function.query_budget = query_budget
    return attack


def _lack(entry: catalogue.Entry, values: Mapping[str, Value], network: bool) -> tuple[Message, str] | None:
    """The first thing that is missing, and what the user can do about it."""
    if not loading.installed():
        return message("textattack is not installed"), loading.INSTALL_LINE
    for need in entry.needs_with(values):
        reason = need.missing()
        if reason is not None and not (network and need.downloadable):
            return reason, NETWORK_LINE if need.downloadable else entry.fix
    return None


def _entry(name: str) -> catalogue.Entry:
    wanted = _plain(name)
    for entry in catalogue.entries():
        if _plain(entry.name) == wanted:
            return entry
    known = ", ".join(entry.name for entry in catalogue.entries())
    raise ProbeError(f"there is no recipe named {name!r}", expected=f"one of {known}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
