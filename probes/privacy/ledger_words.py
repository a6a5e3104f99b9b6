"""The words of a ledger that are no sentences: standings, purposes, names of what lies outside. The training room writes them as plain
strings; here each stands as a message, so that a report says it in its reader's language.
"""

from __future__ import annotations

from probes.evidence import Message, message

WORDS = {
    word.text: word
    for word in (
        message("add or remove one unit"),
        message("Poisson-subsampled Gaussian"),
        message("training"),
        message("resumed training"),
        message("tuning"),
        message("public"),
        message("charged"),
        message("private"),
        message("not used"),
        message("poisson"),
        message("shuffled"),
        message("other"),
        message("base weights"),
        message("vocabulary and normalisation"),
        message("class names and their number"),
        message("number of units"),
        message("class weights"),
        message("early stopping"),
        message("hyperparameter search"),
    )
}


def word(text: str) -> Message:
    """The message of a ledger's word; a word that is not known stays as it is."""
    return WORDS.get(text) or message("{word}", word=text)
