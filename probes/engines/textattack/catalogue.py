"""What is offered: each recipe's name, paper, needs and arguments, and what makes it.

It builds nothing by itself and imports TextAttack only when an attack is made. Recipes that TextAttack cannot build here
at all are listed too, with the reason.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from probes.engines.textattack import bad_characters, gradient_swap, masked_lm
from probes.engines.textattack.arguments import Argument, Value
from probes.engines.textattack.needs import (
    Flair,
    FlairTagger,
    Model,
    Need,
    Never,
    NltkData,
    Package,
    SentenceEncoder,
    ShippedFile,
    TextAttackData,
    WordNet,
)
from probes.evidence import Message, message

Make = Callable[[Any, Mapping[str, Value]], Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A recipe as the engine keeps it: ``make`` takes the wrapper and the checked arguments and gives the attack.

    ``needs_of_arguments`` gives the needs that depend on what the user gave; ``fix`` is what a user can do about a need
    that is not downloaded.
    """

    name: str
    title: str
    source: str
    works_on: Message
    make: Make
    needs: tuple[Need, ...] = ()
    arguments: tuple[Argument, ...] = ()
    needs_of_arguments: Callable[[Mapping[str, Value]], tuple[Need, ...]] | None = None
    fix: str = ""

    @property
    def network(self) -> bool:
        """Whether something that it needs is downloaded where it is missing."""
        return any(need.downloadable for need in self.needs)

    def needs_with(self, values: Mapping[str, Value]) -> tuple[Need, ...]:
        """What it needs, given these arguments."""
        return self.needs + (self.needs_of_arguments(values) if self.needs_of_arguments else ())


def own_recipe(class_name: str) -> Make:
    """TextAttack's own recipe; the arguments go to its ``build`` by name."""

    def make(wrapper: Any, values: Mapping[str, Value]) -> Any:
        recipes = importlib.import_module("textattack.attack_recipes")
        return getattr(recipes, class_name).build(wrapper, **values)

    return make


def _textbugger_characters(wrapper: Any, _values: Mapping[str, Value]) -> Any:
    """TextBugger without its word vectors and its sentence encoder, both downloads."""
    from textattack import Attack, transformations
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.goal_functions import UntargetedClassification
    from textattack.search_methods import GreedyWordSwapWIR

    inner = {"random_one": True, "skip_first_char": True, "skip_last_char": True}
    edits = transformations.CompositeTransformation(
        [
            transformations.WordSwapRandomCharacterInsertion(letters_to_insert=" ", **inner),
            transformations.WordSwapRandomCharacterDeletion(**inner),
            transformations.WordSwapNeighboringCharacterSwap(**inner),
            transformations.WordSwapHomoglyphSwap(),
        ]
    )
    constraints = [RepeatModification(), StopwordModification()]
    return Attack(UntargetedClassification(wrapper), constraints, edits, GreedyWordSwapWIR(wir_method="delete"))


