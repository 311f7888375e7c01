"""Fits shared out between processes, one after the other in this one: what each does with the files of a call."""

import numpy as np

from jaxem._algorithm import default_algorithm
from jaxem._fit_many import _fit_these
from jaxem._many_checkpoint import digests_of_fits, keep, place_of_fits
from jaxem._many_rows import WeightsOfAll, arguments_over
from jaxem.engine.shares import Share
from jaxem.engine.stop import Stop


def by_processes(
    processes, model, data, *, key, checkpoint, restarts=1, weights=None, stops=None, running=None, **more
):
    """What each of so many processes has of its share of `jaxem.fit_many`.

    Those in `running` alone run, in that order; the others are lost once all have looked at the files. Each ends after
    so many rounds as `stops` says, if it does.
    """
    over = arguments_over(None, data, weights)
    given = {"model": model, "data": data, "weights": weights, "init": None}
    asked = {"over": over, "key": key, "algorithm": default_algorithm(model), "termination": None, "restarts": restarts}
    asked |= {"tol": None, "max_steps": 1000, "lanes": None, "racing": None, **more}
    digests = digests_of_fits(over, given)
    ends = np.linspace(0, len(given[over[0]]), processes + 1).astype(int).tolist()
    of_all = None if weights is None else WeightsOfAll.of(weights)

    def place(number, own):
        first, end = ends[number : number + 2]
        share = Share(first, end - first, digests, number, processes)
        return place_of_fits(checkpoint, over, own, asked, share)

    shares = {}
    for number in range(processes):
        own = {name: tree[slice(*ends[number : number + 2])] if name in over else tree for name, tree in given.items()}
        shares[number] = own, place(number, own)
    for _, found in shares.values():
        keep(found)
    fits = {}
    for number in range(processes) if running is None else running:
        (own, found), heard = shares[number], []
        end = (lambda told, heard=heard: heard.append(told) or len(heard) >= stops) if stops else None
        fits[number] = _fit_these(
            **own, **asked, stop=Stop(), progress=end, place=found, first=ends[number], of_all=of_all
        )
    return fits
