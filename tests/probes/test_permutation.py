"""Random regroupings: against enumeration, against regrouping rows one by one, and how often chance alone is taken for a gap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import probes.permutation as permutation
from probes.permutation import Exchange, chance_gaps, exchange, gap_p_value, p_value
from probes.rates import Cells, Rate, count_cells, count_rate, independent


def gap(groups, success, size: int) -> float:
    rates = [success[groups == g].mean() for g in range(size)]
    return max(rates) - min(rates)


def slow(groups, success, clusters, rng) -> np.ndarray:
    """The groups after one regrouping, row by row."""
    out = groups.copy()
    members = {c: np.flatnonzero(clusters == c) for c in np.unique(clusters)}
    alone = [c for c, rows in members.items() if len(set(groups[rows])) == 1]
    labels = rng.permutation([groups[members[c][0]] for c in alone])
    for c, label in zip(alone, labels, strict=True):
        out[members[c]] = label
    for c in sorted(set(members) - set(alone)):
        out[members[c]] = rng.permutation(groups[members[c]])
    return out


def drawn(groups, success, clusters, size: int, draws: int, seed: int = 0) -> np.ndarray:
    return chance_gaps(count_rate(groups, size, success, clusters), np.random.default_rng(seed), draws)


def material(kind: str, clusters: int = 24, rows: int = 5, seed: int = 1):
    """Groups, successes and clusters of three kinds: whole clusters a group, clusters over groups, and both."""
    rng = np.random.default_rng(seed)
    at = np.repeat(np.arange(clusters), rng.integers(1, rows + 1, clusters))
    over = rng.integers(0, 3, len(at))
    one = rng.permutation(np.arange(clusters) % 3)[at]
    alone = {"whole": np.ones(clusters, bool), "within": np.zeros(clusters, bool), "both": np.arange(clusters) % 2 == 0}
    groups = np.where(alone[kind][at], one, over)
    likely = rng.beta(1, 1, clusters)
    return groups, rng.random(len(at)) < likely[at], at


@pytest.mark.parametrize("kind", ["whole", "within", "both"])
def test_like_regrouping_rows_one_by_one(kind):
    groups, success, clusters = material(kind)
    fast = drawn(groups, success, clusters, 3, 4000)
    rng = np.random.default_rng(5)
    obvious = np.array([gap(slow(groups, success, clusters, rng), success, 3) for _ in range(1500)])
    assert stats.ks_2samp(fast, obvious).pvalue > 1e-3


def test_within_clusters_by_enumeration():
    """Four templates over the same two groups, three of them answered differently: 8 equally likely outcomes."""
    groups, clusters = np.array([0, 1] * 4), np.repeat(np.arange(4), 2)
    success = np.array([1, 0, 1, 0, 1, 0, 1, 1], bool)
    gaps = [abs(2 * sum(flips) - 3) / 4 for flips in itertools.product((0, 1), repeat=3)]
    found = drawn(groups, success, clusters, 2, 8000)
    for value in (0.25, 0.75):
        assert np.mean(np.isclose(found, value)) == pytest.approx(gaps.count(value) / 8, abs=0.02)
    assert p_value(0.75, found)[0] == pytest.approx(0.25, abs=0.02)


def test_whole_clusters_by_enumeration():
    """Four users of 1, 1, 2 and 2 rows, two a group: 6 equally likely assignments."""
    rows, hits = np.array([1, 1, 2, 2]), np.array([1, 0, 2, 1])
    gaps = []
    for pair in itertools.combinations(range(4), 2):
        mine = np.isin(np.arange(4), pair)
        gaps.append(abs(hits[mine].sum() / rows[mine].sum() - hits[~mine].sum() / rows[~mine].sum()))
    cells = Cells(rows=rows, hits=hits, group=np.array([0, 0, 1, 1]), cluster=np.arange(4), size=2)
    rate = Rate(proportions=cells.proportions(), cells=cells)
    found = chance_gaps(rate, np.random.default_rng(0), 12000)
    for value in set(np.round(gaps, 9)):
        assert np.mean(np.isclose(found, value)) == pytest.approx(np.mean(np.isclose(gaps, value)), abs=0.02)


def test_independent_rows_are_fishers_test():
    rate = independent(np.array([9, 3]), np.array([12, 12]))
    p, error = gap_p_value(Rate(proportions=rate, cells=None), np.random.default_rng(0), 20000)
    assert p == pytest.approx(stats.fisher_exact([[9, 3], [3, 9]]).pvalue, abs=4 * error + 1e-4)


@pytest.mark.parametrize("kind", ["whole", "within", "both"])
def test_the_normal_draw_is_the_same_distribution(kind, monkeypatch):
    groups, success, clusters = material(kind, clusters=3000, rows=6)
    rng = np.random.default_rng(2)
    # A group too small for a normal draw: a few dozen clusters.
    groups = np.where((rng.random(3000) < 0.02)[clusters], 3, groups)
    exact = drawn(groups, success, clusters, 4, 1200)
    monkeypatch.setattr(permutation, "_WORK", 0)
    near = drawn(groups, success, clusters, 4, 1200)
    assert not np.array_equal(exact, near)
    assert stats.ks_2samp(exact, near).pvalue > 1e-3
    assert near.mean() == pytest.approx(exact.mean(), rel=0.05)


@pytest.mark.parametrize("kind", ["whole", "within"])
def test_chance_alone_is_rarely_taken_for_a_gap(kind):
    """Rows of a cluster are alike and groups play no part: whole clusters a group, or templates filled in with each group."""
    rng = np.random.default_rng(7)
    by_clusters, by_rows, trials = 0, 0, 250
    for _ in range(trials):
        likely = rng.beta(0.8, 0.8, 30)
        at = np.repeat(np.arange(30), 6)
        groups = rng.permutation(np.arange(30) % 3)[at] if kind == "whole" else np.tile(np.repeat(np.arange(3), 2), 30)
        success = rng.random(180) < likely[at]
        observed = gap(groups, success, 3)
        by_clusters += p_value(observed, drawn(groups, success, at, 3, 99, int(rng.integers(1 << 30))))[0] <= 0.05
        alone = chance_gaps(count_rate(groups, 3, success, None), rng, 99)
        by_rows += p_value(observed, alone)[0] <= 0.05
    assert 0.015 <= by_clusters / trials <= 0.09
    # As if rows were independent: far too often where clusters lie in groups, hardly ever where they span them.
    assert by_rows / trials > 0.25 if kind == "whole" else by_rows / trials < 0.02


def test_a_gap_within_templates_is_found_where_independent_rows_hide_it():
    rng = np.random.default_rng(3)
    likely = rng.beta(0.3, 0.3, 120)
    groups, at = np.tile([0, 1], 120), np.repeat(np.arange(120), 2)
    draw = rng.random(120)[at]
    success = draw < np.clip(likely[at] + np.where(groups == 0, 0.08, -0.08), 0, 1)
    observed = gap(groups, success, 2)
    assert p_value(observed, drawn(groups, success, at, 2, 999))[0] < 0.01
    assert p_value(observed, chance_gaps(count_rate(groups, 2, success, None), rng, 999))[0] > 0.02


rows_of = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 5)), min_size=3, max_size=40)


@given(rows_of, st.permutations(range(6)))
@settings(max_examples=40, deadline=None)
def test_totals_are_kept_and_cluster_names_play_no_part(rows, names):
    groups, success, clusters = (np.array(c) for c in zip(*rows, strict=True))
    groups, size = np.unique(groups, return_inverse=True)[1], len(set(groups.tolist()))
    cells = count_cells(groups, size, success, clusters)
    drawn_rows, hits = permutation._regrouped(cells, np.random.default_rng(0), 20)
    assert np.array_equal(drawn_rows.sum(axis=1), np.full(20, len(rows)))
    assert np.array_equal(hits.sum(axis=1), np.full(20, success.sum()))
    assert (hits <= drawn_rows).all()
    spans = [len(set(groups[clusters == c])) for c in set(clusters.tolist())]
    expected = Exchange(whole=sum(s == 1 for s in spans), within=sum(s > 1 for s in spans))
    assert exchange(cells) == expected
    assert exchange(count_cells(groups, size, success, np.array(names)[clusters])) == expected


def test_an_empty_denominator_is_refused():
    with pytest.raises(ValueError, match="denominator above 0"):
        chance_gaps(count_rate(np.zeros(2, dtype=int), 2, np.ones(2, bool), None), np.random.default_rng(0), 10)
