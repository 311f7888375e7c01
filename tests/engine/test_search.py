"""What becomes of starts, whatever runs them."""

import types

from jaxem._status import Status, status_code
from jaxem.engine.lanes import Layout
from jaxem.engine.search import Search
from jaxem.engine.snapshot import Aside
from jaxem.termination import Racing

LACKING = int(status_code(Status.inaccurate))


def test_finalists_stay_while_others_race_on():
    """Else what a fit ends with would depend on those beside it."""
    runner = types.SimpleNamespace(together=False)
    search = Search(None, Layout(1), 8, None, models=2, runner=runner)
    held = [Aside(start, LACKING, float(start), 5, None) for start in (1, 3, 4, 5, 6, 7)]
    search.histories = {one.start: [] for one in held}
    going = search.decide(held, search.of_models([one.start for one in held]), Racing(keep=0.5, finalists=2))
    assert [start for start, _ in going] == [3, 1, 7, 6]
    assert search.code[4] == search.code[5] == int(status_code(Status.eliminated))
    assert sorted(search.histories) == [1, 3, 6, 7]
