from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxem._errors import DataError
from jaxem.engine.convert import as_table


class Documents(NamedTuple):
    """Bags of words: for each document `words` `[n, L]`, integers from 0, and `counts` `[n, L]`.

    Documents with fewer than `L` distinct words are padded with word 0 and count 0. A word may take several places of
    a document. Counts need not be integers.

    **Example**

    >>> import jaxem
    >>> documents, vocabulary = jaxem.Documents.from_tokens([["to", "be", "or", "not", "to", "be"], ["be"]])
    >>> vocabulary
    ('be', 'not', 'or', 'to')
    >>> documents.words.tolist(), documents.counts.tolist()
    ([[0, 1, 2, 3], [0, 0, 0, 0]], [[2.0, 1.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0]])
    """

    words: Int[Array, "n L"]
    counts: Float[Array, "n L"]

    integers = ("words",)

    @staticmethod
    def from_counts(table: Any, dtype: Any = None) -> "Documents":
        """Documents from a table `[n, V]` of counts: a `scipy.sparse` matrix, or dense.

        `dtype` is that of the counts, by default the one that JAX computes in.
        """
        if hasattr(table, "tocsr"):
            sparse = table.tocsr().copy()
            sparse.sum_duplicates()
            rows = np.repeat(np.arange(sparse.shape[0]), np.diff(sparse.indptr))
            words, counts = np.asarray(sparse.indices), np.asarray(as_table(sparse.data, "table"))
            used = counts != 0
            return _padded(rows[used], words[used], counts[used], sparse.shape[0], dtype)
        dense = np.asarray(as_table(table, "table"))
        if dense.ndim != 2:
            raise DataError(f"a table of counts has shape [documents, words], got shape {dense.shape}")
        rows, words = np.nonzero(dense)
        return _padded(rows, words, dense[rows, words], len(dense), dtype)

    @staticmethod
    def from_tokens(
        documents: Iterable[Iterable[Any]], vocabulary: Sequence[Any] | None = None, dtype: Any = None
    ) -> tuple["Documents", tuple[Any, ...]]:
        """Documents from lists of tokens, and the vocabulary: its entry `v` is the token of word `v`.

        By default all tokens, sorted; those that are not in a given `vocabulary` are left out.
        """
        documents = list(documents)
        if any(isinstance(document, str) for document in documents):
            raise DataError("a document is a list of tokens, got a string; split it first")
        lists = [list(document) for document in documents]
        known = tuple(sorted({token for tokens in lists for token in tokens})) if vocabulary is None else vocabulary
        index = {token: number for number, token in enumerate(known)}
        pairs = [(row, index[token]) for row, tokens in enumerate(lists) for token in tokens if token in index]
        both, counts = np.unique(np.array(pairs, int).reshape(-1, 2), axis=0, return_counts=True)
        return _padded(both[:, 0], both[:, 1], counts, len(lists), dtype), tuple(known)

    def check_shape(self) -> None:
        """Raise `DataError` for arrays whose shapes are not those of bags of words."""
        words, counts = self.words, self.counts
        if words.ndim != 2 or words.shape != counts.shape:
            raise DataError(f"words and counts must both be [documents, L], got shapes {words.shape}, {counts.shape}")
        if words.size == 0:
            raise DataError(f"documents are empty: shape {words.shape}")
        if words.dtype.kind not in "iu":
            raise DataError(f"words must be integers, got {words.dtype}")

    def check(self, vocabulary_size: int) -> None:
        """Raise `DataError` for what is no bag of words from a vocabulary of this size."""
        self.check_shape()
        words, counts = np.asarray(self.words), np.asarray(self.counts)
        for wrong, what in (
            (~np.isfinite(counts) | (counts < 0), "counts must be finite and not negative"),
            ((words < 0) | (words >= vocabulary_size), f"words run from 0 to {vocabulary_size - 1}"),
        ):
            if wrong.any():
                row, place = (int(i) for i in np.argwhere(wrong)[0])
                raise DataError(
                    f"document {row}, place {place} has word {int(words[row, place])} with count "
                    f"{float(counts[row, place])!r}; {what}"
                )


def _padded(rows: np.ndarray, words: np.ndarray, counts: np.ndarray, n: int, dtype: Any) -> Documents:
    """Entries sorted by row as rectangular arrays; counts are finite and not negative."""
    wrong = np.flatnonzero(~np.isfinite(counts) | (counts < 0))
    if wrong.size:
        i = wrong[0]
        raise DataError(
            f"table: document {int(rows[i])} has count {float(counts[i])!r} of word {int(words[i])}; counts must be "
            "finite and not negative"
        )
    if n == 0:
        raise DataError("table is empty: there are no documents")
    lengths = np.bincount(rows, minlength=n)
    shape = n, max(int(lengths.max(initial=0)), 1)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found = Documents(np.zeros(shape, np.int32), np.zeros(shape, jnp.result_type(float) if dtype is None else dtype))  # pyright: ignore[reportArgumentType]
    found.words[rows, places] = words
    found.counts[rows, places] = counts
    return found
