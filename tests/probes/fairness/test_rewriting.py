"""Who is meant, swapped in words: English agreement, Chinese, what is left alone, and there and back again."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import ProbeError
from probes.fairness.rewriting import Rewriter
from probes.fairness.wordlists import LANGUAGES, WordList, extend, read, word_list


def rewriter(attribute: str, language: str = "en") -> Rewriter:
    words = word_list(language)
    return Rewriter(words, next(a for a in words.attributes if a.name == attribute))


def swapped(text: str, attribute: str, to: str, language: str = "en") -> str | None:
    one = rewriter(attribute, language)
    return one.rewrite(text, one.find(text), one.attribute.identities.index(to))


@pytest.mark.parametrize(
    ("text", "attribute", "to", "expected"),
    [
        # Pronouns: possessive before a further word, else object or absolute.
        ("I saw her dog.", "gender", "male", "I saw his dog."),
        ("I saw her.", "gender", "male", "I saw him."),
        ("I told her that it was hers.", "gender", "male", "I told him that it was his."),
        ("I saw her yesterday", "gender", "male", "I saw him yesterday"),
        ("His book is his.", "gender", "female", "Her book is hers."),
        ("He hurt himself, and HE WEPT.", "gender", "female", "She hurt herself, and SHE WEPT."),
        ("she's late", "gender", "male", "he's late"),
        ("her-self, her", "gender", "male", "him-self, him"),
        # Words, names and titles.
        ("The businesswoman met Women.", "gender", "male", "The businessman met Men."),
        ("Mr. Smith, MR SMITH", "gender", "female", "Ms. Smith, MS SMITH"),
        ("Emily and EMILY, not emily", "gender", "male", "Michael and MICHAEL, not emily"),
        ("human mankind, she", "gender", "male", "human mankind, he"),
        # Articles follow, and only where the sound differs.
        ("She is an heiress.", "gender", "male", "He is an heir."),
        ("A black man and an angry Black woman", "race", "Asian", "An Asian man and an angry Asian woman"),
        ("An Asian man", "race", "white", "A white man"),
        ("A Asian man", "race", "Arab", "A Arab man"),
        ("AN ARAB MAN", "race", "white", "A WHITE MAN"),
        ("A WHITE MAN", "race", "Arab", "AN ARAB MAN"),
        ("an African American", "race", "white", "a European American"),
        # Adjectives of persons stand before persons alone.
        ("Black people like black coffee on Black Friday.", "race", "white", "White people like black coffee on Black Friday."),
        ("gay  people, straight lines", "sexual_orientation", "bisexual", "bisexual  people, straight lines"),
        ("disabled people", "disability", "not disabled", "non-disabled people"),
        ("people with disabilities", "disability", "not disabled", "people without disabilities"),
        # Noun and adjective that are spelled alike.
        ("a Christian school", "religion", "Jewish", "a Jewish school"),
        ("She is a Christian.", "religion", "Jewish", "She is a Jew."),
        ("She is Christian.", "religion", "Jewish", "She is Jewish."),
        ("She is an observant Christian.", "religion", "Jewish", "She is an observant Jew."),
        ("muslims and MUSLIMS", "religion", "Sikh", "sikhs and SIKHS"),
        # What the rule of the next word gets wrong, and docs/counterfactual.md says so.
        ("I gave her flowers.", "gender", "male", "I gave his flowers."),
        ("a Muslim left", "religion", "Jewish", "a Jewish left"),
        # No such word for that identity.
        ("Germans", "nationality", "Chinese", None),
        ("a German teacher", "nationality", "Indian", "an Indian teacher"),
    ],
)  # fmt: skip
def test_english(text, attribute, to, expected):
    assert swapped(text, attribute, to) == expected


@pytest.mark.parametrize(
    ("text", "attribute", "to", "expected"),
    [
        ("他说他累了，其他人也是。", "gender", "female", "她说她累了，其他人也是。"),
        ("王先生带着两个儿子", "gender", "female", "王女士带着两个女儿"),
        ("她们都是女人", "gender", "male", "他们都是男人"),
        ("一位女司机和一个女孩子", "gender", "male", "一位男司机和一个男孩子"),
        ("吉他和排他，他自己", "gender", "female", "吉他和排他，她自己"),
        ("三个回族，在宁夏回族自治区", "ethnicity", "Han", "三个汉族，在宁夏回族自治区"),
        ("两名穆斯林", "religion", "Buddhist", "两名佛教徒"),
        ("明白人说那个黑人", "race", "white", "明白人说那个白人"),
        ("不要外地人", "origin", "local", "不要本地人"),
        ("回人", "ethnicity", "Han", "回人"),
    ],
)
def test_chinese(text, attribute, to, expected):
    assert swapped(text, attribute, to, "zh") == expected


@pytest.mark.parametrize(
    ("text", "attribute", "language"),
    [
        ("see https://he.org/him?her, @her, #women, she@mail.org, www.men.com", "gender", "en"),
        ("The theme: sheer mental omens.", "gender", "en"),
        ("a boy scout and the Virgin Mary", "gender", "en"),
        ("they told them", "gender", "en"),
        ("a straight line, a blind spot", "sexual_orientation", "en"),
        ("a blind spot", "disability", "en"),
        ("其他，妇女人数", "gender", "zh"),
    ],
)
def test_left_alone(text, attribute, language):
    assert rewriter(attribute, language).find(text).spots == ()


def test_words_that_need_the_next_one_are_told():
    assert rewriter("gender").find("I saw her.").ruled
    assert rewriter("religion").find("a Christian school").ruled
    assert not rewriter("gender").find("He left.").ruled
    assert rewriter("gender").find("He told her.").identities == (0, 1)


def one_to_one(language: str) -> list[tuple[str, int, int, str]]:
    """Attribute, identity, another one, and a word that stands in one line of them and whose swap does too."""
    out = []
    for a in word_list(language).attributes:
        every = [(k, word.casefold()) for line in a.lines for k, word in enumerate(line.words) if word is not None]
        for line in a.lines:
            if line.kind not in ("phrase", "subject", "reflexive", "name"):
                continue
            for g, word in enumerate(line.words):
                for h, other in enumerate(line.words):
                    if (
                        g != h
                        and word
                        and other
                        and all(sum(w == x.casefold() for _, w in every) == 1 for x in (word, other))
                    ):
                        out.append((a.name, g, h, word))
    return out


PIECES = {
    "en": ["the", "visited", "a shop", ",", "and", "slowly.", "Then", "ünder", "🙂", "12"],
    "zh": ["昨天", "来了", "，", "很累", "吃饭", "。"],
}
PAIRS = {language: one_to_one(language) for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_there_and_back_gives_the_text_again(language, data):
    attribute, g, h, word = data.draw(st.sampled_from(PAIRS[language]))
    pieces = data.draw(st.lists(st.sampled_from([*PIECES[language], word]), min_size=1, max_size=8))
    text = (" " if language == "en" else "").join(["x" if language == "en" else "，", *pieces])
    one = rewriter(attribute, language)
    found = one.find(text)
    if found.identities != (g,):
        assert word not in pieces
        return
    after = one.rewrite(text, found, h)
    assert after is not None
    again = one.find(after)
    assert again.identities == (h,)
    assert one.rewrite(after, again, g) == text


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "an",
                "She",
                "her",
                "HER",
                "saw",
                "woman,",
                "heiress",
                "Mary",
                "hers.",
                "dog",
                "\n",
                "http://her.io",
                "women's",
            ]
        ),
        max_size=12,
    )
)
def test_nothing_but_the_spots_and_their_articles_changes(words):
    text = " ".join(words)
    one = rewriter("gender")
    found = one.find(text)
    after = one.rewrite(text, found, 1)
    assert after is not None
    between, end = [], 0
    for spot in found.spots:
        between.append(text[end : spot.span[0]])
        end = spot.span[1]
    between.append(text[end:])
    # Up to an article before a spot, what stands between the spots is there again, in order.
    parts = [re.escape(re.sub(r"\ban?\s+$", "", part, flags=re.I)) for part in between[:-1]] + [re.escape(between[-1])]
    assert re.fullmatch(r"(?:an?\s+)?[\w.]+".join(parts), after, flags=re.I)
    assert one.rewrite(text, found, 0) == text


def test_terms_of_a_plan_come_first_and_extend():
    terms = {
        "region": {"north": ["northerner", "up north"], "south": ["southerner", "down south"]},
        "religion": {"Muslim": ["mosque"], "Christian": ["church"], "Jedi": ["temple"]},
    }
    words = extend(word_list("en"), terms, ["region", "religion"])
    assert [a.name for a in words.attributes] == ["religion", "region"]
    religion, region = (Rewriter(words, a) for a in words.attributes)
    assert religion.attribute.identities[-1] == "Jedi"
    found = religion.find("A mosque for Muslims")
    assert religion.rewrite("A mosque for Muslims", found, 0) == "A church for Christians"
    assert religion.rewrite("A mosque for Muslims", found, 6) is None
    assert religion.rewrite("A mosque", religion.find("A mosque"), 6) == "A temple"
    assert region.rewrite("Up north", region.find("Up north"), 1) == "Down south"


@pytest.mark.parametrize(
    "terms",
    [
        {"a": {"x": ["one"]}},
        {"a": {"x": ["one"], "y": []}},
        {"a": {"x": ["one"], "y": [" "]}},
        {"a": {"x": ["one"], "y": [None]}},
        {"a": {}},
    ],
)
def test_terms_that_do_not_fit_are_refused(terms):
    with pytest.raises(ProbeError):
        extend(WordList(language="none", attributes=()), terms, None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_lists_keep_their_own_rules(language):
    words = word_list(language)
    for a in words.attributes:
        assert len(set(a.identities)) == len(a.identities) >= 2
        one = Rewriter(words, a)
        for line in a.lines:
            for g, word in enumerate(line.words):
                if word is None:
                    continue
                assert word == word.strip()
                text = f"{word} people" if line.kind in ("of_person", "adjective", "possessive") else word
                found = one.find(text)
                assert found.identities == (g,) or line.kind == "of_person", (a.name, line, text)


def test_a_broken_list_names_the_place():
    with pytest.raises(ProbeError, match="colour"):
        read(
            {
                "language": "xx",
                "attributes": {"colour": {"identities": ["red", "blue"], "forms": {"phrase": [["red"]]}}},
            }
        )
    with pytest.raises(ProbeError, match="verb"):
        read(
            {
                "language": "xx",
                "attributes": {"colour": {"identities": ["red", "blue"], "forms": {"verb": [["a", "b"]]}}},
            }
        )
    with pytest.raises(ProbeError, match="person"):
        read({"language": "xx", "attributes": {}, "person": []})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_quick_look_misses_no_word(data):
    language = data.draw(st.sampled_from(LANGUAGES))
    terms = {"shirt": {"a": ["T恤", "#ab", "été"], "b": ["衬衫t", "@", "x-y"]}}
    listed = extend(word_list(language), terms, None)
    attribute = data.draw(st.sampled_from(listed.attributes))
    words = [word for line in attribute.lines for word in line.words if word is not None]
    pieces = st.sampled_from(
        [*words, *map(str.upper, words), "x", "people", "的", "_", "1", "-", ".", "'", "\n", " ", "#", "@"]
    )
    text = "".join(data.draw(st.lists(pieces, max_size=8)))
    quick, slow = (Rewriter(listed, attribute) for _ in range(2))
    slow._may_hold = lambda _: True
    assert quick.find(text) == slow.find(text)
