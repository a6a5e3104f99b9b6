"""One model in every form it may come in: the same numbers; and what each form refuses."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import audit
from audit.errors import PlanError
from audit.verify import verify
from fine_tune.errors import CheckpointError, InputError
from probes.subject import EndpointSpec

ROLES = {"label": "label", "groups": ["gender"], "cluster": "template", "id": "row", "positive": "positive"}


def run(subject, frame, tmp_path, **more):
    result = audit.run(subject, data=frame, **{**ROLES, **more}, out=tmp_path / "run", device="cpu", progress=False)
    figures = {}
    for finding in result.record.findings:
        for m in finding.reading.measurements if finding.reading else ():
            ends = (m.interval.low, m.interval.high) if m.kind == "measurement" and m.interval else ()
            figures[finding.instance, m.name, str(m.slice)] = (getattr(m, "value", None), *ends)
    return result, figures


def agree(one, other):
    assert one.keys() == other.keys()
    assert len(one) > 30
    for key, values in one.items():
        for a, b in zip(values, other[key], strict=True):
            assert (a is None) == (b is None), key
            assert a is None or abs(a - b) <= 1e-6, (key, a, b)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def parts(tiny_checkpoint):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint)
    return model.eval(), AutoTokenizer.from_pretrained(tiny_checkpoint)


def plain_function(model, tokenizer):
    """Scores as anybody would compute them, one text at a time."""
    import torch

    def scores(texts):
        out = []
        for text in texts:
            with torch.no_grad():
                logits = model(**tokenizer(text, return_tensors="pt", truncation=True)).logits
            out.append(torch.softmax(logits[0], -1).numpy())
        return np.array(out)

    return scores


@pytest.fixture
def served(parts):
    """The model behind HTTP; yields its url and the batches that it was asked."""
    scores, asked = plain_function(*parts), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"]
            asked.append(texts)
            body = json.dumps({"scores": scores(texts).astype(float).tolist()}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/predict", asked
    server.shutdown()
    server.server_close()


def test_every_form_gives_the_same_figures(tiny_checkpoint, parts, review_frame, served, tmp_path):
    from transformers import pipeline

    model, tokenizer = parts
    whole, figures = run(str(tiny_checkpoint), review_frame, tmp_path / "checkpoint")
    named = plain_function(model, tokenizer)

    def by_name(texts):
        return [dict(zip(("negative", "positive"), row, strict=True)) for row in named(texts).tolist()]

    forms = {
        "model": (model, {"processor": tokenizer}),
        "pipeline": (pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu"), {}),
        "callable": (named, {"classes": ["negative", "positive"]}),
        "named": (by_name, {}),
        "endpoint": (EndpointSpec(url=served[0], classes=("negative", "positive"), version="1"), {}),
    }
    for name, (subject, more) in forms.items():
        result, other = run(subject, review_frame, tmp_path / name, **more)
        assert result.record.subject.kind == name.replace("named", "callable")
        assert verify(result.path).problems == []
        agree(figures, other)
    table = whole.path / "evidence/predictions.parquet"
    agree(figures, run(table, review_frame, tmp_path / "table")[1])
    agree(figures, run(str(table), None, tmp_path / "alone")[1])


def test_a_model_in_memory_is_left_as_it_was(parts, review_frame, tmp_path):
    model, tokenizer = parts
    model.train()
    model.dropout.eval()
    model.bert.pooler.dense.weight.grad = grad = model.bert.pooler.dense.weight.detach().clone()
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = tokenizer.backend_tokenizer.to_str()
    first, figures = run(model, review_frame, tmp_path / "a", processor=tokenizer)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(bool((value == before[name]).all()) for name, value in model.state_dict().items())
    assert model.bert.pooler.dense.weight.grad is grad
    assert tokenizer.backend_tokenizer.to_str() == settings
    tokenizer(["a film"], truncation=True, max_length=3, padding=True)
    again, same = run(model.eval(), review_frame, tmp_path / "b", processor=tokenizer)
    assert again.record.subject.digest == first.record.subject.digest
    agree(figures, same)


def test_adapters_in_memory_count(parts, review_frame, tmp_path):
    import torch
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    model, tokenizer = parts
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, init_lora_weights=False)).eval()
    result, figures = run(adapted, review_frame, tmp_path / "a", processor=tokenizer)
    assert result.record.subject.kind == "model"
    assert result.record.subject.name == "BertForSequenceClassification"
    told = {"classes": ["negative", "positive"]}
    agree(figures, run(plain_function(adapted, tokenizer), review_frame, tmp_path / "b", **told)[1])
    with adapted.disable_adapter():
        without = run(plain_function(adapted, tokenizer), review_frame, tmp_path / "c", **told)[1]
    assert without != figures
    prompted = get_peft_model(adapted.unload(), PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2))
    with pytest.raises(CheckpointError, match="learned prompts"):
        run(prompted, review_frame, tmp_path / "d", processor=tokenizer)
    with pytest.raises(PlanError, match="torch module"):
        run(torch.nn.Linear(2, 2), review_frame, tmp_path / "e")


@pytest.mark.parametrize("what", ["weight", "names", "config", "tokenizer"])
def test_what_decides_a_models_answers_is_in_its_digest(parts, what):
    from probes.subject import LoadedModel

    model, tokenizer = parts
    before = LoadedModel.of(model, tokenizer).digest
    assert LoadedModel.of(model, tokenizer).digest == before
    if what == "weight":
        model.classifier.bias.data[0] += 1e-6
    elif what == "names":
        model.config.id2label = {0: "bad", 1: "good"}
    elif what == "config":
        model.config.layer_norm_eps = 0.5
    else:
        tokenizer.model_max_length = 7
    assert LoadedModel.of(model, tokenizer).digest != before


def test_an_image_model_in_memory_goes_the_same_way(tmp_path):
    import io

    import pandas as pd
    import torch
    from PIL import Image
    from transformers import AutoModelForImageClassification, ResNetConfig, ViTImageProcessor, pipeline

    config = ResNetConfig(
        num_channels=3, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=2,
        id2label={0: "dark", 1: "light"}, label2id={"dark": 0, "light": 1},
    )  # fmt: skip
    model = AutoModelForImageClassification.from_config(config).eval()
    # Each version of transformers draws a new model's weights in its own way.
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    processor = ViTImageProcessor(size={"height": 16, "width": 16})
    rng, rows = np.random.default_rng(0), []
    for i in range(24):
        kept = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(kept, format="PNG")
        rows.append({"image": kept.getvalue(), "label": ("dark", "light")[i % 2], "g": "ab"[i % 3 == 0]})
    frame = pd.DataFrame(rows)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    more = {"input": "image", "groups": ["g"], "cluster": None, "id": None, "positive": "light"}
    _, figures = run(str(tmp_path / "saved"), frame, tmp_path / "a", **more)
    agree(figures, run(model, frame, tmp_path / "b", processor=processor, **more)[1])
    pipe = pipeline("image-classification", model=model, image_processor=processor, device="cpu")
    agree(figures, run(pipe, frame, tmp_path / "c", **more)[1])

    def by_hand(images):
        said = pipe([Image.open(io.BytesIO(value)) for value in images], top_k=None)
        return [{part["label"]: part["score"] for part in row} for row in said]

    result, other = run(by_hand, frame, tmp_path / "d", digest="1", **more)
    assert result.record.subject.task == "image-classification"
    agree(figures, other)


def test_pipelines_that_score_otherwise_are_refused_by_name(parts, review_frame, tmp_path):
    from transformers import pipeline

    model, tokenizer = parts
    made = {"task": "text-classification", "model": model, "tokenizer": tokenizer, "device": "cpu"}
    for settings, seen in (
        ({"function_to_apply": "sigmoid"}, "function_to_apply='sigmoid'"),
        ({"add_special_tokens": False}, "add_special_tokens=False"),
    ):
        with pytest.raises(InputError, match=seen):
            run(pipeline(**made, **settings), review_frame, tmp_path)
    allowed = pipeline(**made, truncation=True, max_length=5, padding=True, top_k=None, function_to_apply="softmax")
    result, _ = run(allowed, review_frame, tmp_path)
    assert result.record.data.truncated == 48
    said = allowed(review_frame["text"].tolist())
    rows = result.record.predictions
    assert rows is not None
    import pyarrow.parquet as pq

    table = pq.read_table(result.path / rows.path)
    for row, parts_ in zip(table.to_pylist(), said, strict=True):
        assert abs(row["score_positive"] - {p["label"]: p["score"] for p in parts_}["positive"]) < 1e-6
    own = type("OwnPipeline", (type(allowed),), {})(model=model, tokenizer=tokenizer)
    with pytest.raises(InputError, match="a pipeline of the kind OwnPipeline"):
        run(own, review_frame, tmp_path / "x")


def test_multi_label_and_regression_heads_are_refused_by_name(parts, review_frame, tmp_path):
    from transformers import pipeline

    model, tokenizer = parts
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(CheckpointError, match="multi_label_classification"):
        run(model, review_frame, tmp_path, processor=tokenizer)
    with pytest.raises(CheckpointError, match="multi_label_classification"):
        run(pipeline("text-classification", model=model, tokenizer=tokenizer), review_frame, tmp_path)
    model.config.problem_type = "regression"
    with pytest.raises(CheckpointError, match="regression"):
        run(model, review_frame, tmp_path, processor=tokenizer)
    with pytest.raises(CheckpointError, match="without its tokenizer"):
        run(model, review_frame, tmp_path)


def test_a_callable_that_raises_leaves_errored_findings(review_frame, tmp_path):
    calls = []

    def broken(texts):
        calls.append(len(texts))
        raise ValueError("out of cheese")

    result, figures = run(broken, review_frame, tmp_path, classes=["negative", "positive"])
    assert figures == {}
    assert {f.status for f in result.record.findings} == {"errored"}
    assert all("ValueError: out of cheese" in str(f.reason) for f in result.record.findings)
    assert len(calls) == 1


def test_without_a_digest_nothing_is_reused_and_the_report_says_so(parts, review_frame, tmp_path):
    count = []
    inner = plain_function(*parts)

    def function(texts):
        count.append(len(texts))
        return inner(texts)

    told = {"classes": ["negative", "positive"], "probes": {"performance": {"probe": "performance.classification"}}}
    one, _ = run(function, review_frame, tmp_path / "a", **told)
    once = sum(count)
    two, _ = run(function, review_frame, tmp_path / "b", **told)
    assert sum(count) == 2 * once > 0
    assert one.record.subject.digest != two.record.subject.digest
    assert "no digest was given" in one.record.subject.details["answers_reused"]
    assert "no digest was given" in one.report.read_text()
    run(function, review_frame, tmp_path / "c", digest="v1", **told)
    three, _ = run(function, review_frame, tmp_path / "d", digest="v1", **told)
    assert sum(count) == 3 * once
    assert "v1" in three.record.subject.details["answers_reused"]
    run(function, review_frame, tmp_path / "e", digest="v2", **told)
    assert sum(count) == 4 * once


def test_an_estimator_on_texts_and_on_features(review_frame, tmp_path):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = make_pipeline(CountVectorizer(), LogisticRegression()).fit(review_frame["text"], review_frame["label"])
    result, figures = run(texts, review_frame, tmp_path / "a")
    assert (result.record.subject.kind, result.record.subject.name) == ("estimator", "Pipeline")
    accuracy = next(v[0] for k, v in figures.items() if k[1] == "accuracy")
    assert accuracy == pytest.approx((texts.predict(review_frame["text"]) == review_frame["label"]).mean())
    rng = np.random.default_rng(0)
    frame = review_frame.assign(age=rng.integers(18, 80, 48), income=rng.normal(size=48), code=rng.integers(0, 2, 48))
    forest = RandomForestClassifier(20, random_state=0).fit(frame[["age", "income"]], frame["code"])
    more = {"label": "code", "labels": {0: "no", 1: "yes"}, "positive": "yes"}
    result, figures = run(forest, frame, tmp_path / "b", **more)
    assert result.record.subject.classes == ("no", "yes")
    assert result.record.subject.task == "tabular-classification"
    accuracy = next(v[0] for k, v in figures.items() if k[1] == "accuracy")
    assert accuracy == forest.score(frame[["age", "income"]], frame["code"])
    bare = RandomForestClassifier(20, random_state=0).fit(frame[["age", "income"]].to_numpy(), frame["code"])
    agree(figures, run(bare, frame, tmp_path / "c", input=["age", "income"], **more)[1])
    agree(figures, run(forest, frame, tmp_path / "d", input=["income", "age"], **more)[1])
    line = LinearRegression().fit(frame[["age"]], frame["code"])
    with pytest.raises(InputError, match="no predict_proba"):
        run(line, frame, tmp_path / "e", input=["age"], **more)
    with pytest.raises(InputError, match="fitted"):
        run(RandomForestClassifier(), frame, tmp_path / "e", input=["age"], **more)
    with pytest.raises(PlanError, match="'aged'"):
        run(forest, frame, tmp_path / "e", input=["aged"], **more)
    several = RandomForestClassifier(5).fit(frame[["age", "income"]], np.stack([frame["code"], frame["code"]], 1))
    with pytest.raises(InputError, match="multi-label"):
        run(several, frame, tmp_path / "e", **more)


def test_what_does_not_go_together_is_refused(tiny_checkpoint, parts, review_frame, tmp_path):
    with pytest.raises(PlanError, match="digest= was given beside a checkpoint"):
        run(str(tiny_checkpoint), review_frame, tmp_path, digest="x")
    with pytest.raises(PlanError, match="classes= was given beside a model"):
        run(parts[0], review_frame, tmp_path, processor=parts[1], classes=["a", "b"])
    with pytest.raises(PlanError, match="nothing that can be examined"):
        run(7, review_frame, tmp_path)
    with pytest.raises(PlanError, match="without data"):
        run(len, None, tmp_path)


def test_a_ready_subject_is_taken_as_it_is(tmp_path):
    from probes.subject import FakeSubject

    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1], 40)
    fake = FakeSubject(scores, ("no", "yes"), labels=["no", "yes"] * 20, groups={"g": ["a", "b"] * 20})
    result, figures = run(fake, None, tmp_path, positive="yes")
    assert result.record.subject.kind == "fake"
    assert figures
    with pytest.raises(PlanError, match="holds its own"):
        run(fake, "rows.csv", tmp_path)


PLAN = """
schema: plumbline.plan/v1
name: served
subject:
  endpoint: {{url: "{url}", classes: [negative, positive], version: "2026-11", batch_size: 8, retries: 0, max_requests: {most}}}
