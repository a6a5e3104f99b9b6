"""Both texts can be read off their differences, and what eyes miss has a name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reports.differences import LONGEST, Piece, Run, differences

TEXTS = st.text(alphabet="ab cаё\u200b\n好é", max_size=30)


def plain(pieces: tuple[Piece, ...]) -> list[tuple[str, str]]:
    return [(piece.kind, piece.text) for piece in pieces]


@given(TEXTS, TEXTS)
def test_each_text_is_what_its_pieces_spell(before: str, after: str) -> None:
    pieces = differences(before, after)
    assert "".join(p.text for p in pieces if p.kind in ("same", "gone")) == before
    assert "".join(p.text for p in pieces if p.kind in ("same", "new")) == after


@given(TEXTS)
def test_equal_texts_have_no_difference(text: str) -> None:
    assert plain(differences(text, text)) == ([("same", text)] if text else [])


@given(TEXTS, TEXTS)
def test_each_added_letter_that_cannot_be_seen_is_named(before: str, after: str) -> None:
    for piece in differences(before, after):
        if piece.kind == "new" and piece.text.strip() == "\u200b":
            assert piece.runs == (Run("\u200b", named="[U+200B]", unseen=True),)


def test_words_are_compared_by_word() -> None:
    found = plain(differences("a bad film", "a fine new film"))
    assert found == [("same", "a "), ("gone", "bad"), ("new", "fine new"), ("same", " film")]
    assert all(not run.touched for piece in differences("a bad film", "a fine film") for run in piece.runs)


def test_letters_inside_a_word_are_marked_on_both_sides() -> None:
    _, gone, new, _ = differences("I wrote it", "I wroet it")
    assert gone.runs == (Run("wrot"), Run("e", touched=True))
    assert new.runs == (Run("wro"), Run("e", touched=True), Run("t"))


def test_a_letter_that_only_looks_the_same_is_named() -> None:
    _, gone, new = differences("I hate", "I h\u0430te")
    assert gone.runs == (Run("h"), Run("a", touched=True), Run("te"))
    assert new.runs == (Run("h"), Run("\u0430", touched=True, named="[U+0430]"), Run("te"))
    assert differences("women", "wo\u217fen")[1].runs[1].named == "[U+217F]"


def test_letters_of_the_texts_own_script_need_no_name() -> None:
    for before, after in (("我很好", "我很坏"), ("привет", "превет"), ("resume", "resumé")):
        assert not [run for piece in differences(before, after) for run in piece.runs if run.named]


def test_a_word_that_was_split_is_read_as_one() -> None:
    same, gone, new = differences("it is disgusting. ", "it is disgust ing. ")[:3]
    assert (same.text, gone.text, new.text) == ("it is ", "disgusting.", "disgust ing.")
    assert [r.named for r in new.runs] == ["", "␣", ""]


def test_changed_spaces_are_shown() -> None:
    assert differences("good film", "goodfilm")[0].runs[1] == Run(" ", touched=True, named="␣", unseen=True)
    assert [p.runs[0].named for p in differences("a b", "a\u00a0b")] == ["", "␣", "[U+00A0]", ""]
    assert [r.named for r in differences("a b", "a  b")[2].runs] == ["", "␣"]
    assert [r.named for r in differences("a\nb", "a b")[1].runs] == ["⏎"]


def test_what_is_too_long_is_cut_and_said() -> None:
    before = " ".join(f"w{i}" for i in range(LONGEST + 30))
    pieces = differences(before, before + " end")
    assert pieces[-1] == Piece("cut", left_out=31)
    assert sum(len(p.text.split()) for p in pieces) == LONGEST
