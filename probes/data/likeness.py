"""Which texts are nearly the same, and which have a near copy among others: MinHash finds the candidates, and the Jaccard
similarity of every pair that is used is then computed exactly. It reads no labels, and it keeps no text.

Two texts are as like as their sets of character shingles: |A and B| / |A or B|, after Unicode's NFKC, lower case and single spaces.
Locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998; datasketch) misses a pair with a probability that `banding` bounds;
it never adds one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from probes.errors import TooAlike
from probes.intervals import Float, Int

if TYPE_CHECKING:
    from probes.probe import Progress

PERMUTATIONS = 128
MISSED = 1e-3
TRIED = 64
COMPARISONS = 5_000_000
_BASE = np.uint64(0x9E3779B97F4A7C15)

Shingles = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]


def normal(text: str) -> str:
    """A text as it is compared: NFKC, case folded, runs of white space as one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def shingles(text: str, size: int) -> Shingles:
    """The set of runs of ``size`` characters, as sorted 64-bit hashes; a shorter text is one run."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < size:
        codes = np.concatenate([codes, np.zeros(size - len(codes), dtype=np.uint64)])
    # A polynomial in an odd base modulo 2^64: two of N different shingles collide with a probability of about N^2 / 2^65.
    out = np.zeros(len(codes) - size + 1, dtype=np.uint64)
    for k in range(size):
        out = out * _BASE + codes[k : k + len(out)] + np.uint64(1)
    return np.unique(out)


def jaccard(a: Shingles, b: Shingles) -> float:
    """Shared shingles over all shingles of two sets, in [0, 1]."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def banding(threshold: float) -> tuple[int, int]:
    """Bands and rows a band, the most selective with which a pair at the threshold is missed with at most `MISSED`."""
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if missed(threshold, bands, rows) <= MISSED:
            return bands, rows
    return PERMUTATIONS, 1


def missed(similarity: float, bands: int, rows: int) -> float:
    """The probability that no band of two texts agrees."""
    return float((1 - similarity**rows) ** bands)


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike two texts must be, and how the search is seeded.

    Attributes:
        threshold: Jaccard similarity from which two texts are near copies, in [0.5, 1].
        size: characters a shingle.
        seed: of the permutations.
        progress: wraps the long loops.
    """

    threshold: float
    size: int
    seed: int
    progress: Progress

    def components(self, texts: Sequence[str]) -> Int:
        """Texts that a chain of near copies ties have one code, shape (N,); ``texts`` are normal and different.

        Raises:
            TooAlike: so many texts are nearly near copies that comparing them would take for ever.
        """
        sets = [shingles(text, self.size) for text in texts]
        signatures, budget = self._signatures(sets, "near duplicates"), _Budget()
        root = list(range(len(texts)))
        for keys in self._bands(signatures):
            for members in _buckets(keys).values():
                if len(members) > 1:
                    self._tie(members, root, sets, budget)
        return np.array([_root(root, i) for i in range(len(texts))], dtype=np.int64)

    def nearest(self, texts: Sequence[str], others: Sequence[str]) -> tuple[Float, Int]:
        """For each text, a near copy among the others if there is one: the most alike of the first `TRIED` candidates.

        Returns:
            its similarity and its position, each of shape (N,); NaN and -1 where none is near. Of equals the first.

        Raises:
            TooAlike: as `components`.
        """
        similarity, position = np.full(len(texts), np.nan), np.full(len(texts), -1, dtype=np.int64)
        places = {text: k for k, text in reversed(list(enumerate(others)))}
        for i, text in enumerate(texts):
            if text in places:
                similarity[i], position[i] = 1.0, places[text]
        asked = np.flatnonzero(position < 0).tolist()
        mine, theirs = [shingles(texts[i], self.size) for i in asked], [shingles(text, self.size) for text in others]
        bands = zip(
            self._bands(self._signatures(mine, "texts also trained on")),
            self._bands(self._signatures(theirs, "training texts")),
            strict=True,
        )
        seen, budget = [set[int]() for _ in asked], _Budget()
        for own, keys in bands:
            buckets = _buckets(keys)
            for a, i in enumerate(asked):
                for k in buckets.get(own[a], ()):
                    if position[i] >= 0 and len(seen[a]) >= TRIED:
                        break
                    if k in seen[a]:
                        continue
                    seen[a].add(k)
                    found = budget.compare(mine[a], theirs[k])
                    better = found > similarity[i] or (found == similarity[i] and k < position[i])
                    if found >= self.threshold and (position[i] < 0 or better):
                        similarity[i], position[i] = found, k
        return similarity, position

    def _tie(self, members: Sequence[int], root: list[int], sets: Sequence[Shingles], budget: _Budget) -> None:
        """Tie the near copies among the texts of a bucket. Texts that are tied already are not compared: each has a near copy."""
        groups: dict[int, list[int]] = {}
        for i in members:
            own = _root(root, i)
            together = groups.pop(own, [])
            for other in list(groups):
                if any(budget.compare(sets[i], sets[j]) >= self.threshold for j in groups[other]):
                    together += groups.pop(other)
                    root[other] = own
            together.append(i)
            groups[own] = together

    def _signatures(self, sets: Sequence[Shingles], label: str) -> Signatures:
        """MinHash signatures, cut to 32 bits: what is equal stays equal, and a pair too many is compared and dropped."""
        from datasketch import MinHash

        values = (one.tolist() for one in sets)
        signed = MinHash.generator(values, num_perm=PERMUTATIONS, seed=self.seed, hashfunc=int, scheme="affine64")
        out = np.empty((len(sets), PERMUTATIONS), dtype=np.uint32)
        for i, signature in enumerate(self.progress(signed, len(sets), label)):
            out[i] = signature.hashvalues & np.uint64(0xFFFFFFFF)
        return out

    def _bands(self, signatures: Signatures) -> Iterator[list[bytes]]:
        """For each band, what each text's signature is in it."""
        bands, rows = banding(self.threshold)
        for band in range(bands):
            part = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
            yield [line.tobytes() for line in part]


@dataclass(kw_only=True)
class _Budget:
    """How many pairs may still be compared."""

    left: int = COMPARISONS

    def compare(self, a: Shingles, b: Shingles) -> float:
        if not self.left:
            raise TooAlike(
                f"more than {COMPARISONS:,} pairs of texts are candidates",
                fix="raise the threshold, or remove what all texts share",
            )
        self.left -= 1
        return jaccard(a, b)


def _buckets(keys: Sequence[bytes]) -> dict[bytes, list[int]]:
    out: dict[bytes, list[int]] = {}
    for i, key in enumerate(keys):
        out.setdefault(key, []).append(i)
    return out


def _root(root: list[int], i: int) -> int:
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i
