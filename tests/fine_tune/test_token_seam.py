"""The seam of tasks, tried with a toy token classification: several units a row, clusters by row, a label for each word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fine_tune.tasks
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData, Roles
from fine_tune.errors import CheckpointError, DataError
from fine_tune.predictions import PredictionsMeta
from fine_tune.rows import Units, decide, unit_rows
from fine_tune.tasks import Answer, Shown, Task, Trainable, all_tasks
from probes.evidence import Measurement, Need
from probes.fairness.groups import Groups
from probes.performance.classification import Classification
from probes.performance.examples import Examples
from probes.probe import Context
from probes.subject import CheckpointSubject, PredictionsSpec, PredictionsSubject

TAGS = ("name", "other")
CTX = Context(instance="test", seed=3)


@dataclass(frozen=True)
class WordTags:
    """A tag for each word; a label is the row's tags in a JSON list, or missing for the whole row."""

    name: str = "token-classification"
    auto_model: str = "AutoModelForTokenClassification"
    architecture: str = "ForTokenClassification"

    def check(self, checkpoint: Checkpoint) -> None:
        if not any(a.endswith(self.architecture) for a in checkpoint.architectures):
            raise CheckpointError(f"{checkpoint.name} has no token classification head")

    def reader(self, checkpoint: Checkpoint, device: str) -> WordReader:
        return WordReader(checkpoint.load_model(device), checkpoint.load_tokenizer())

    def labels(self, data: AuditData) -> list[str | None]:
        out: list[str | None] = []
        for text, label in zip(data.inputs, data.labels, strict=True):
            tags = [None] * len(text.split()) if label is None else json.loads(label)
            if len(tags) != len(text.split()):
                raise DataError(f"{len(tags)} tags for {text!r}", expected="one a word")
            out += tags
        return out

    def show(self, value: Any) -> Shown:
        return Shown(text=value)

    def rows(self, data: AuditData, answers: Sequence[Answer], meta: PredictionsMeta) -> Any:
        scores = np.concatenate([np.array(a.scores).reshape(-1, len(meta.classes)) for a in answers])
        counts = [len(a.scores) for a in answers]
        units = Units(counts=counts, labels=self.labels(data), predictions=decide(scores, meta), scores=scores)
        return unit_rows(data, units, meta)

    def scores(self, answers: Sequence[Answer]) -> Any:
        raise DataError("an input has several units here", expected="a task with one unit an input")

    def trainable(self, base: Any, recipe: Any, data: Any, classes: Any) -> Trainable:
        raise NotImplementedError


@dataclass(frozen=True)
class WordReader:
    model: Any
    processor: Any
    settings: str = "words"

    def plan(self, inputs: Sequence[Any], batch_tokens: int) -> list[list[int]]:
        return [[i] for i in sorted(range(len(inputs)), key=inputs.__getitem__)]

    def answer(self, inputs: Sequence[Any]) -> list[Answer]:
        import torch

        out = []
        for text in inputs:
            encoded = self.processor(text.split(), is_split_into_words=True, return_tensors="pt")
            owners = encoded.word_ids()
            first = [owners.index(i) for i in range(len(text.split()))]
            with torch.inference_mode():
                logits = self.model(**encoded).logits[0, first].double()
            out.append(Answer(scores=tuple(map(tuple, torch.softmax(logits, -1).tolist())), texts=tuple(text.split())))
        return out


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    toy = WordTags()
    known = (*all_tasks(), toy)
    monkeypatch.setattr(fine_tune.tasks, "all_tasks", lambda: known)
    yield toy


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("tagger")
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, id2label=dict(enumerate(TAGS)), label2id={t: i for i, t in enumerate(TAGS)},
        initializer_range=0.6,
    )  # fmt: skip
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sentences(count: int = 40) -> AuditData:
    rng = np.random.default_rng(0)
    words = ["good", "bad", "movie", "she", "he", "old", "young", "actor"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(count)]
    tags: list[str | None] = [
        json.dumps(["name" if w in ("she", "he", "actor") else "other" for w in t.split()]) for t in texts
    ]
    tags[3:4] = [None] * len(tags[3:4])
    columns = {
        "text": texts, "tags": tags, "place": ["north" if i % 2 else "south" for i in range(count)],
        "id": [f"s{i:02d}" for i in range(count)],
    }  # fmt: skip
    return AuditData.from_columns(columns, Roles(input="text", label="tags", groups=("place",), id="id"))


@pytest.fixture
def subject(registered: Task, tagger: Path) -> CheckpointSubject:
    return CheckpointSubject(Checkpoint.open(tagger), sentences())


def words_of(data: AuditData) -> list[int]:
    return [len(text.split()) for text in data.inputs]


