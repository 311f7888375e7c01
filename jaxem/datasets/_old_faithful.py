"""Eruptions of the Old Faithful geyser."""

from jaxem.datasets._dataset import Dataset, read

_SOURCE = (
    "Azzalini, A. and Bowman, A. W. (1990). A look at some data on the Old Faithful geyser. "
    "Applied Statistics 39, 357-365; as the data set `faithful` of R."
)


def old_faithful() -> Dataset:
    """272 eruptions of the Old Faithful geyser, Yellowstone National Park, in August 1985.

    Two columns, both in minutes: the duration of an eruption and the waiting time to the next one. Short
    eruptions are followed by short waits, so the data fall into two clusters: the usual first example of a
    mixture of two Gaussians.

    **Returns:** a `Dataset` with `data` of shape `[272, 2]` and columns `("eruptions", "waiting")`.

    **Source:** Azzalini and Bowman (1990), *Applied Statistics* 39, 357-365.

    **Example**

    >>> from jaxem import datasets
    >>> geyser = datasets.old_faithful()
    >>> geyser.columns, geyser.data.shape
    (('eruptions', 'waiting'), (272, 2))
    """
    return read("old_faithful.csv", name="Old Faithful", source=_SOURCE)
