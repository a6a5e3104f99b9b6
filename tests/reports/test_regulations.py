"""The data files of the regulatory index: sound, in our own words, and about probes and measures that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.registry import discover
from reports.attestations import KNOWN
from reports.errors import RecordError
from reports.regulations import FOLDER, RECORDED, read_regulation, regulation, regulation_messages, regulations

EXPECTED = {
    "eu-ai-act", "gdpr", "iso-42001", "nist-ai-rmf", "nist-sp-800-226", "nyc-ll144", "sr-26-2", "uniform-guidelines",
}  # fmt: skip

GOOD = """\
schema: plumbline.regulation/v1
id: rule
version: 1
as_of: 2026-11-28
name: A rule
citation: Rule 1
scope: Everybody.
status: In force.
checked_against: [nothing]
requirements:
  - id: one
    title: One thing
    asks: Do one thing.
    source: Rule 1
    fields:
      - {attested: owner}
"""


def test_there_is_a_file_for_every_framework() -> None:
    assert {f.id for f in regulations()} == EXPECTED == {p.stem for p in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("id_", sorted(EXPECTED))
def test_every_selector_names_a_probe_and_a_measure_that_there_are(id_: str) -> None:
    infos = {id_: {d.name for d in cls.info.defines} for id_, cls in discover().items()}
    families = {i.partition(".")[0] for i in infos}
    for requirement in regulation(id_).requirements:
        for selector in (s for f in requirement.fields for s in f.measured_by):
            probe, _, measure = selector.partition(":")
            assert probe in (infos if "." in probe else families), f"{requirement.id}: {selector}"
            assert not measure or measure in infos[probe], f"{requirement.id}: {selector}"


def test_every_attestation_and_every_recorded_part_is_asked_for_somewhere() -> None:
    fields = [f for framework in regulations() for r in framework.requirements for f in r.fields]
    assert {f.attested for f in fields if f.attested} == set(KNOWN)
    assert {f.recorded for f in fields if f.recorded} == set(RECORDED)


def test_the_parts_that_were_promised_are_covered() -> None:
    act = {r.source for r in regulation("eu-ai-act").requirements}
    for article in (9, 10, 13, 14, 15):
        assert any(s.startswith(f"Art. {article}(") for s in act)
    assert {s.partition(";")[0] for s in act} >= {f"Annex IV point {n}" for n in range(1, 10)}
    measure = {r.source for r in regulation("nist-ai-rmf").requirements}
    assert measure == {f"MEASURE 2.{n}" for n in range(1, 14)}
    controls = {r.source for r in regulation("iso-42001").requirements}
    assert controls == {"A.6.1.2", "A.6.1.3", *(f"A.6.2.{n}" for n in range(2, 9)), *(f"A.7.{n}" for n in range(2, 7))}


def test_each_file_says_what_was_checked_and_what_was_not() -> None:
    for framework in regulations():
        assert any(c.startswith("Not checked:") for c in framework.checked_against), framework.id


def test_every_sentence_is_handed_to_the_catalogues() -> None:
    handed = set(regulation_messages())
    for framework in regulations():
        assert {framework.name, framework.scope, framework.status, *framework.checked_against} <= handed
        for requirement in framework.requirements:
            assert {requirement.title, requirement.asks} <= handed
            assert {f.shows for f in requirement.fields if f.shows} <= handed


def written(folder: Path, text: str, name: str = "rule.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    assert read_regulation(written(tmp_path, GOOD)).requirements[0].fields[0].title.text == "Owner"


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("{attested: onwer}", "{attested: owner}", "no attestation is called 'onwer'"),
        ("{attested: owner, recorded: data}", "{attested: owner}", "exactly one of"),
        ("{measured_by: [performance]}", "{attested: owner}", "shows belongs to measured_by"),
        ("{shows: x, measured_by: [Performance]}", "{attested: owner}", "pattern"),
        ("asks: Do {one} thing.", "asks: Do one thing.", "braces"),
        ("version: 0", "version: 1", "version"),
        ("id: other", "id: rule", "its id is 'other'"),
        ("name: A rule\nsurprise: 1", "name: A rule", "surprise"),
        ("name: [", "name: A rule", "cannot be read"),
        ("as_of: someday", "as_of: 2026-11-28", "as_of"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path: Path, wrong: str, right: str, says: str) -> None:
    assert right in GOOD
    with pytest.raises(RecordError) as caught:
        read_regulation(written(tmp_path, GOOD.replace(right, wrong, 1)))
    assert says in str(caught.value)
    assert "rule.yaml" in str(caught.value)


def test_an_unknown_framework_is_named_with_those_that_there_are() -> None:
    with pytest.raises(RecordError, match="no regulation is called 'eu'"):
        regulation("eu")


def test_the_guide_lists_every_framework_and_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "regulation.md").read_text(encoding="utf-8")
    for framework in regulations():
        assert f"| `{framework.id}` | {framework.citation} | {len(framework.requirements)} |" in text
    for key, known in KNOWN.items():
        assert f"| `{key}` | {known.asks} |" in text