_ENCODER = (Package("tensorflow_hub", "pip install tensorflow tensorflow-hub"), SentenceEncoder())
_TAGGER = (
    NltkData("taggers/averaged_perceptron_tagger_eng", "averaged_perceptron_tagger_eng"),
    NltkData("taggers/universal_tagset", "universal_tagset"),
)
_VECTORS = TextAttackData("word_embeddings/paragramcf", "counter-fitted word vectors", pickled=True)
_CHARACTERS = message("changes letters inside words")
_SYNONYMS = message("replaces words by synonyms")
_NEIGHBOURS = message("replaces words by neighbours among word vectors")
_IN_CONTEXT = message("replaces words by what a language model expects in their place")
_TO_TEXT = message("it attacks models that write text, and the subject classifies it")


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All recipes: those that need nothing, those that need something of the user, those that download, the rest."""
    return (*_at_hand(), *_given(), *_downloading(), *_impossible())


def _at_hand() -> tuple[Entry, ...]:
    return (
        Entry(
            name="deepwordbug",
            title="DeepWordBug",
            source="Gao et al. 2018, arXiv:1801.04354",
            works_on=_CHARACTERS,
            make=own_recipe("DeepWordBugGao2018"),
            arguments=(
                Argument(
                    name="use_all_transformations",
                    kind=int,
                    choices=(0, 1),
                    help="1 swaps, substitutes, deletes and inserts letters; 0 substitutes only",
                ),
            ),
        ),
        Entry(
            name="pruthi",
            title="Pruthi",
            source="Pruthi et al. 2019, arXiv:1905.11268",
            works_on=message("makes typing errors inside words of four letters or more"),
            make=own_recipe("Pruthi2019"),
            arguments=(
                Argument(
                    name="max_num_word_swaps", kind=int, lowest=1, help="how many words may change; 1 if left out"
                ),
            ),
        ),
        Entry(
            name="inputreduction",
            title="Input reduction",
            source="Feng et al. 2018, arXiv:1804.07781",
            works_on=message("deletes words for as long as the prediction stays the same"),
            make=own_recipe("InputReductionFeng2018"),
        ),
        Entry(
            name="badcharacters",
            title="BadCharacters",
            source="Boucher et al. 2021, arXiv:2106.09898",
            works_on=message("changes characters so that a reader sees no difference"),
            make=bad_characters.make,
            arguments=bad_characters.ARGUMENTS,
        ),
        Entry(
            name="textbugger-characters",
            title="TextBugger, character edits",
            source="Li et al. 2018, arXiv:1812.05271",
            works_on=_CHARACTERS,
            make=_textbugger_characters,
        ),
        Entry(
            name="gradient-words",
            title="HotFlip's word swap",
            source="Ebrahimi et al. 2018, arXiv:1712.06751",
            works_on=message("replaces words as the model's own gradient suggests, without regard to meaning"),
            make=gradient_swap.make,
            arguments=gradient_swap.ARGUMENTS,
            fix="give a transformers checkpoint with a fast tokenizer as the subject",
        ),
    )


def _given() -> tuple[Entry, ...]:
    return (
        Entry(
            name="masked-lm",
            title="BAE or BERT-Attack by a model of your own",
            source="Garg and Ramakrishnan 2020, arXiv:2004.01970; Li et al. 2020, arXiv:2004.09984",
            works_on=_IN_CONTEXT,
            make=masked_lm.make,
            arguments=masked_lm.ARGUMENTS,
            needs_of_arguments=masked_lm.needs_of,
            fix="name a folder that holds the model",
        ),
        Entry(
            name="pwws",
            title="PWWS",
            source="Ren et al. 2019, ACL P19-1103",
            works_on=_SYNONYMS,
            make=own_recipe("PWWSRen2019"),
            needs=(WordNet(),),
        ),
        Entry(
            name="leap",
            title="LEAP",
            source="Xiao et al. 2023, arXiv:2308.11284",
            works_on=_SYNONYMS,
            make=own_recipe("LEAP2023"),
            needs=(WordNet(),),
        ),
    )


def _downloading() -> tuple[Entry, ...]:
    rows: tuple[tuple[str, str, str, Message, str, tuple[Need, ...]], ...] = (
        ("textbugger", "TextBugger", "Li et al. 2018, arXiv:1812.05271", _CHARACTERS, "TextBuggerLi2018",
         (*_ENCODER, _VECTORS)),
        ("textfooler", "TextFooler", "Jin et al. 2019, arXiv:1907.11932", _NEIGHBOURS, "TextFoolerJin2019",
         (*_ENCODER, _VECTORS, *_TAGGER)),
        ("bae", "BAE", "Garg and Ramakrishnan 2020, arXiv:2004.01970", _IN_CONTEXT, "BAEGarg2019",
         (*_ENCODER, Model("bert-base-uncased"), *_TAGGER)),
        ("bert-attack", "BERT-Attack", "Li et al. 2020, arXiv:2004.09984", _IN_CONTEXT, "BERTAttackLi2020",
         (*_ENCODER, Model("bert-base-uncased"))),
        ("clare", "CLARE", "Li et al. 2020, arXiv:2009.07502", message("replaces, inserts and merges words by a language model"),
         "CLARE2020", (*_ENCODER, Model("distilroberta-base"))),
        ("checklist", "CheckList", "Ribeiro et al. 2020, arXiv:2005.04118", message("exchanges names, places, numbers and contractions"),
         "CheckList2020", (Flair(), FlairTagger("ner", "ner-english"))),
        ("pso", "PSO", "Zang et al. 2020, ACL 2020.acl-main.540", _SYNONYMS, "PSOZang2020",
         (Flair(), TextAttackData("transformations/hownet/word_candidates_sense.pkl", "candidates from HowNet", pickled=True),
          FlairTagger("upos-fast", "upos-english-fast"))),
        ("a2t", "A2T", "Yoo and Qi 2021, arXiv:2109.00544", _NEIGHBOURS, "A2TYoo2021",
         (Package("sentence_transformers", "pip install sentence-transformers"), _VECTORS, *_TAGGER,
          Model("sentence-transformers/stsb-distilbert-base"))),
        ("iga", "IGA", "Wang et al. 2019, arXiv:1909.06723", _NEIGHBOURS, "IGAWang2019", (_VECTORS,)),
        ("kuleshov", "Kuleshov", "Kuleshov et al. 2018, OpenReview r1QZ3zbAZ", _NEIGHBOURS, "Kuleshov2017",
         (_VECTORS, Model("gpt2"))),
        ("alzantot", "Genetic algorithm", "Alzantot et al. 2018, arXiv:1804.07998", _NEIGHBOURS, "GeneticAlgorithmAlzantot2018",
         (Package("tensorflow", "pip install tensorflow"), _VECTORS,
          TextAttackData("constraints/semantics/language-models/alzantot-goog-lm", "Google 1 Billion Words language model"))),
        ("faster-alzantot", "Faster genetic algorithm", "Jia et al. 2019, arXiv:1909.00986", _NEIGHBOURS,
         "FasterGeneticAlgorithmJia2019",
         (_VECTORS, TextAttackData("constraints/grammaticality/language-models/learning-to-write",
                                   "Learning to Write language model", pickled=True))),
        ("french", "French recipe", "TextAttack 0.3", message("replaces French words, names and places"), "FrenchRecipe",
         (Flair(), WordNet("fra"), FlairTagger("flair/ner-french", "ner-french"))),
    )  # fmt: skip
    return tuple(
        Entry(
            name=name,
            title=title,
            source=source,
            works_on=works_on,
            make=own_recipe(class_name),
            needs=needs,
        )
        for name, title, source, works_on, class_name, needs in rows
    )


def _impossible() -> tuple[Entry, ...]:
    own_lstm = message(
        "textattack's gradient word swap takes no model but its own LSTM; gradient-words does it for transformers"
    )
    spanish = message("it asks WordNet for the language 'esp', which WordNet calls 'spa', and stops")
    rows: tuple[tuple[str, str, str, str, tuple[Need, ...]], ...] = (
        ("hotflip", "HotFlip", "Ebrahimi et al. 2018, arXiv:1712.06751", "HotFlipEbrahimi2017", (Never(own_lstm),)),
        ("spanish", "Spanish recipe", "TextAttack 0.3", "SpanishRecipe", (Never(spanish),)),
        ("chinese", "Chinese recipe", "TextAttack 0.3", "ChineseRecipe",
         (ShippedFile("shared/chinese_homophone_char.txt"), Model("xlm-roberta-base"))),
        ("morpheus", "Morpheus", "Tan et al. 2020, ACL 2020.acl-main.263", "MorpheusTan2020", (Never(_TO_TEXT),)),
        ("seq2sick", "Seq2Sick", "Cheng et al. 2018, arXiv:1803.01128", "Seq2SickCheng2018BlackBox", (Never(_TO_TEXT),)),
    )  # fmt: skip
    return tuple(
        Entry(
            name=name,
            title=title,
            source=source,
            works_on=message("not offered here"),
            make=own_recipe(class_name),
            needs=needs,
        )
        for name, title, source, class_name, needs in rows
    )
