from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from audit.errors import WaiverError
from audit.waivers import LONGEST_DAYS, load_waivers, unfit
from reports.record import Waiver

FIELDS = {
    "id": "w-1",
    "rule": "equal-opportunity",
    "slice": "feature:target_ident",
    "subject": "0" * 64,
    "allow_up_to": "0.2",
    "justification": "the next model is trained",
    "statement": "we accept the gap until then",
    "requested_by": "ann@example.org",
    "approved_by": "bob@example.org",
    "approved_on": "2026-01-01",
    "expires": "2026-03-01",
    "ticket": "RISK-12",
}


def write(tmp_path: Path, *entries: dict[str, str]) -> Path:
    path = tmp_path / "waivers.yaml"
    text = "schema: plumbline.waivers/v1\nwaivers:\n"
    for entry in entries:
        lines = [f"{key}: {value!r}" if key == "subject" else f"{key}: {value}" for key, value in entry.items()]
        text += "- " + "\n  ".join(lines) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def line_of(field: str) -> int:
    return 3 + list(FIELDS).index(field)


def test_a_complete_waiver_reads(tmp_path: Path) -> None:
    (waiver,) = load_waivers(write(tmp_path, FIELDS))
    assert waiver.allow_up_to == 0.2
    assert waiver.expires == date(2026, 3, 1)
    assert unfit(waiver) is None


def test_an_expired_waiver_is_valid_input(tmp_path: Path) -> None:
    old = FIELDS | {"approved_on": "2020-01-01", "expires": "2020-01-01"}
    assert len(load_waivers(write(tmp_path, old))) == 1


@pytest.mark.parametrize("field", list(FIELDS))
def test_every_field_is_required(tmp_path: Path, field: str) -> None:
    with pytest.raises(WaiverError, match=f"has no '{field}'") as caught:
        load_waivers(write(tmp_path, {k: v for k, v in FIELDS.items() if k != field}))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "field", ["rule", "slice", "justification", "statement", "requested_by", "approved_by", "ticket"]
)
def test_blank_is_not_filled_in(tmp_path: Path, field: str) -> None:
    for blank in ("''", "'  '"):
        with pytest.raises(WaiverError) as caught:
            load_waivers(write(tmp_path, FIELDS | {field: blank}))
        assert caught.value.where.endswith(f":{line_of(field)}")


@pytest.mark.parametrize(
    "approver",
    ["ann@example.org", "Ann@Example.org", "' ann@example.org '", "'ann @example.org'", "ａｎｎ@example.org"],
)
def test_nobody_approves_their_own_request(tmp_path: Path, approver: str) -> None:
    with pytest.raises(WaiverError, match="approves what they requested themselves") as caught:
        load_waivers(write(tmp_path, FIELDS | {"approved_by": approver}))
    assert caught.value.where.endswith(f":{line_of('approved_by')}")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("expires", "2025-12-31", "before its approval"),
        ("expires", "2026-04-02", "it lasts 91 days"),
        ("expires", "soon", "a date such as"),
        ("expires", "20260301", "a date such as"),
        ("approved_on", "2026-01-01T10:00:00", "a date such as"),
        ("allow_up_to", "ten", "a number"),
        ("allow_up_to", "true", "a number"),
        ("allow_up_to", ".nan", "a finite number"),
        ("subject", "abc", "text that matches"),
        ("rule", "[a]", "text"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, field: str, value: str, said: str) -> None:
    with pytest.raises(WaiverError) as caught:
        load_waivers(write(tmp_path, FIELDS | {field: value}))
    assert said in str(caught.value)
    assert caught.value.where.endswith(f":{line_of(field)}")


def test_the_longest_waiver(tmp_path: Path) -> None:
    assert LONGEST_DAYS == 90
    load_waivers(write(tmp_path, FIELDS | {"expires": "2026-04-01"}))  # 90 days


def test_unknown_keys_and_ids_that_repeat(tmp_path: Path) -> None:
    with pytest.raises(WaiverError, match="did you mean 'ticket'"):
        load_waivers(write(tmp_path, FIELDS | {"tickt": "x"}))
    with pytest.raises(WaiverError, match="'w-1' again, first in line 3"):
        load_waivers(write(tmp_path, FIELDS, FIELDS))


def test_all_problems_of_all_waivers_are_listed(tmp_path: Path) -> None:
    bad = FIELDS | {"id": "w-2", "approved_by": "ann@example.org", "expires": "2030-01-01"}
    with pytest.raises(WaiverError) as caught:
        load_waivers(write(tmp_path, FIELDS, bad))
    assert "2 problems" in str(caught.value)
    assert str(caught.value).count("w-2") == 2


def test_a_waiver_from_python_is_judged_alike() -> None:
    values: dict[str, Any] = FIELDS | {"allow_up_to": 0.2, "approved_by": "ANN@example.org", "expires": "2026-12-31"}
    problem = unfit(Waiver.model_validate(values))
    assert problem is not None
    assert "approves what they requested" in problem
    assert "it lasts 364 days" in problem


def test_no_waivers_at_all(tmp_path: Path) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_text("waivers: []\n", encoding="utf-8")
    assert load_waivers(path) == ()
