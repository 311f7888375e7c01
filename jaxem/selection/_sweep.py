"""Several models on the same data; those that differ in their number of members alone in one search: mixtures, and
hidden Markov models.

One program serves them all: members that a run does not have are there, but have weight 0.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm, default_algorithm
from jaxem._arguments import as_count
from jaxem._errors import FitError
from jaxem._fit import fit, in_lanes, in_unit, init_of, keys_of, of_set_type, problem_of, searched
from jaxem._paths import covers, leaf_name
from jaxem._solve import Fit
from jaxem.algorithms import em
from jaxem.engine.buckets import outlasts_compilation
from jaxem.engine.checkpoint import Keeper, Part
from jaxem.engine.door import Admitted, for_fit, has_prior
from jaxem.engine.lanes import COMPILATION_PRODUCTS, FEW_PRODUCTS
from jaxem.engine.problem import Problem
from jaxem.engine.processes import any_of, is_shared
from jaxem.engine.programs import program
from jaxem.engine.search import Search
from jaxem.engine.shapes import result_shapes, shapes_of
from jaxem.engine.stop import Stop
from jaxem.init import KMeansPlusPlus
from jaxem.kernels.chunks import num_rows
from jaxem.models import HMM, Joined, Mixture
from jaxem.structures import FreeInitial, FreeTransitions, Markov
from jaxem.structures.markov import HMMParams
from jaxem.structures.up_to import MarkovUpTo, UpTo
from jaxem.structures.weights import MixtureParams
from jaxem.termination import AbstractTermination

_SIZES = (4, 8, 16)
_STEPS = 100  # of a run, as a guess


class Found(NamedTuple):
    """What became of a model: its best fit, or why all starts failed; and what to ask in the place of the two.

    The model and the parameters in `asked` have the same density as those fitted. They are of one kind for all models
    that shared a search, so that a question compiles one program.
    """

    fit: Fit | None
    reason: str
    asked: tuple[Any, PyTree] | None


class Options(NamedTuple):
    """How all models are fitted; see `jaxem.fit`."""

    key: PRNGKeyArray
    restarts: int
    algorithm: Algorithm | None
    tol: float | None
    max_steps: int
    termination: AbstractTermination | None
    progress: Any
    lanes: int | None
    time_limit: Stop  # of the whole call
    checkpoint: Part | None = None


def fit_all(
    models: Sequence[Any], data: Any, weights: Any, options: Options, keeper: Keeper | None = None
) -> list[Found]:
    """Every model fitted, from the starts of a `fit` with the same key, and so with the same result, to rounding."""
    found: dict[int, Found] = {}
    for number, group in enumerate(_alike(models)):
        ended = options.time_limit.now
        if found and (any_of(ended)[0] if is_shared(data) else ended):
            found.update(dict.fromkeys(group, Found(None, "stopped before any start was run", None)))
            continue
        alike = [models[i] for i in group]
        algorithm = options.algorithm or default_algorithm(alike[0])
        several = _size(alike[0]) > _size(alike[-1])
        admitted = _admitted(alike[0], algorithm, data, weights, options.key) if several else None
        if admitted is not None and not _pays([*map(_size, alike)], admitted.data, options.restarts):
            admitted = None
        if admitted is None:
            # Of a model with one fixed start all starts would be the same.
            each = options._replace(restarts=1) if alike[0].fixed_start and not algorithm.draws else options
            own = [
                _taken(partial(fit, model, data, weights=weights, **_kept(each, keeper, f"model {i}")._asdict()), model)
                for i, model in zip(group, alike, strict=True)
            ]
        else:
            own = _together(alike, algorithm, admitted, _kept(options, keeper, f"group {number}"), _size(alike[0]))
        found.update(zip(group, own, strict=True))
    return [found[i] for i in range(len(models))]


def _kept(options: Options, keeper: Keeper | None, name: str) -> Options:
    return options if keeper is None else options._replace(checkpoint=Part(keeper, name))


def fit_among_others(model: Any, data: Any, weights: Any, options: Options) -> Fit:
    """`fit`, so that mixtures of other numbers of components find its programs compiled.

    Where an iteration takes no time to speak of, there are members for the next number in a short list.
    """
    as_count("restarts", options.restarts)
    as_count("max_steps", options.max_steps, least=0)
    algorithm = options.algorithm or default_algorithm(model)
    admitted = _admitted(model, algorithm, data, weights, options.key)
    if admitted is not None:
        size = next((size for size in _SIZES if size >= _size(model)), _size(model))
        if size * _products(admitted.data) < FEW_PRODUCTS:
            (found,) = _together([model], algorithm, admitted, options, size)
            if found.fit is None:
                raise FitError(found.reason)
            return found.fit
    return fit(model, data, weights=weights, **options._asdict())


def _together(
    models: Sequence[Any], algorithm: Algorithm, admitted: Admitted, options: Options, size: int
) -> list[Found]:
    """Mixtures of different numbers of components, the largest first, in one search over mixtures of `size`."""
    key, restarts, _, tol, max_steps, termination, progress, lanes, stop, place = options
    counts = [_size(model) for model in models]
    kind = _sized(models[0])
    assert kind is not None
    model = kind.up_to(models[0], size)
    problem = problem_of(model, algorithm, admitted, tol, max_steps, termination, models[0].lengthen)
    problem, layout = in_lanes(problem, key, restarts * len(counts), lanes, place)
    # Of one length, so that another range up to the same number is another call of the same program.
    padded = np.resize(np.array(counts, np.int32), max(len(counts), size))
    draw = partial(_draw, problem, key, padded, np.int32(restarts))
    search = Search(problem, layout, restarts * len(counts), progress, len(counts), stop, place)
    searched(search, draw, key)
    found = [_taken(lambda i=i: in_unit(search.result(True, i), admitted.unit), model) for i in range(len(counts))]
    return [_of_size(each, models[0], k) for each, k in zip(found, counts, strict=True)]


class _Sized(NamedTuple):
    """A kind of models that may differ in their number of members: its name, and one that has up to so many."""

    field: str
    up_to: Callable[[Any, int], Joined]
    params: Any
    plain: Callable[[Any], bool]


def _plain_chain(model: HMM) -> bool:
    return eqx.tree_equal(model.structure, Markov(model.num_states, FreeInitial(), FreeTransitions())) is True


_SIZED = {
    Mixture: _Sized(
        "num_components",
        lambda model, size: Joined(UpTo(size), model.family, start=model.start),
        MixtureParams,
        lambda model: model.weights_prior is None,
    ),
    HMM: _Sized(
        "num_states",
        lambda model, size: Joined(MarkovUpTo(size), model.emission, start=model.start),
        HMMParams,
        _plain_chain,
    ),
}


def _sized(model: Any) -> _Sized | None:
    return _SIZED.get(type(model))


def _size(model: Any) -> int:
    kind = _sized(model)
    return 0 if kind is None else getattr(model, kind.field)


def _alike(models: Sequence[Any]) -> list[list[int]]:
    """Groups of the numbers of models that differ in their number of components alone, the largest first."""
    groups: list[list[int]] = []
    for i, model in enumerate(models):
        group = next((group for group in groups if _differ_in_size(models[group[0]], model)), None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return [sorted(group, key=lambda i: -_size(models[i])) for group in groups]


def _differ_in_size(a: Any, b: Any) -> bool:
    """Whether two models are alike but for their number of members; those with arrays are not compared."""
    kind = _sized(a)
    if kind is None or type(b) is not type(a):
        return False
    return eqx.tree_equal(a, dataclasses.replace(b, **{kind.field: _size(a)})) is True


def _products(data: PyTree) -> int:
    """How many products of two numbers of a row there are, over all rows, those of sequences their steps."""
    leaves = jax.tree.leaves(data)
    steps = max(leaf.size // leaf.shape[-1] for leaf in leaves)
    return sum(leaf.size for leaf in leaves) ** 2 // max(steps, num_rows(data))


def _pays(counts: Sequence[int], data: PyTree, restarts: int) -> bool:
    """Whether the members that runs do not have cost less than the compilations that they save."""
    idle = sum(max(counts) - count for count in counts)
    return restarts * _STEPS * idle * _products(data) < (len({*counts}) - 1) * COMPILATION_PRODUCTS


def _admitted(model: Any, algorithm: Algorithm, data: Any, weights: Any, key: PRNGKeyArray) -> Admitted | None:
    """The data, if a search can be shared by smaller models like this one, and is short enough for that to pay."""
    start, kind = model.start, _sized(model)
    able = isinstance(start, KMeansPlusPlus) and not model.frozen and kind is not None and kind.plain(model)
    if not able or not _plain(algorithm) or model.distribution.num_members is not None:
        return None
    # Fewer members must be given the same rows to start from, and the same random numbers.
    if 32 * _size(model) > start.rows or not _begins_alike(key):
        return None
    admitted = for_fit(model, data, weights)
    n, numbers = num_rows(admitted.data), sum(leaf.size for leaf in jax.tree.leaves(admitted.data))
    if hasattr(admitted.data, "labels") or outlasts_compilation(n, numbers // n) or has_prior(model, admitted.data):
        return None
    return admitted if _apart(model, admitted.data) else None


def _apart(model: Any, data: PyTree) -> bool:
    """Whether members are estimated each by itself, but for parameters that all have in common.

    Where they are not, as those of equal shape, one without rows has a say where the others go.
    """
    family, kind = model.distribution, _sized(model)
    assert kind is not None
    params = shapes_of(dataclasses.replace(model, **{kind.field: 2}), data)
    if family.shared or params is None:
        return bool(family.shared)
    return all(len(block) == 2 for block in result_shapes(_blocks, family, params[-1]))


def _blocks(family: Any, members: PyTree) -> list[Array]:
    """The unconstrained coordinates of members, in blocks whose maximum does not depend on the others."""
    return family.kernel().blocks(family.unconstrain(members))[0]


def _plain(algorithm: Algorithm) -> bool:
    """Whether it is EM but for an accelerator: others may draw for members that are not there, or name parameters."""
    plain, rules = em(), ("e_step", "update", "m_step", "record")
    return all(type(getattr(algorithm, rule)) is type(getattr(plain, rule)) for rule in rules)


def _begins_alike(key: PRNGKeyArray) -> bool:
    """Whether the first of many random numbers are those that are drawn where fewer are asked for."""
    config: Any = jax.config
    return "threefry" in str(jax.random.key_impl(key)) and config.jax_threefry_partitionable


def _taken(run: Callable[[], Fit], model: Any) -> Found:
    """What `run` returns, or why it failed."""
    try:
        fitted = run()
    except FitError as error:
        return Found(None, str(error), None)
    return Found(fitted, "", (model, fitted.params))


def _of_size(found: Found, model: Any, k: int) -> Found:
    """The same with a fit of `k` members, the first of those that the run had, which `asked` still has."""
    if found.fit is None:
        return found
    params, kind, family = found.fit.params, _sized(model), model.distribution
    assert kind is not None
    size = len(params.alive)

    def first(path: Any, leaf: Array) -> Array:
        # On the host: JAX would compile this for every `k`.
        common = any(covers(prefix, leaf_name(path)) for prefix in family.shared)
        return leaf if common else jax.device_put(np.asarray(leaf)[:k])

    def of_first(own: Array) -> Array:
        return jax.device_put(np.asarray(own)[(slice(k),) * own.ndim])

    own = [getattr(params, name) for name in kind.params._fields[:-1]]
    members = jax.tree_util.tree_map_with_path(first, params[-1])
    asked = dataclasses.replace(model, **{kind.field: size}), kind.params(*own, params[-1])
    few = kind.params(*map(of_first, own), members)
    return found._replace(fit=dataclasses.replace(found.fit, params=few), asked=asked)


@program(quickly=True)
def _draw(
    problem: Problem, key: PRNGKeyArray, counts: Array, restarts: Array, numbers: Array
) -> tuple[PyTree, PRNGKeyArray]:
    seeds, noise = keys_of(key, jax.lax.rem(numbers, restarts))
    model: Any = problem.model

    def one(seed, count):
        own = dataclasses.replace(model, structure=dataclasses.replace(model.structure, count=count))
        return init_of(own, seed, problem.data, problem.weights)

    return of_set_type(jax.vmap(one)(seeds, jnp.asarray(counts)[jax.lax.div(numbers, restarts)])), noise
