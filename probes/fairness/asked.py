"""What several fairness probes are asked in the same words: the positive class, and the features to look at, alone and crossed.

It checks what was asked and answers with codes and names; it reads no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from probes.errors import ProbeError

Crossed = tuple[str, ...]


def positives(positive: str | None, classes: tuple[str, ...], decided: str | None, probe: str) -> tuple[int, ...]:
    """Codes of the classes to take as positive, one after another: the one that is named, or each of three or more.

    Args:
        positive: as the plan names it, or None.
        classes: the subject's.
        decided: the class that the subject's threshold applies to, which names the positive one of two.
        probe: who asks.

    Raises:
        ProbeError: the class does not exist, or none of two is named.
    """
    named = positive if positive is not None else (decided if len(classes) <= 2 else None)
    if named is None and len(classes) > 2:
        return tuple(range(len(classes)))
    if named not in classes:
        raise ProbeError(
            f"{probe} does not know which class is positive"
            if named is None
            else f"the positive class {named!r} is no class of the subject",
            expected=f"positive: one of {', '.join(classes)}",
            fix="name it under the probe's options",
        )
    return (classes.index(named),)


def one_positive(positive: str | None, classes: tuple[str, ...], decided: str | None, probe: str) -> int:
    """Code of the one class to take as positive, also among more than two; arguments and errors of `positives`."""
    codes = positives(positive if positive is not None else decided, classes, decided, probe)
    if len(codes) > 1:
        raise ProbeError(
            f"{probe} does not know which class is positive",
            expected=f"positive: one of {', '.join(classes)}",
            fix="name it under the probe's options",
        )
    return codes[0]


def check_features(features: Sequence[str] | None, intersections: Sequence[Crossed]) -> None:
    """Refuse what is named twice, and crossings of fewer than two features.

    Raises:
        ValueError: something is.
    """
    for listed in (features or (), intersections):
        if len(set(listed)) != len(listed):
            raise ValueError(f"{list(listed)} names something twice")
    for crossed in intersections:
        if len(set(crossed)) < 2 or len(set(crossed)) != len(crossed):
            raise ValueError(f"an intersection needs two or more different features, not {list(crossed)}")


def asked_features(
    features: Sequence[str] | None, intersections: Sequence[Crossed], there: Iterable[str]
) -> tuple[Crossed, ...]:
    """Each feature alone, all that are ``there`` unless some are named, and then the intersections.

    Raises:
        ProbeError: nothing is left to look at.
    """
    singles = tuple(features if features is not None else there)
    if not singles and not intersections:
        raise ProbeError("the data has no sensitive feature", fix="give a column the role `groups`")
    return (*((name,) for name in singles), *intersections)
