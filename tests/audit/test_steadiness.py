"""The gate decided again on resampled rows, and what data of a size can tell apart."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import audit
from audit import cli
from audit.demands import open_run
from audit.errors import GateError
from audit.power import resolutions
from audit.steadiness import _flips, by_point, draw_rows, steadiness, steadiness_of_each
from reports.bundle import Bundle
from reports.record import Policy


def policy_of(finished, **limits: float) -> Policy:
    rules = [{"id": name, "measure": "performance:accuracy", "min": limit} for name, limit in limits.items()]
    return Policy.model_validate(
        {"schema": "plumbline.policy/v1", "name": "p", "version": 1, "owner": "o", "rules": rules}
    )


def accuracy(finished) -> float:
    finding = Bundle.open(finished).record().finding("performance")
    return finding.measurements("accuracy")[0].value


def test_whole_clusters_are_drawn_and_copies_are_other_clusters():
    table = pa.table({"row_id": [f"r{i}" for i in range(12)], "cluster": [f"c{i // 3}" for i in range(12)]})
    drawn = draw_rows(table, "k")
    sizes = Counter(drawn["cluster"].to_pylist())
    assert set(sizes.values()) == {3}
    assert len(sizes) == 4
    assert len(set(drawn["row_id"].to_pylist())) == len(drawn)
    assert {c.split("\0")[0] for c in sizes} < {f"c{i}" for i in range(4)} or len(
        {c.split("\0")[0] for c in sizes}
    ) == 4


def test_units_of_one_input_stay_together_and_rows_without_a_cluster_stand_alone():
    table = pa.table(
        {"row_id": ["a", "a", "b", "c", "c"], "unit_id": [0, 1, 0, 0, 1], "cluster": [None, None, "k", "k", "k"]}
    )
    drawn = draw_rows(table.drop_columns(["cluster"]), "k")
    assert all(n in (1, 2) for n in Counter(drawn["row_id"].to_pylist()).values())
    drawn = draw_rows(table, "k")
    assert all(n == 3 for c, n in Counter(drawn["cluster"].to_pylist()).items() if c is not None)


def test_the_draw_is_uniform_and_depends_on_its_key_alone():
    table = pa.table({"row_id": [str(i) for i in range(50)]})
    assert draw_rows(table, "a").equals(draw_rows(table, "a"))
    assert not draw_rows(table, "a").equals(draw_rows(table, "b"))
    seen = Counter(v.split("\0")[0] for k in range(400) for v in draw_rows(table, str(k))["row_id"].to_pylist())
    expected = 400.0
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 49 + 5 * np.sqrt(98)


def test_rows_about_another_row_are_drawn_with_it_and_numbered_anew():
    """Texts and questions about them, as `explanation.shortcuts` keeps them."""
    texts, asked = 30, 3
    table = pa.table(
        {
            "text": [*range(texts), *(i % texts for i in range(texts * asked))],
            "row_id": [*(f"r{i}" for i in range(texts)), *([None] * texts * asked)],
            "cluster": [*(f"c{i // 3}" if i < 24 else None for i in range(texts)), *([None] * texts * asked)],
            "input": [*(f"t{i}" for i in range(texts)), *(f"t{i % texts}" for i in range(texts * asked))],
        }
    )
    drawn = draw_rows(table, "k").to_pylist()
    first = {row["text"]: row for row in drawn if row["row_id"] is not None}
    assert sorted(first) == list(range(len(first)))
    assert len({row["row_id"] for row in first.values()}) == len(first)
    questions = Counter(row["text"] for row in drawn if row["row_id"] is None)
    assert questions == dict.fromkeys(first, asked)
    assert all(row["input"] == first[row["text"]]["input"] for row in drawn)
    whole = Counter(row["cluster"] for row in first.values() if row["cluster"] is not None)
    assert set(whole.values()) == {3}
    assert max(Counter(row["input"] for row in first.values()).values()) > 1


def test_several_policies_share_the_draws(finished):
    run = open_run(Bundle.open(finished))
    policy = policy_of(finished, at_the_limit=round(accuracy(finished), 4))
    both = steadiness_of_each(run, [policy, by_point(policy)], replicates=8, seed=4)
    apart = [steadiness(run, p, replicates=8, seed=4) for p in (policy, by_point(policy))]
    assert list(both) == apart


def test_rows_that_name_no_unit_are_not_drawn():
    assert draw_rows(pa.table({"epsilon": [1.0, 2.0]}), "k") is None


def test_flips_are_pairs_that_pass_and_fail():
    signs = np.array([[1, 0], [-1, 0], [0, 1], [1, -1]])
    slow = np.mean(
        [any(a[k] * b[k] == -1 for k in range(2)) for i, a in enumerate(signs) for j, b in enumerate(signs) if i != j]
    )
    assert _flips(signs) == pytest.approx(slow)
    assert _flips(np.zeros((5, 3), dtype=np.int64)) == 0


def test_a_point_gate_flips_at_its_limit_and_an_interval_gate_does_not(finished):
    policy = policy_of(finished, at_the_limit=round(accuracy(finished), 4))
    run = open_run(Bundle.open(finished))
    ours = steadiness(run, policy, replicates=60)
    point = steadiness(run, by_point(policy), replicates=60)
    assert ours.flip_rate <= 0.02
    assert point.flip_rate > 0.3
    assert sum(ours.checks[0].outcomes.values()) == 60
    assert ours.checks[0].outcomes["inconclusive"] > 40
    assert (ours.checks[0].by_value, point.checks[0].by_value) == (False, True)
    assert (ours.interval_flip_rate, point.interval_flip_rate) == (ours.flip_rate, None)


def test_a_check_that_is_far_from_its_limit_never_flips(finished):
    found = steadiness(open_run(Bundle.open(finished)), policy_of(finished, far=0.1), replicates=10)
    assert found.checks[0].outcomes == {"pass": 10}
    assert found.flip_rate == found.verdict_flip_rate == 0


def test_other_levels_are_restated_on_the_drawn_rows(finished):
    policy = policy_of(finished, at=0.1)
    strict = policy.model_copy(update={"defaults": policy.defaults.model_copy(update={"level": 0.99})})
    found = steadiness(open_run(Bundle.open(finished)), strict, replicates=4)
    assert found.checks[0].outcomes == {"pass": 4}


def test_baseline_rules_are_left_out_and_said(finished):
    policy = policy_of(finished, far=0.1)
    drop = {"id": "drop", "measure": "performance:accuracy", "baseline": "main", "max_drop": 0.1}
    both = Policy.model_validate({**json.loads(policy.model_dump_json(by_alias=True)), "rules": [
        {"id": "far", "measure": "performance:accuracy", "min": 0.1}, drop]})  # fmt: skip
    found = steadiness(open_run(Bundle.open(finished)), both, replicates=3)
    assert [str(m) for m in found.left_out] == ["drop compares with a baseline and was left out."]
    only = both.model_copy(update={"rules": both.rules[1:]})
    with pytest.raises(GateError, match="no rule that speaks of this run alone"):
        steadiness(open_run(Bundle.open(finished)), only, replicates=3)


def test_fewer_than_two_gates_are_refused(finished):
    with pytest.raises(GateError, match="at least 2"):
        steadiness(open_run(Bundle.open(finished)), policy_of(finished, far=0.1), replicates=1)


def test_the_bundle_is_left_untouched(finished):
    before = {p: p.read_bytes() for p in sorted(finished.rglob("*")) if p.is_file()}
    audit.measure_steadiness(finished, repeats=2, progress=False)
    assert {p: p.read_bytes() for p in sorted(finished.rglob("*")) if p.is_file()} == before


def test_values_said_to_be_decided_are(finished):
    """A limit moved so that the observed value lies where it is said to pass passes, in the mean as often as said."""
    bundle = Bundle.open(finished)
    value = accuracy(finished)
    result = audit.gate(finished, policy=policy_of(finished, here=0.6))
    found = resolutions(bundle.record(), result.verdict)[0]
    assert found.fails < 0.6 < found.passes
    margin = found.passes - 0.6
    # With the limit this far below the true value, a new sample passes about four times in five.
    gates = steadiness(open_run(bundle), policy_of(finished, moved=value - margin), replicates=200)
    share = gates.checks[0].outcomes.get("pass", 0) / 200
    assert 0.65 < share < 0.95


def test_a_limit_nearer_to_the_range_than_the_interval_is_wide_can_not_be_passed(finished):
    policy = Policy.model_validate({"schema": "plumbline.policy/v1", "name": "p", "version": 1, "owner": "o", "rules": [
        {"id": "gap", "measure": "groups:demographic_parity_difference", "where": {"feature": "gender"}, "max": 0.001}]})  # fmt: skip
    found = resolutions(Bundle.open(finished).record(), audit.gate(finished, policy=policy).verdict)[0]
    assert found.passes is None
    assert found.fails > 0.001


def test_on_the_command_line(finished):
    runner = CliRunner()
    done = runner.invoke(cli.app, ["selftest", "--aa", str(finished), "--repeats", "5"])
    assert done.exit_code == 0, done.output
    assert "5 gates on resampled rows" in done.output
    power = runner.invoke(cli.app, ["gate", str(finished), "--power"], env={"COLUMNS": "200"})
    assert "smallest effect decided" in power.output


def test_a_gate_that_flips_fails_the_self_test(finished, tmp_path):
    path = tmp_path / "point.yaml"
    rule = f'{{id: at, measure: "performance:accuracy", min: {accuracy(finished):.4f}, decision: point}}'
    path.write_text(f"schema: plumbline.policy/v1\nname: p\nversion: 1\nowner: o\nrules:\n  - {rule}\n")
    done = CliRunner().invoke(cli.app, ["selftest", "--aa", str(finished), "--repeats", "20", "--policy", str(path)])
    assert done.exit_code == 10
    assert "disagree" in done.output
