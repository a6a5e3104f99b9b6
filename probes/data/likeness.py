"""Which texts are nearly the same, and which have a near copy among others: MinHash finds the candidates, and the Jaccard
similarity of every pair that is used is then computed exactly. It reads no labels, and it keeps no text.

Two texts are as like as their sets of character shingles: |A and B| / |A or B|, after Unicode's NFKC, lower case and single spaces.
Locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998; datasketch) misses a pair with a probability that `banding` bounds;
it never adds one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probes.intervals import Float, Int

if TYPE_CHECKING:
    from probes.probe import Progress

PERMUTATIONS = 128
MISSED = 1e-3
_BASE = np.uint64(0x9E3779B97F4A7C15)

Shingles = npt.NDArray[np.uint64]


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
        """Texts that a chain of near copies ties have one code, shape (N,); ``texts`` are normal and different."""
        known = [shingles(text, self.size) for text in texts]
        index = self._index()
        root = list(range(len(texts)))
        signed = self.progress(self._signed(known), len(texts), "near duplicates")
        for i, signature in enumerate(signed):
            for j in sorted(index.query(signature)):
                # A pair whose texts are tied already adds nothing: each of them has a near copy, and they are in one component.
                if _root(root, i) != _root(root, j) and jaccard(known[i], known[j]) >= self.threshold:
                    root[_root(root, i)] = _root(root, j)
            index.insert(i, signature, check_duplication=False)
        return np.array([_root(root, i) for i in range(len(texts))], dtype=np.int64)

    def nearest(self, texts: Sequence[str], others: Sequence[str]) -> tuple[Float, Int]:
        """For each text, the most similar of the others if it is a near copy.

        Returns:
            its similarity and its position, each of shape (N,); NaN and -1 where none is near. Of equals the first.
        """
        similarity, position = np.full(len(texts), np.nan), np.full(len(texts), -1, dtype=np.int64)
        places = {text: k for k, text in reversed(list(enumerate(others)))}
        index, known = self._index(), [shingles(text, self.size) for text in others]
        for k, signature in enumerate(self.progress(self._signed(known), len(others), "training texts")):
            index.insert(k, signature, check_duplication=False)
        sets = [shingles(text, self.size) for text in texts]
        for i, signature in enumerate(self.progress(self._signed(sets), len(texts), "texts also trained on")):
            if texts[i] in places:
                similarity[i], position[i] = 1.0, places[texts[i]]
                continue
            for k in sorted(index.query(signature)):
                found = jaccard(sets[i], known[k])
                if found >= self.threshold and not found <= similarity[i]:
                    similarity[i], position[i] = found, k
        return similarity, position

    def _index(self) -> Any:
        from datasketch import MinHashLSH

        bands, rows = banding(self.threshold)
        return MinHashLSH(num_perm=PERMUTATIONS, params=(bands, rows))

    def _signed(self, sets: Iterable[Shingles]) -> Iterator[Any]:
        from datasketch import MinHash

        values = (one.tolist() for one in sets)
        yield from MinHash.generator(values, num_perm=PERMUTATIONS, seed=self.seed, hashfunc=int, scheme="affine64")


def _root(root: list[int], i: int) -> int:
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i