data:
  audit: {{source: rows.csv, input: text, label: label, groups: [gender]}}
probes:
  performance: {{probe: performance.classification}}
"""


def test_a_plan_with_an_endpoint_goes_on_where_it_was_cut_off(served, review_frame, tmp_path):
    url, asked = served
    review_frame.to_csv(tmp_path / "rows.csv", index=False)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.format(url=url, most=3))
    known = {"cache": tmp_path / "cache", "progress": False}
    cut = audit.run_plan(plan, tmp_path / "run", **known)
    finding = cut.record.finding("performance")
    assert finding.status == "errored"
    assert "budget of 3 requests" in str(finding.reason)
    assert len(asked) == 3
    plan.write_text(PLAN.format(url=url, most="null"))
    whole = audit.run_plan(plan, tmp_path / "run", **known)
    assert whole.record.finding("performance").status == "measured"
    texts = [text for batch in asked for text in batch]
    assert sorted(texts) == sorted(set(review_frame["text"]))
    other = audit.run_plan(plan, tmp_path / "other", cache=tmp_path / "cache2", progress=False)
    assert whole.record == other.record


def test_an_unusable_endpoint_in_a_plan_is_one_message(review_frame, tmp_path):
    review_frame.to_csv(tmp_path / "rows.csv", index=False)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.format(url="ftp://example.org", most="null"))
    with pytest.raises(PlanError, match="http"):
        audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "cache", progress=False)
    plan.write_text(PLAN.format(url="http://example.org", most=0))
    with pytest.raises(PlanError, match="max_requests"):
        audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "cache", progress=False)