def test_the_toy_is_a_task(registered: Task) -> None:
    assert isinstance(registered, Task)


def test_one_row_a_word_with_what_its_sentence_has(subject: CheckpointSubject) -> None:
    table = subject.predictions(CTX)
    counts = words_of(subject.data)
    assert subject.task == "token-classification"
    assert table.num_rows == sum(counts)
    assert table["row_id"].to_pylist() == [
        r for r, n in zip(subject.data.row_ids, counts, strict=True) for _ in range(n)
    ]
    assert table["unit_id"].to_pylist() == [unit for n in counts for unit in range(n)]
    sides = [s for s, n in zip(subject.data.group("place"), counts, strict=True) for _ in range(n)]
    assert table["group_place"].to_pylist() == sides
    assert table["label"].null_count == counts[3]
    assert table["score_name"].to_pylist()[0] == subject.reader("cpu").answer(subject.data.inputs[:1])[0].scores[0][0]


def test_figures_rest_on_words_in_clusters_of_sentences(subject: CheckpointSubject) -> None:
    table = subject.predictions(CTX)
    labels, said = table["label"].to_pylist(), table["prediction"].to_pylist()
    known = [(a, b) for a, b in zip(labels, said, strict=True) if a is not None]
    reading = Classification().summarise(table, CTX)
    accuracy = next(m for m in reading.measurements if m.name == "accuracy")
    assert isinstance(accuracy, Measurement)
    assert accuracy.value == pytest.approx(np.mean([a == b for a, b in known]))
    assert (accuracy.counts.denominator, accuracy.counts.clusters) == (len(known), len(subject.data) - 1)
    groups = Groups(positive="name", min_group=5, permutations=50).summarise(table, CTX)
    assert {str(m.slice[0]) for m in groups.measurements if m.name == "recall"} == {
        "group:place=north", "group:place=south",
    }  # fmt: skip


def test_examples_name_row_and_unit(subject: CheckpointSubject) -> None:
    rows = Examples(wrong=3, right=3).collect(subject, CTX)
    shown = Examples(wrong=3, right=3).summarise(rows, CTX)
    names = {row[0] for e in shown.evidence for row in e.rows}
    assert all("/" in name for name in names)
    texts = dict(zip(subject.data.row_ids, subject.data.inputs, strict=True))
    assert [texts[row] for row in rows["row_id"].to_pylist()] == rows["text"].to_pylist()


def test_wrong_tags_are_named(registered: Task, tagger: Path) -> None:
    columns = {"text": ["good movie"], "tags": ['["name"]']}
    with pytest.raises(DataError, match="1 tags for 'good movie'"):
        CheckpointSubject(Checkpoint.open(tagger), AuditData.from_columns(columns, Roles(input="text", label="tags")))
    columns["tags"] = ['["name", "verb"]']
    with pytest.raises(DataError, match="'verb'"):
        CheckpointSubject(Checkpoint.open(tagger), AuditData.from_columns(columns, Roles(input="text", label="tags")))


def test_queries_for_one_score_an_input_are_refused(subject: CheckpointSubject) -> None:
    with pytest.raises(DataError, match="several units"):
        subject.predict(["good"], CTX)


def test_the_table_alone_gives_the_same_figures(subject: CheckpointSubject, tmp_path: Path) -> None:
    table = subject.predictions(CTX)
    pq.write_table(table, tmp_path / "words.parquet")
    again = PredictionsSubject.open(PredictionsSpec(source="words.parquet"), base_dir=tmp_path)
    assert again.predictions(CTX).equals(table, check_metadata=True)
    assert again.task == "token-classification"
    assert again.offers == {Need.PREDICTIONS, Need.LABELS, Need.GROUPS}
    assert Classification().summarise(again.predictions(CTX), CTX) == Classification().summarise(table, CTX)


def test_a_unit_is_named_once(subject: CheckpointSubject) -> None:
    import pyarrow as pa

    table = subject.predictions(CTX)
    twice = pa.concat_tables([table, table.slice(0, 1)])
    with pytest.raises(DataError, match="'s00/0'"):
        PredictionsSubject.from_table(twice)


def test_units_must_add_up() -> None:
    data = sentences(2)
    meta = PredictionsMeta(task="token-classification", classes=TAGS)
    for counts, labels in (([1, 1, 1], ["name"] * 3), ([2, 1], ["name"] * 2)):
        with pytest.raises(DataError, match="units"):
            unit_rows(data, Units(counts=counts, labels=labels, predictions=labels, scores=None), meta)
    empty = unit_rows(data, Units(counts=[0, 1], labels=[None], predictions=["name"], scores=None), meta)
    assert empty["row_id"].to_pylist() == ["s01"]
