"""What the kinds of everyday noise look up: keys beside one another, letters that look alike, British and American
spellings, contractions. Plain data, written for this project from common knowledge; it changes no text.

Where a word has two readings it stands here only in the direction that is certain: a British "programme" is an American
"program", and not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """Letters beside, above and below each letter of a QWERTY keyboard, whose rows are shifted by half a key."""
    places = {key: (row, column + row * 0.5) for row, keys in enumerate(_ROWS) for column, key in enumerate(keys)}
    return {
        key: "".join(
            other
            for other, (r, c) in places.items()
            if other != key and abs(r - row) <= 1 and abs(c - column) <= (1 if r == row else 0.5)
        )
        for key, (row, column) in places.items()
    }


NEIGHBOURS: Mapping[str, str] = _neighbours()

# Letter, and letters of other scripts that most fonts draw the same or nearly so (compare Unicode TS 39).
LOOKALIKES: Mapping[str, str] = {
    "a": "\u0430\u0251", "b": "\u042c", "c": "\u0441\u03f2", "d": "\u0501", "e": "\u0435", "f": "\uff46", "g": "\u0261",
    "h": "\u04bb", "i": "\u0456", "j": "\u0458", "k": "\u03ba", "l": "\u04cf", "m": "\uff4d", "n": "\u0578",
    "o": "\u043e\u03bf", "p": "\u0440\u03c1", "q": "\u051b", "r": "\uff52", "s": "\u0455", "t": "\uff54",
    "u": "\u057d", "v": "\u03bd", "w": "\u051d", "x": "\u0445", "y": "\u0443", "z": "\u1d22",
    "A": "\u0410\u0391", "B": "\u0412\u0392", "C": "\u0421", "D": "\uff24", "E": "\u0415\u0395", "F": "\u03dc",
    "G": "\u050c", "H": "\u041d\u0397", "I": "\u0406\u0399", "J": "\u0408", "K": "\u041a\u039a", "L": "\uff2c",
    "M": "\u041c\u039c", "N": "\u039d", "O": "\u041e\u039f", "P": "\u0420\u03a1", "Q": "\u051a", "R": "\uff32",
    "S": "\u0405", "T": "\u0422\u03a4", "U": "\u054d", "V": "\u0474", "W": "\u051c", "X": "\u0425\u03a7",
    "Y": "\u03a5", "Z": "\u0396",
}  # fmt: skip

_NOUN = ("", "s")
_VERB = ("", "s", "ed", "ing")
_FULL = (*_VERB, "er", "ers")
_ISE = ("e", "es", "ed", "ing", "er", "ers", "ation", "ations")

# British stem, American stem, endings that both take.
_STEMS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *((stem + "our", stem + "or", _VERB) for stem in ("col", "lab", "fav", "hon", "harb", "vap", "clam", "parl", "ard")),
    *((stem + "our", stem + "or", _NOUN) for stem in (
        "behavi", "neighb", "hum", "rum", "arm", "flav", "od", "endeav", "rig", "sav", "splend", "val", "vig", "ranc",
        "demean", "ferv", "misdemean", "tum",
    )),
    *((stem + "our", stem + "or", endings) for stem, endings in (
        ("fav", ("ite", "ites", "able", "ably")), ("col", ("ful", "less")), ("hon", ("able", "ably")),
        ("neighb", ("hood", "hoods", "ing", "ly")), ("behavi", ("al",)), ("hum", ("less",)),
        ("flav", ("ed", "ing", "ful")), ("sav", ("y",)), ("lab", ("er", "ers")), ("rum", ("ed",)), ("arm", ("ed", "y")),
    )),
    *((stem + "is", stem + "iz", _ISE) for stem in (
        "organ", "real", "recogn", "special", "util", "final", "normal", "visual", "categor", "general", "minim",
        "maxim", "optim", "summar", "standard", "modern", "social", "national", "personal", "central", "legal",
        "local", "mobil", "neutral", "radical", "stabil", "symbol", "victim", "penal", "stigmat", "colon", "civil",
        "author", "character", "computer", "equal", "ideal", "industrial", "material", "revolution", "terror",
        "hospital", "immun", "marginal", "demon", "euthan", "harmon", "hypothes", "custom", "capital", "critic",
        "crystall", "econom", "emphas", "fertil", "familiar", "glamor", "memor", "moral", "polar", "priorit",
        "random", "rational", "steril", "sexual", "trivial", "urban", "vandal", "western",
    )),
    *((stem + "is", stem + "iz", ("e", "es", "ed", "ing", "er", "ers")) for stem in (
        "apolog", "sympath", "jeopard", "brutal", "patron", "scrutin", "antagon", "agon", "bapt", "fantas", "plagiar",
        "tantal", "traumat", "energ", "monopol", "sanit", "satir", "subsid", "vapor", "verbal", "weapon",
    )),
    *((stem + "yse", stem + "yze", ("", "d", "r", "rs", "s")) for stem in ("anal", "paral", "catal", "dial")),
    *((stem + "ys", stem + "yz", ("ing",)) for stem in ("anal", "paral", "catal", "dial")),
    *((stem + "re", stem + "er", _NOUN) for stem in (
        "cent", "theat", "fib", "lit", "kilomet", "centimet", "millimet", "calib", "spect", "sab", "somb", "meag",
        "lust", "scept",
    )),
    *((stem + "ll", stem + "l", ("ed", "ing", "er", "ers")) for stem in (
        "trave", "cance", "labe", "mode", "signa", "fue", "due", "counse", "quarre", "marve", "tota", "riva", "equa",
        "leve", "shove", "tunne", "channe", "bedevi", "snive", "grove",
    )),
    *((stem + "ence", stem + "ense", _NOUN) for stem in ("def", "off", "pret")),
    *((stem + "ogue", stem + "og", _NOUN) for stem in ("catal", "dial", "anal", "monol")),
    ("jeweller", "jeweler", _NOUN), ("jewellery", "jewelry", ("",)), ("counsellor", "counselor", _NOUN), ("woollen", "woolen", _NOUN),
    ("skilful", "skillful", ("", "ly")), ("wilful", "willful", ("", "ly")), ("fulfil", "fulfill", ("", "s", "ment")),
    ("enrol", "enroll", ("", "s", "ment")), ("instal", "install", ("ment", "ments")), ("distil", "distill", ("", "s")),
    ("aeroplane", "airplane", _NOUN), ("aluminium", "aluminum", ("",)), ("grey", "gray", (*_VERB, "er", "est", "ish")),
    ("mum", "mom", _NOUN), ("pyjamas", "pajamas", ("",)),
    ("plough", "plow", _FULL), ("mould", "mold", (*_VERB, "y")), ("moustache", "mustache", ("", "s", "d")),
    ("manoeuvre", "maneuver", ("", "s")), ("paediatric", "pediatric", ("", "s", "ian", "ians")),
    ("paedophil", "pedophil", ("e", "es", "ia", "ic")), ("gynaecolog", "gynecolog", ("y", "ist", "ists", "ical")),
    ("haemo", "hemo", ("globin", "philia", "rrhage")), ("anaem", "anem", ("ia", "ic")), ("oestrogen", "estrogen", _NOUN),
    ("foetus", "fetus", ("", "es")), ("foetal", "fetal", ("",)), ("encyclopaedia", "encyclopedia", _NOUN),
    ("homoeopath", "homeopath", ("y", "ic", "s")), ("orthopaedic", "orthopedic", _NOUN), ("leukaemia", "leukemia", _NOUN),
    ("diarrhoea", "diarrhea", ("",)), ("caesarean", "cesarean", _NOUN), ("medi\u00e6val", "medieval", ("",)),
    ("ageing", "aging", ("",)), ("acknowledgement", "acknowledgment", _NOUN), ("judgement", "judgment", (*_NOUN, "al")),
    ("cosy", "cozy", ("",)), ("sceptic", "skeptic", ("", "s", "al", "ism")), ("sulph", "sulf", ("ur", "ate", "ates")),
    ("arsehole", "asshole", _NOUN), ("chequered", "checkered", ("",)),
)  # fmt: skip

# British words whose American form has another meaning too: only from British to American.
_ONE_WAY: Mapping[str, str] = {
    "programme": "program", "programmes": "programs", "cheque": "check", "cheques": "checks", "kerb": "curb",
    "kerbs": "curbs", "metre": "meter", "metres": "meters", "practise": "practice", "practised": "practiced",
    "practising": "practicing", "draught": "draft", "draughts": "drafts", "storey": "story", "storeys": "stories",
    "tyres": "tires", "whilst": "while", "amongst": "among", "learnt": "learned", "burnt": "burned",
    "spelt": "spelled", "spoilt": "spoiled", "dreamt": "dreamed", "licence": "license", "tonne": "ton",
    "tonnes": "tons", "tyre": "tire", "licences": "licenses",
}  # fmt: skip


def _spellings() -> dict[str, tuple[str, ...]]:
    pairs = [(b + end, a + end) for b, a, endings in _STEMS for end in endings]
    out: dict[str, set[str]] = {}
    for british, american in pairs:
        out.setdefault(british, set()).add(american)
        out.setdefault(american, set()).add(british)
    for british, american in _ONE_WAY.items():
        out.setdefault(british, set()).add(american)
    return {word: tuple(sorted(others)) for word, others in sorted(out.items())}


SPELLINGS: Mapping[str, tuple[str, ...]] = _spellings()

_NOT = (
    "is", "are", "was", "were", "do", "does", "did", "have", "has", "had", "would", "could", "should", "must", "need",
)  # fmt: skip
_BE = {"i": "am", **dict.fromkeys(("you", "we", "they"), "are"), **dict.fromkeys(("he", "she", "it", "that"), "is")}
_HAVE = ("i", "you", "we", "they")
_WILL = ("i", "you", "he", "she", "it", "we", "they")


def _both(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Long to short, and short to long."""
    kept = tuple(pairs)
    return dict(kept), {short: long for long, short in kept}


# Right anywhere: negations. Their long form is not used before a pronoun: "don't you" is no "do not you".
NEGATIONS_SHORTER, NEGATIONS_LONGER = _both(
    [*((f"{verb} not", f"{verb}n't") for verb in _NOT), ("will not", "won't"), ("cannot", "can't")]
)
# Right only where a word follows ("I am here", not "so I am"). A short "'s" or "'d" has several readings and stays.
VERBS_SHORTER, _verbs = _both(
    [
        *((f"{who} {verb}", f"{who}'{verb[-1]}" if verb != "are" else f"{who}'re") for who, verb in _BE.items()),
        *((f"{who} have", f"{who}'ve") for who in _HAVE),
        *((f"{who} will", f"{who}'ll") for who in _WILL),
    ]
)
VERBS_LONGER: Mapping[str, str] = {short: long for short, long in _verbs.items() if not short.endswith("'s")}
