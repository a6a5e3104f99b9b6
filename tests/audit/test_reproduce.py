"""One probe of a finished run asked again: the same figures from the same model and data, and a refusal of any others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import audit
from audit import cli
from audit.errors import GateError
from audit.reproduction import Figure, ask_again
from fine_tune.data import AuditData
from fine_tune.tasks.text_classification import TextReader
from probes.registry import find
from probes.subject import CallableSpec, CallableSubject
from reports.bundle import Bundle
from reports.errors import VerificationError

TEXT_PLAN = """
schema: plumbline.plan/v1
name: reviews
seed: 5
subject: {{checkpoint: {model}}}
data:
  audit: {{source: reviews.csv, id: row, input: text, label: label, groups: [gender], cluster: template}}
probes:
  performance: {{probe: performance.classification}}
  noise: {{probe: robustness.noise, kinds: [typos], rates: [0.2], examples: 30}}
policy: policy.yaml
profiles:
  pr: {{only: [performance], sample: 30}}
"""
TEXT_POLICY = """
schema: plumbline.policy/v1
name: release
version: 1
owner: risk@example.org
rules:
  - {id: accurate, measure: "performance:accuracy", min: 0.1}
  - {id: steady, measure: "noise:flip_rate", where: {setting: [kind=typos, rate=0.2]}, max: 0.9}
