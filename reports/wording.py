"""How names and figures are put into words, the same in every output and language. Knows no file, page or markup."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import reduce
from typing import Literal

from probes.evidence import (
    Counts,
    Interval,
    MeasureDefinition,
    Message,
    Scalar,
    Slice,
    format_number,
    message,
    slice_name,
)
from reports.record import Outcome, Ruling

LONGEST = 2000
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
    "|[\U0001fffe\U0001ffff\U000e0000-\U000e007f]"
)
_ACRONYMS = {
    word.lower(): word
    for word in (
        "AUC",
        "ROC",
        "TPR",
        "FPR",
        "FNR",
        "F1",
        "ECE",
        "AOPC",
        "AUPRC",
        "IoU",
        "BPSN",
        "BNSP",
        "LiRA",
        "RMIA",
        "PRV",
        "RDP",
    )
}
_TENTHS = re.compile(r"\b0 (\d+) percent")


def visible(text: str) -> str:
    """``text`` with control characters, direction overrides and lone surrogates replaced by U+FFFD."""
    return _UNSEEN.sub("\ufffd", text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """``text``, cut where it is longer than ``longest`` characters, with a mark that says how many are missing."""
    return text if len(text) <= longest else f"{text[:longest]} […+{len(text) - longest}]"


def measure_words(name: str, first: Literal["capital", "keep"] = "capital") -> str:
    """``equal_opportunity_difference`` as ``Equal opportunity difference``; the name itself stays beside it."""
    words = [_ACRONYMS.get(w, w) for w in name.replace("_", " ").split()]
    text = _TENTHS.sub(r"0.\1 percent", " ".join(words))
    return text[:1].upper() + text[1:] if first == "capital" else text


def measure_said(name: str, first: Literal["capital", "keep"] = "capital") -> Message:
    """The words of a measure's name as a message; the catalogues know those of our own probes."""
    return Message(text=measure_words(name, first))


def slice_said(axes: Slice) -> Message | None:
    """A slice for reading, in any language; None for all rows."""
    said = [_AXES[a.kind, bool(a.value)].put(name=a.name, value=a.value) for a in axes]
    return listed(said) if said else None


def listed(names: Sequence[Message | str], most: int | None = None) -> Message:
    """Names after commas, in any language's own; of those beyond ``most`` only the number."""
    said: list[Message | str] = list(names if most is None else names[:most])
    if len(said) < len(names):
        said.append(f"+{len(names) - len(said)}")
    # A name from data is a value, never a sentence, so that no catalogue and no brace in it is taken for one.
    start = message("{name}", name=said[0] if said else "–")
    return reduce(lambda one, more: message("{one}, {more}", one=one, more=more), said[1:], start)


def slice_words(axes: Slice) -> str:
    """``group gender = female, class hired``: a slice for reading; policies spell it as `slice_name` does."""
    said = slice_said(axes)
    return "" if said is None else str(said)


def level_words(level: float) -> str:
    """``95 %``."""
    return f"{100 * level:.6g} %"


def slug(text: str) -> str:
    """Lower-case ASCII letters, digits and hyphens only; never empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:100] or "x"


def check_slug(rule: str, slice_: Slice) -> str:
    """The anchor of a check. Names that a slug cannot tell apart get a piece of their hash."""
    name = f"{rule}\0{slice_name(slice_)}"
    plain = f"c-{slug(rule)}-{slug(slice_name(slice_))}"
    kept = re.sub(r"[^a-z0-9]+", "", f"{rule}{slice_name(slice_)}")
    same = kept == re.sub(r"[\s:=,._-]+", "", f"{rule}{slice_name(slice_)}") and len(plain) < 100
    return plain if same else f"{plain}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def signed(value: float) -> str:
    """A weight with its sign and two decimals, ``+0.42`` or ``−0.42``; what rounds to nothing has no sign."""
    text = f"{abs(value):.2f}"
    return text if text == "0.00" else f"{'+' if value > 0 else '−'}{text}"


def interval_words(interval: Interval) -> Message:
    """The interval in words; a one-sided bound says which side."""
    level = level_words(interval.level)
    if interval.low is None:
        return message("{level} bound: at most {high}", level=level, high=_end(interval.high))
    if interval.high is None:
        return message("{level} bound: at least {low}", level=level, low=_end(interval.low))
    return message("{level} interval {low} to {high}", level=level, low=_end(interval.low), high=_end(interval.high))


def ends(interval: Interval | None) -> Message:
    """``0.101 to 0.189`` for a table's cell, or a dash."""
    if interval is None:
        return Message(text="–")
    if interval.low is None:
        return Message(text=f"≤ {_end(interval.high)}")
    if interval.high is None:
        return Message(text=f"≥ {_end(interval.low)}")
    return message("{low} to {high}", low=_end(interval.low), high=_end(interval.high))


