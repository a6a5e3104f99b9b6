"""What looks like personal data: well-known examples, and numbers that fail their checks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.data.personal import KINDS, find, iban, luhn, readable, resident_id, without

REGIONS = ("CN", "GB", "US")


def kinds(text: str) -> list[str]:
    return [kind for kind, _, _ in find(text, REGIONS)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe+x@example.co.uk please", "email"),
        ("邮箱wang@例子.中国。", "email"),
        ("pay 4111 1111 1111 1111 now", "card"),
        ("pay 3782-822463-10005", "card"),
        ("卡号５５５５５５５５５５５５４４４４", "card"),
        ("IBAN GB82 WEST 1234 5698 7654 32", "iban"),
        ("DE89370400440532013000", "iban"),
        ("身份证11010519491231002X号", "cn_id"),
        ("ssn 078-05-1120.", "us_ssn"),
        ("from 8.8.8.8 it came", "ip_address"),
        ("call +44 20 7946 0958", "phone"),
        ("call (202) 555-0123 today", "phone"),
        ("电话13800138000", "phone"),
    ],
)
def test_each_kind_is_found_where_it_stands(text, kind):
    assert kinds(text) == [kind]
    _, start, end = find(text, REGIONS)[0]
    assert 7 <= end - start <= 30
    assert readable(text)[start:end] not in without(text, find(text, REGIONS))
    assert kind in KINDS


@pytest.mark.parametrize(
    "text",
    [
        "nothing at all",
        "@user @another_user hi",
        "a@b",
        "4111 1111 1111 1112",
        "GB82 WEST 1234 5698 7654 33",
        "110105194912310021",
        "000-12-3456 and 666-12-3456",
        "127.0.0.1 and 192.168.1.1 and 999.1.1.1",
        "version 1.2.3.4.5",
        "in 2019 and 2020, 100 of 250",
    ],
)
def test_what_only_looks_alike_is_left_alone(text):
    assert kinds(text) == []


def test_check_digits_by_hand():
    """Luhn of 79927398713: 3+2+7+6+9+6+7+4+9+9+2 ... sums to 70; any other last digit does not."""
    assert [d for d in range(10) if luhn(f"7992739871{d}")] == [3]
    assert iban("GB82 WEST 1234 5698 7654 32")
    assert not iban("GB28 WEST 1234 5698 7654 32")
    assert resident_id("11010519491231002X")
    assert resident_id("11010519491231002x")


def test_several_in_one_text_do_not_overlap():
    text = "a@b.com, 4111111111111111, a@b.com; 078-05-1120"
    spans = find(text, REGIONS)
    assert [kind for kind, _, _ in spans] == ["email", "card", "email", "us_ssn"]
    assert all(a[2] <= b[1] for a, b in pairwise(spans))
    assert without(text, spans) == " ,  ,  ;  "


def test_no_region_finds_numbers_with_a_country_code_alone():
    assert find("call +44 20 7946 0958", ()) != []
    assert find("call (202) 555-0123", ()) == []


@given(st.text())
def test_any_text_can_be_looked_at(text):
    spans = find(text, REGIONS)
    assert all(0 <= a < b <= len(readable(text)) for _, a, b in spans)


def test_long_runs_take_no_time():
    assert kinds("a" * 200_000 + "@") == []
    assert kinds("1" * 20_000) == []
