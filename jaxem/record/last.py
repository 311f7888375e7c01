from typing import final

from jaxem.record._record import AbstractRecord, Report


@final
class Last(AbstractRecord):
    """The last iterate.

    **Example**

    >>> import jaxem
    >>> jaxem.em().record
    Last()
    """

    def report(self, state):
        return Report()