def _end(value: float | None) -> str:
    return "" if value is None else format_number(value)


def demand(ruling: Ruling) -> Message:
    """What the rule demands of the figure."""
    rule = ruling.check.rule
    if rule.max_drop is not None:
        return message("a drop of at most {limit} from {baseline}", limit=ruling.limit, baseline=rule.baseline or "")
    if rule.min is not None:
        return message("at least {limit}", limit=ruling.limit)
    return message("at most {limit}", limit=ruling.limit)


def claim(ruling: Ruling) -> Message:
    """What the check puts to the test, in one sentence."""
    rule, where = ruling.check.rule, slice_said(ruling.check.slice)
    side: Literal["drop", "min", "max"] = "max" if rule.min is None else "min"
    facts: dict[str, Scalar | Message] = {"measure": measure_said(rule.measure_name), "limit": ruling.limit}
    if rule.max_drop is not None:
        side = "drop"
        facts["baseline"] = rule.baseline or ""
    if where is None:
        return _CLAIMS[side].put(**facts)
    return _CLAIMS_FOR[side].put(**facts, where=where)


_CLAIMS = {
    "drop": message("{measure} drops by at most {limit} from the baseline {baseline}."),
    "min": message("{measure} is at least {limit}."),
    "max": message("{measure} is at most {limit}."),
}
_CLAIMS_FOR = {
    "drop": message("{measure} for {where} drops by at most {limit} from the baseline {baseline}."),
    "min": message("{measure} for {where} is at least {limit}."),
    "max": message("{measure} for {where} is at most {limit}."),
}
_AXES = {
    ("feature", False): message("feature {name}"),
    ("feature", True): message("feature {name} = {value}"),
    ("group", False): message("group {name}"),
    ("group", True): message("group {name} = {value}"),
    ("class", False): message("class {name}"),
    ("class", True): message("class {name} = {value}"),
    ("output", False): message("output {name}"),
    ("output", True): message("output {name} = {value}"),
    ("setting", False): message("setting {name}"),
    ("setting", True): message("setting {name} = {value}"),
}


def figure_words(ruling: Ruling) -> Message:
    """What the check's figure is and where: ``Recall for group gender = female``."""
    name, where = ruling.check.rule.measure_name, slice_said(ruling.check.slice)
    if ruling.check.rule.max_drop is None:
        said = measure_said(name)
    else:
        said = message("Drop in {measure}", measure=measure_said(name, first="keep"))
    return said if where is None else message("{measure} for {where}", measure=said, where=where)


def sentence(ruling: Ruling) -> Message:
    """The ruling's ground in one sentence: the figure, its interval and its limit; or why there is no figure."""
    if ruling.value is None:
        return ruling.reason
    if ruling.interval is None:
        text = message("{figure} is {value}, exactly; required is {demand}.",
                       figure=figure_words(ruling), value=ruling.value, demand=demand(ruling))  # fmt: skip
    else:
        text = message("{figure} is {value} ({interval}); required is {demand}.", figure=figure_words(ruling),
                       value=ruling.value, interval=interval_words(ruling.interval), demand=demand(ruling))  # fmt: skip
    if ruling.outcome == "inconclusive" and ruling.needed_n is not None:
        return message("{sentence} About {n} rows would decide it.", sentence=text, n=ruling.needed_n)
    return text


def rests(counts: Counts) -> str:
    """The rows that a figure rests on, ``212`` or, where it was looked for among more, ``212 / 900``."""
    return f"{counts.denominator}" if counts.denominator == counts.n else f"{counts.denominator} / {counts.n}"


def range_words(definition: MeasureDefinition) -> Message:
    """Which values a measure can take."""
    low, high = definition.low, definition.high
    if low is None and high is None:
        return message("any number")
    if low is None:
        return message("at most {high}", high=high or 0)
    if high is None:
        return message("{low} or more", low=low)
    return message("{low} to {high}", low=low, high=high)


OUTCOME_WORDS: dict[Outcome, Message] = {
    "pass": message("Pass"),
    "fail": message("Fail"),
    "inconclusive": message("Inconclusive"),
    "waived": message("Waived"),
    "error": message("Error"),
}
STATUS_WORDS: dict[str, Message] = {
    "measured": message("Measured"),
    "not_applicable": message("Not applicable"),
    "errored": message("Stopped with an error"),
    "not_run": message("Planned, did not run"),
}
FAMILY_WORDS: dict[str, Message] = {
    "performance": message("Performance"),
    "fairness": message("Fairness"),
    "explanation": message("Explanation"),
    "robustness": message("Robustness"),
    "privacy": message("Privacy"),
    "data": message("Data quality"),
}


def family_words(family: str) -> Message:
    """A probe family's title; a third party's family keeps its own name."""
    return FAMILY_WORDS.get(family) or message("{family}", family=family)