"""


@pytest.fixture
def text_run(tmp_path, tiny_checkpoint, review_frame):
    """A run on a tiny checkpoint: the folder that holds plan, data and ``run``."""
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    review_frame.to_csv(tmp_path / "reviews.csv", index=False)
    (tmp_path / "policy.yaml").write_text(TEXT_POLICY)
    (tmp_path / "plan.yaml").write_text(TEXT_PLAN.format(model=json.dumps("model")))
    audit.run_plan(tmp_path / "plan.yaml", tmp_path / "run", cache=tmp_path / "cache", progress=False, device="cpu")
    return tmp_path


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("instance", ["performance", "calibration", "groups"])
def test_every_figure_of_stored_predictions_comes_out_the_same(finished, instance):
    found = audit.reproduce(finished, instance=instance, plan=finished.parent / "plan.yaml", progress=False)
    assert found.ok and found.exact and found.rows_same
    stored = Bundle.open(finished).record().finding(instance).reading
    assert {(f.measure, f.slice) for f in found.figures} == {(m.name, m.slice) for m in stored.measurements}
    assert all(f.tolerance in (0, 1e-12) for f in found.figures)


def test_the_model_is_asked_again_and_nothing_that_was_kept_is_used(text_run, monkeypatch):
    asked = []
    answer = TextReader.answer
    monkeypatch.setattr(TextReader, "answer", lambda self, inputs: asked.extend(inputs) or answer(self, inputs))
    before, kept = files_of(text_run / "run"), files_of(text_run / "cache")
    found = audit.reproduce(
        text_run / "run", check="steady", plan=text_run / "plan.yaml", cache=text_run / "cache", device="cpu", progress=False
    )  # fmt: skip
    assert found.instance == "noise"
    assert found.ok and found.rows_same, found.differing
    # Every text as it stands, and changed ones.
    assert len(asked) > 48
    assert files_of(text_run / "run") == before
    assert files_of(text_run / "cache") == kept


def test_another_model_is_refused_by_name(text_run):
    path = text_run / "model" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"][0] += 1e-6
    save_file(weights, path, metadata={"format": "pt"})
    done = invoke(text_run, "--check", "accurate")
    assert done.exit_code == 13
    assert "the model model has the digest" in done.output
    assert "the data" not in done.output


def test_other_data_are_refused_by_name(text_run):
    frame = pd.read_csv(text_run / "reviews.csv")
    frame.loc[3, "text"] = "the plot was poor"
    frame.to_csv(text_run / "reviews.csv", index=False)
    done = invoke(text_run, "--check", "accurate")
    assert done.exit_code == 13
    assert "the data reviews.csv has the digest" in done.output
    assert "the model" not in done.output.replace("the model and", "").replace("same model", "")


def test_the_profile_of_the_run_is_used(text_run):
    audit.run_plan(
        text_run / "plan.yaml", text_run / "pr", profile="pr", cache=text_run / "cache", progress=False, device="cpu",
        report_only=True,
    )  # fmt: skip
    found = audit.reproduce(
        text_run / "pr", instance="performance", plan=text_run / "plan.yaml", device="cpu", progress=False
    )
    assert found.ok
    assert max(f.stored for f in found.figures if f.part == "n") == 30


def test_figures_that_differ_are_listed_with_both_values(text_run, monkeypatch):
    answer = TextReader.answer

    def turned(one):
        return replace(one, scores=tuple(row[::-1] for row in one.scores))

    # The weights are the run's, and what computes with them is not.
    monkeypatch.setattr(TextReader, "answer", lambda self, inputs: [turned(a) for a in answer(self, inputs)])
    done = invoke(text_run, "--check", "accurate")
    assert done.exit_code == 13
    assert "DIFFERS" in done.output
    assert "figures that differ" in done.output
    stored = Bundle.open(text_run / "run").record().finding("performance").measurements("accuracy")[0].value
    line = next(line for line in done.output.splitlines() if line.lstrip().startswith("accuracy"))
    assert repr(stored) in line
    assert repr(1 - stored)[:12] in line


def test_on_the_command_line(text_run):
    done = invoke(text_run, "--check", "steady")
    assert done.exit_code == 0, done.output
    assert "comes out the same" in done.output
    assert "flip_rate" in done.output
    assert "every figure has to agree to 1.00e-12" in done.output
    assert "DIFFERS" not in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--check / --instance"),
        (["--check", "steady", "--instance", "noise"], "--check / --instance"),
        (["--check", "nothing"], "one of accurate, steady"),
        (["--instance", "nothing"], "one of performance, noise"),
    ],
)
def test_what_is_asked_wrongly_is_a_usage_error(text_run, words, said):
    done = invoke(text_run, *words)
    assert done.exit_code == 2
    assert said in done.output


def test_a_run_without_its_plan_says_what_to_give(finished):
    done = CliRunner().invoke(cli.app, ["reproduce", str(finished), "--check", "accurate"])
    assert done.exit_code == 2
    assert "--plan" in done.output


def test_a_damaged_bundle_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 4', 1))
    with pytest.raises(VerificationError, match=r"results\.json"):
        audit.reproduce(tmp_path / "run", check="accurate", plan=finished.parent / "plan.yaml", progress=False)


def test_what_was_not_measured_has_nothing_to_compare_with(text_run):
    (text_run / "plan.yaml").write_text(
        TEXT_PLAN.format(model=json.dumps("model")).replace(
            "  performance:",
            "  ledger: {{probe: privacy.ledger}}\n  performance:".replace("{{", "{").replace("}}", "}"),
        )
    )
    audit.run_plan(text_run / "plan.yaml", text_run / "two", cache=text_run / "cache", progress=False, device="cpu")
    with pytest.raises(GateError, match="ledger measured nothing in this run"):
        audit.reproduce(text_run / "two", instance="ledger", plan=text_run / "plan.yaml", progress=False)


def test_a_probe_that_breaks_is_no_agreement(text_run, monkeypatch):
    def broken(self, subject, ctx):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(find("robustness.noise"), "collect", broken)
    done = invoke(text_run, "--check", "steady")
    assert done.exit_code == 13
    assert "broke here: ZeroDivisionError" in done.output
    assert "Traceback" not in done.output


def test_a_subject_without_a_plan_is_given_as_it_is(review_frame, tmp_path):
    def scores(texts):
        return [[0.2, 0.8] if "good" in t or "great" in t else [0.7, 0.3] for t in texts]

    spec = CallableSpec(classes=("negative", "positive"), digest="v1")
    data = AuditData.from_frame(review_frame, input="text", label="label")
    subject = CallableSubject(scores, data, spec)
    result = audit.run(subject, out=tmp_path / "run", progress=False)
    found = audit.reproduce(result, instance="performance", subject=subject, progress=False)
    assert found.ok and found.exact


def test_elsewhere_a_tolerance_is_stated_and_counts_stay_exact(finished):
    bundle = Bundle.open(finished)
    finding = bundle.record().finding("calibration")
    found = ask_again(bundle, finding, _subject(finished), device="cuda")
    assert not found.exact
    assert found.ok
    assert {f.tolerance for f in found.figures if f.part == "n"} == {0}
    simulated = [
        m.interval.monte_carlo_error for m in finding.reading.measurements if m.kind == "measurement" and m.interval
    ]
    largest = max(e or 0 for e in simulated)
    assert max(f.tolerance for f in found.figures) == pytest.approx(max(1e-5, 6 * largest))
    assert "cuda" in str(found.basis[0])
    assert "Monte Carlo" in str(found.basis[-1])


@pytest.mark.parametrize(
    ("stored", "again", "tolerance", "same"),
    [(0.5, 0.5, 0, True), (0.5, 0.500004, 1e-5, True), (0.5, 0.50002, 1e-5, False), (None, None, 0, True),
     (None, 0.0, 1, False), (0.0, None, 1, False), (1e6, 1e6 + 5, 1e-5, True), (50, 51, 0, False)],
)  # fmt: skip
def test_a_figure_agrees_within_its_tolerance(stored, again, tolerance, same):
    figure = Figure(measure="m", slice=(), part="value", stored=stored, again=again, tolerance=tolerance)
    assert figure.same is same


def test_a_measurement_that_only_one_reading_has_differs(finished):
    bundle = Bundle.open(finished)
    finding = bundle.record().finding("performance")
    reading = finding.reading
    fewer = finding.model_copy(
        update={"reading": reading.model_copy(update={"measurements": reading.measurements[1:]})}
    )
    more = finding.model_copy(
        update={"reading": reading.model_copy(
            update={"measurements": (*reading.measurements, reading.measurements[0].model_copy(update={"name": "other"}))})}
    )  # fmt: skip
    subject = _subject(finished)
    for changed, sides in ((fewer, (None, 1)), (more, (1, None))):
        (odd,) = ask_again(bundle, changed, subject).differing
        assert (odd.part, (odd.stored, odd.again)) == ("exists", sides)


def _subject(finished):
    from audit.plan import load_plan
    from audit.subjects import Workshop, open_subject

    return open_subject(load_plan(finished.parent / "plan.yaml"), Workshop(store=None, device="cpu", progress=False))


def invoke(folder, *words):
    place = ["--plan", str(folder / "plan.yaml"), "--cache", str(folder / "cache"), "--device", "cpu"]
    return CliRunner().invoke(cli.app, ["reproduce", str(folder / "run"), *words, *place], env={"COLUMNS": "240"})
