"""Names, labels and groups that attack the page: they must appear as text, in a browser too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.evidence import group_axes
from reports.page import render
from reports.record import AuditRecord, Verdict

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ATTACKS = {
    "script": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "closing": "</style></script></svg></table></details></main><h1>PASS</h1>",
    "reversed": "\u202eSSAP\u202c \u2066x\u2069 \u200f\u200e",
    "null": "a\0b\x00c",
    "long": "w" * 10_000,
    "address": "javascript:alert(1)\"'><a href=javascript:alert(1)>",
    "template": "{{ 7 * 7 }}{% raw %}{{ config }}",
}


def poisoned(record: AuditRecord, verdict: Verdict, text: str) -> tuple[AuditRecord, Verdict]:
    """The text as the name of model, data, class, group, feature and instance, and in the policy's own words."""
    feature = record.data.features[0].model_copy(update={"name": text, "values": {text: 100, "other": 900}})
    data = record.data.model_copy(
        update={"name": text, "labels": {text: 10, "b": 20}, "features": (feature,), "roles": {"label": text}}
    )
    subject = record.subject.model_copy(
        update={"name": text, "classes": (text, "b"), "details": {text: text}, "positive": text}
    )
    ruling = verdict.rulings[1]
    check = ruling.check.model_copy(
        update={
            "slice": group_axes({text: text}),
            "rule": ruling.check.rule.model_copy(update={"title": text, "source": text}),
        }
    )
    rulings = (ruling.model_copy(update={"check": check}), *verdict.rulings[2:])
    changed = record.model_copy(
        update={"name": text, "data": data, "subject": subject, "attestations": {"owner": text, text: text}}
    )
    return changed, verdict.model_copy(update={"rulings": rulings})


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_names_are_shown_and_do_nothing(
    browser: Browser, site: Path, open_record: AuditRecord, verdict: Verdict, attack: str
) -> None:
    text = ATTACKS[attack]
    path = site / f"{attack}.html"
    path.write_text(render(*poisoned(open_record, verdict, text)), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    said: list[str] = []
    page.on("console", lambda m: said.append(m.text))
    page.on("dialog", lambda d: (said.append(d.message), d.dismiss()))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert said == []
    assert page.title() != "owned"
    assert page.locator("script, iframe, object, embed, a[href^='javascript']").count() == 0
    assert page.locator("h1").count() == 1
    assert page.locator("main").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    shown = page.locator("body").inner_text()
    assert "49" not in page.locator("h1").inner_text()
    assert not set("\u202e\u2066\u2069\0") & set(shown)
    plain = text.replace("\0", "\ufffd").replace("\u202e", "\ufffd").replace("\u202c", "\ufffd")
    plain = plain.replace("\u2066", "\ufffd").replace("\u2069", "\ufffd")
    assert plain[:60].split()[0] in shown
