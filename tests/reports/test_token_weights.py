"""Maps in the report: weights without colour alone, text that stays text, and what the checks of the run say of each method."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.evidence import (
    Axis,
    Counts,
    ImageGrid,
    Interval,
    Measurement,
    Method,
    Parameter,
    Reading,
    Tile,
    TokenWeights,
    Undefined,
    WeightedText,
    message,
)
from reports.page import render
from reports.record import AuditRecord, Verdict
from reports.trust import KEPT, SANITY, STAYED, TOOK, trust_in_methods
from reports.wording import signed

CSS = (Path(__file__).parents[2] / "reports/templates/page.css").read_text(encoding="utf-8")
TEXT = WeightedText(
    tokens=("you", "utter", "<b>fool</b>", "go"), weights=(0.0, 0.3, 1.0, -0.5), label="toxic", method="relevance",
    note=message("completeness error {error%}", error=0.003), marked=(2,),
)  # fmt: skip


def figure(name: str, low: float, high: float, method: str, *more: Axis) -> Measurement:
    counts = Counts(n=10, denominator=10, smallest=10)
    interval = Interval(low=low, high=high, level=0.95, method=Method(name="t"))
    axes = (Axis(kind="setting", name="method", value=method), *more)
    return Measurement(name=name, value=(low + high) / 2, interval=interval, counts=counts, slice=axes)


def with_findings(record: AuditRecord, readings: dict[str, Reading], **params: Any) -> AuditRecord:
    """The record with findings of the probes named, in place of the one that shows words."""
    pattern = next(f for f in record.findings if f.instance == "words")
    limit = Parameter(name="limit", type="float", default="0.6", help="x")
    made = [
        pattern.model_copy(
            update={
                "instance": f"{i}-words", "info": pattern.info.model_copy(update={"id": id_, "parameters": (limit,)}),
                "reading": reading, "params": params,
            }
        )
        for i, (id_, reading) in enumerate(readings.items())
    ]  # fmt: skip
    return record.model_copy(update={"findings": tuple(made), "planned": ()})


def judged(record: AuditRecord, **figures: list[Measurement | Undefined]) -> dict[str, str]:
    names = {"faithfulness": "explanation.faithfulness", "sanity": SANITY}
    readings = {names[k]: Reading(measurements=tuple(v)) for k, v in figures.items()}
    return {method: trust.state for method, trust in trust_in_methods(with_findings(record, readings)).items()}


def test_a_method_passes_by_whole_intervals_alone(record: AuditRecord) -> None:
    good = [figure(TOOK, 0.1, 0.3, "a"), figure(KEPT, -0.3, -0.1, "a")]
    assert judged(record, faithfulness=good) == {"a": "passed"}
    assert judged(record, faithfulness=[good[0], figure(KEPT, -0.3, 0.1, "a")]) == {"a": "failed"}
    assert judged(record, faithfulness=[figure(TOOK, 0.0, 0.3, "a"), good[1]]) == {"a": "failed"}
    nothing = Undefined(name=TOOK, counts=good[0].counts, slice=good[0].slice, reason=message("too few"))
    assert judged(record, faithfulness=[nothing, good[1]]) == {"a": "failed"}
    assert judged(record) == {}


def test_a_map_that_ignores_the_model_fails_whatever_else_it_passes(record: AuditRecord) -> None:
    good = [figure(TOOK, 0.1, 0.3, "a"), figure(KEPT, -0.3, -0.1, "a")]
    assert judged(record, faithfulness=good, sanity=[figure(STAYED, 0.7, 0.9, "a")]) == {"a": "failed"}
    assert judged(record, faithfulness=good, sanity=[figure(STAYED, 0.1, 0.5, "a")]) == {"a": "passed"}
    assert judged(record, faithfulness=good, sanity=[figure(STAYED, 0.5, 0.7, "a")]) == {"a": "passed"}
    assert judged(record, sanity=[figure(STAYED, 0.1, 0.5, "a")]) == {"a": "unchecked"}
    one_stage = Axis(kind="setting", name="stage", value="head")
    assert judged(record, sanity=[figure(STAYED, 0.7, 0.9, "a", one_stage)]) == {}
    strict = with_findings(record, {SANITY: Reading(measurements=(figure(STAYED, 0.4, 0.5, "a"),))}, limit=0.3)
    assert trust_in_methods(strict)["a"].state == "failed"


def shown(record: AuditRecord, make_verdict: Callable[..., Verdict], *evidence: Any, **figures: Any) -> str:
    measured = tuple(figures.get("faithfulness", (figure(TOOK, 0.1, 0.3, "other"),)))
    reading = Reading(measurements=measured, evidence=evidence)
    changed = with_findings(record, {"explanation.faithfulness": reading})
    return render(changed, make_verdict(changed))


def test_weights_are_said_in_numbers_lines_and_a_table(open_record: AuditRecord, make_verdict: Any) -> None:
    page = shown(open_record, make_verdict, TokenWeights(title=message("t"), chosen_by=message("all"), texts=(TEXT,)))
    part = page[page.index('class="weighed"') : page.index("</figure>", page.index('class="weighed"'))]
    assert (
        '<span class="w wp4 marked"><span class="t">&lt;b&gt;fool&lt;/b&gt;</span><span class="n">+1.00</span>' in part
    )
    assert '<span class="w wn2"><span class="t">go</span><span class="n">−0.50</span>' in part
    assert '<span class="w w0"><span class="t">you</span></span>' in part, "what weighs nothing has no sign"
    assert '<td class="num">+0.30<td>\n' in part
    assert '<td class="num">+1.00<td>yes\n' in part
    assert "completeness error 0.3 %" in part
    assert "method: relevance" in part
    assert "was not checked in this run" in part
    assert "style=" not in page


def test_a_failed_method_is_shown_as_failed(open_record: AuditRecord, make_verdict: Any) -> None:
    texts = TokenWeights(title=message("t"), chosen_by=message("all"), texts=(TEXT,))
    tile = Tile(png_base64="iVBORw0KGgo=", label="3", method="relevance")
    grid = ImageGrid(title=message("g"), chosen_by=message("all"), tiles=(tile, tile))
    bad = (figure(TOOK, -0.1, 0.3, "relevance"), figure(KEPT, -0.3, -0.1, "relevance"))
    page = shown(open_record, make_verdict, texts, grid, faithfulness=bad)
    assert page.count('class="trust t-failed"') == 2, "once beside the text, once for both images"
    assert page.count("Do not read this map as a reason.") == 2
    good = (figure(TOOK, 0.1, 0.3, "relevance"), figure(KEPT, -0.3, -0.1, "relevance"))
    assert shown(open_record, make_verdict, texts, grid, faithfulness=good).count('class="trust t-passed"') == 2


def test_redacted_texts_keep_method_and_trust(record: AuditRecord, make_verdict: Any) -> None:
    page = shown(record, make_verdict, TokenWeights(title=message("t"), chosen_by=message("all"), texts=(TEXT,)))
    assert "4 tokens, redacted" in page
    assert "method: relevance" in page
    assert "utter" not in page


def test_old_records_still_read() -> None:
    old = {"tokens": ["a"], "weights": [0.5], "label": "x"}
    assert WeightedText.model_validate_json(json.dumps(old)) == WeightedText(tokens=("a",), weights=(0.5,), label="x")
    assert Tile.model_validate({"png_base64": "", "label": "x"}).method == ""


def test_marks_must_be_tokens() -> None:
    with pytest.raises(ValueError, match="no token"):
        WeightedText(tokens=("a",), weights=(0.5,), label="x", marked=(1,))


def test_signs() -> None:
    assert [signed(v) for v in (0.421, -0.421, 0.001, -0.004, 0.0, 1.0)] == [
        "+0.42",
        "−0.42",
        "0.00",
        "0.00",
        "0.00",
        "+1.00",
    ]


def colours(scheme: str) -> dict[str, str]:
    first = re.search(r"^:root\{([^}]*)\}", CSS, re.MULTILINE)
    dark = re.search(r"prefers-color-scheme:dark\)\{:root\{([^}]*)\}", CSS)
    printed = re.search(r"@media print\{\s*:root\{([^}]*)\}", CSS)
    assert first
    assert dark
    assert printed
    text = first[1] + ";" + {"light": "", "dark": dark[1], "print": printed[1]}[scheme]
    return dict(pair.removeprefix("--").split(":") for pair in text.split(";") if pair)


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_contrast_is_wcag_aa(scheme: str) -> None:
    """Text 4.5 to 1, lines 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11), on the page and on every tint."""
    c = colours(scheme)
    for step in range(1, 5):
        for side, line in (("p", "towards"), ("n", "away")):
            tint = c[f"{side}{step}"]
            assert contrast(c["ink"], tint) >= 4.5, (side, step)
            assert contrast(c[line], tint) >= 3, (side, step)
    assert contrast(c["soft"], c["paper"]) >= 4.5
