"""What families share that change what is known of a row of another family."""

from typing import Any

from jaxem._passed import passed
from jaxem.families._family import AbstractKernelFamily


class AbstractWrapped(AbstractKernelFamily):
    """Another family under a change of what is known of a row: parameters, prior and M-step are that family's."""

    family: Any

    def wrap(self, family: Any) -> "AbstractWrapped":
        """The same change of another family."""
        return type(self)(family)

    parameters = passed("family")
    prior_hint = passed("family")
    num_members = passed("family")
    shared = passed("family")  # pyright: ignore[reportIncompatibleMethodOverride]
    unconstrain = passed("family")
    constrain = passed("family")
    redundant = passed("family")
    sample = passed("family")

    # Rows and members

    read = passed("family")
    domains = passed("family")  # pyright: ignore[reportIncompatibleMethodOverride]
    check_shape = passed("family")
    pool = passed("family")
