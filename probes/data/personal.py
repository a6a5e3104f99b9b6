"""Finds what looks like personal data in a text: e-mail addresses, telephone, card and account numbers, identity numbers, addresses on
the internet. It says what kind stands where, and never hands out what it found.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

KINDS = ("email", "iban", "cn_id", "card", "us_ssn", "ip_address", "phone")

_EMAIL = re.compile(r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9])")
_CN_ID = re.compile(r"(?<!\d)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![0-9])")
_CARD = re.compile(r"(?<!\d)[2-6](?:[ -]?\d){12,18}(?!\d)")
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_IP = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)")
_CN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_DIGIT = re.compile(r"\d")

Span = tuple[str, int, int]


def luhn(number: str) -> bool:
    """Whether the last of a number's digits is its check digit (ISO/IEC 7812-1, annex B)."""
    total = 0
    for k, digit in enumerate(int(c) for c in reversed(number) if c.isdigit()):
        doubled = 2 * digit if k % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def iban(number: str) -> bool:
    """Whether an account number's check digits are right (ISO 13616, ISO/IEC 7064 MOD 97-10)."""
    plain = number.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def resident_id(number: str) -> bool:
    """Whether the last character of a Chinese resident identity number is its check (GB 11643, ISO/IEC 7064 MOD 11-2)."""
    total = sum(w * int(c) for w, c in zip(_CN_WEIGHTS, number, strict=False))
    return "10X98765432"[total % 11] == number[-1].upper()


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool] | None], ...] = (
    ("email", _EMAIL, None),
    ("iban", _IBAN, iban),
    ("cn_id", _CN_ID, resident_id),
    ("card", _CARD, luhn),
    ("us_ssn", _SSN, None),
    ("ip_address", _IP, _public),
)


def readable(text: str) -> str:
    """The text in which `find` gives places: NFKC, so that full-width digits are digits."""
    return unicodedata.normalize("NFKC", text)


def find(text: str, regions: Sequence[str]) -> list[Span]:
    """Kind, first and last-plus-one character of everything found in ``readable(text)``, in order; places do not overlap.

    Args:
        text: any.
        regions: two-letter countries whose telephone numbers are found without a country code.
    """
    if "@" not in text and len(_DIGIT.findall(text)) < 4:
        return []
    text, found = readable(text), list[Span]()
    for kind, pattern, valid in _PATTERNS:
        for match in pattern.finditer(text):
            if (valid is None or valid(match.group())) and _free(found, match.start(), match.end()):
                found.append((kind, match.start(), match.end()))
    if len(_DIGIT.findall(text)) >= 7:
        for start, end in _phones(text, regions):
            if _free(found, start, end):
                found.append(("phone", start, end))
    return sorted(found, key=lambda span: span[1])


def without(text: str, spans: Sequence[Span]) -> str:
    """``readable(text)`` with a space in place of everything found."""
    out, at = [], 0
    text = readable(text)
    for _, start, end in spans:
        out.append(text[at:start])
        at = end
    return " ".join([*out, text[at:]])


def _phones(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    import phonenumbers

    for region in regions or (None,):
        for match in phonenumbers.PhoneNumberMatcher(text, region):
            yield match.start, match.end


def _free(found: Sequence[Span], start: int, end: int) -> bool:
    return all(end <= a or b <= start for _, a, b in found)
