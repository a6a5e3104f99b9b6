"""The sample keeps every stratum's share and every row's chance."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from probes.robustness.sampling import draw, stratum_name

STRATA = st.lists(
    st.tuples(st.sampled_from(["no", "yes"]), st.sampled_from(["f", "m", "x", None])), min_size=1, max_size=60
)


@given(STRATA, st.integers(1, 60), st.integers(0, 9))
def test_each_stratum_gets_its_share_rounded(strata, size, seed):
    drawn = draw(strata, size, np.random.default_rng(seed)).tolist()
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(size, len(strata))
    for level in (lambda s: s, lambda s: s[0]):
        there, found = Counter(map(level, strata)), Counter(level(strata[i]) for i in drawn)
        for name, rows in there.items():
            share = rows * len(drawn) / len(strata)
            assert math.floor(share + 1e-9) <= found[name] <= math.ceil(share - 1e-9)


def test_every_row_has_the_same_chance():
    strata = [("no", "f")] * 9 + [("yes", "f")] * 3 + [("yes", "m")] * 1
    hits = np.zeros(13)
    for seed in range(4000):
        hits[draw(strata, 4, np.random.default_rng(seed))] += 1
    assert np.abs(hits / 4000 - 4 / 13).max() < 4 * np.sqrt(4 / 13 * 9 / 13 / 4000)


def test_seeds_decide_and_all_is_all():
    strata = [("no",)] * 50
    one, two, three = (draw(strata, 10, np.random.default_rng(s)).tolist() for s in (1, 1, 2))
    assert one == two != three
    assert draw(strata, None, np.random.default_rng(1)).tolist() == list(range(50))
    assert draw([], 3, np.random.default_rng(1)).tolist() == []


def test_strata_have_readable_names():
    assert stratum_name(["label", "gender"], ("yes", "f")) == "label=yes, gender=f"
    assert stratum_name(["label", "gender"], ("yes", None)) == "label=yes"
