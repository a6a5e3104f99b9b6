"""Catalogues hold exactly what is said, whole, with the same places and numbers; and the command says where they do not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from audit import catalogues
from audit.catalogues import ROOMS, ROOT, collected, faults, known, main, mo_bytes, path, po_bytes, read, updated

# Where a template is not spelled at its call, because it is read back, copied, or comes from one of the other sources.
COPIED = {
    "evidence.py", "facts.py", "registry.py", "wording.py", "regulations.py", "regulatory_index.py", "plausibility.py",
    "influence_reading.py", "material.py", "quality_figures.py", "quality_evidence.py", "ledger.py",
}  # fmt: skip


def test_the_catalogues_in_the_package_are_complete_and_current() -> None:
    assert known() == ("zh_CN",)
    assert faults("zh_CN") == []
    assert main(["check"]) == 0


def test_sentences_of_every_kind_are_collected() -> None:
    found = set(collected())
    assert "{figure} has no value: {why}" in found  # message(...)
    assert "Checks that need action" in found  # a template
    assert ("%(count)s measurement", "%(count)s measurements") in found
    assert "Does the model lean on words that it should not lean on?" in found  # a probe's docstring
    assert {"Equal opportunity difference", "equal opportunity difference", "TPR at 0.1 percent FPR"} <= found
    assert {"share", "rows"} <= found  # units
    assert "Four-fifths rule" in found  # a data file
    assert all(key and key != ("", "") for key in found)


def test_no_sentence_is_made_where_it_cannot_be_collected() -> None:
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in ("message", "Message")
                ):
                    spelled = node.func.id == "message" and node.args and isinstance(node.args[0], ast.Constant)
                    assert spelled or file.name in COPIED, f"{file}:{node.lineno}"


@pytest.fixture
def own_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(catalogues, "LOCALE", tmp_path)
    monkeypatch.setattr(catalogues, "collected", lambda: ("{n} rows of 7", "Gone", ("%(n)s row", "%(n)s rows")))
    assert main(["update", "--language", "zh_CN"]) == 0
    assert main(["compile"]) == 0
    return tmp_path


def _say(**said: str | tuple[str, ...]) -> None:
    catalog = read("zh_CN")
    for entry in catalog:
        name = {"{n} rows of 7": "rows", "Gone": "gone"}.get(entry.id if isinstance(entry.id, str) else "", "plural")
        if entry.id and name in said:
            entry.string = said[name]
    path("zh_CN").write_bytes(po_bytes(catalog))
    path("zh_CN", "mo").write_bytes(mo_bytes(catalog))


def test_what_is_missing_or_wrongly_filled_is_said(own_locale: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 1
    assert capsys.readouterr().out.count("is not translated") == 3
    _say(rows="7 行中的 {n} 行", gone="没有了", plural=("%(n)s 行",))
    assert main(["check"]) == 0
    _say(rows="7 行中的 {m} 行")
    assert "has the places {m}; expected {n}" in "".join(faults("zh_CN"))
    _say(rows="8 行中的 {n} 行")
    assert "has the numbers 8" in "".join(faults("zh_CN"))
    _say(rows="7 行中的 {n} 行", plural=("行",))
    assert "has the places none; expected %(n)s" in "".join(faults("zh_CN"))


def test_what_changed_in_the_source_is_said_and_taken_over(own_locale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _say(rows="7 行中的 {n} 行", gone="没有了", plural=("%(n)s 行",))
    monkeypatch.setattr(catalogues, "collected", lambda: ("{n} rows of 7", "New", ("%(n)s row", "%(n)s rows")))
    assert any("run `update`" in fault for fault in faults("zh_CN"))
    assert main(["update"]) == 0
    again = {entry.id: entry.string for entry in read("zh_CN") if entry.id}
    assert again == {"{n} rows of 7": "7 行中的 {n} 行", "New": "", ("%(n)s row", "%(n)s rows"): ("%(n)s 行",)}
    assert any("run `compile`" in fault for fault in faults("zh_CN"))


def test_a_fuzzy_entry_is_a_fault(own_locale: Path) -> None:
    _say(rows="7 行中的 {n} 行", gone="没有了", plural=("%(n)s 行",))
    file = path("zh_CN")
    file.write_text(
        file.read_text(encoding="utf-8").replace('msgid "Gone"', '#, fuzzy\nmsgid "Gone"'), encoding="utf-8"
    )
    assert any("fuzzy" in fault for fault in faults("zh_CN"))


def test_files_hold_no_day_no_person_and_no_line_number() -> None:
    text = po_bytes(updated("zh_CN")).decode()
    assert "nplurals=1" in text
    for word in ("Date", "Translator", "Team", "Generated-By", "#:"):
        assert word not in text
