from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.algorithms import em
from jaxem.engine.loop import run
from jaxem.engine.problem import Problem
from jaxem.engine.state import begin
from jaxem.init._init import AbstractInit, subsample
from jaxem.init.kmeans import KMeansPlusPlus


@final
class ShortRuns(AbstractInit):
    """The best of several short EM runs (em-EM of Biernacki, Celeux and Govaert 2003).

    **Arguments:**

    - `runs`: how many short runs for each start.
    - `steps`: iterations of each.
    - `base`: how the short runs start.
    - `rows`: at most so many rows (drawn anew for each start) are looked at.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(3, start=jaxem.init.ShortRuns(runs=5, steps=3))
    """

    runs: int = eqx.field(static=True, default=8)
    steps: int = eqx.field(static=True, default=5)
    base: AbstractInit = KMeansPlusPlus()
    rows: int = eqx.field(static=True, default=8192)

    def __call__(self, model, key, data, weights):
        k = model.structure.num_members
        data, weights = subsample(key, data, weights, max(self.rows, 32 * k), k)
        starts = jax.vmap(lambda own: self.base(model, own, data, weights))(jax.random.split(key, self.runs))
        problem = Problem.make(model, em(), data, weights, max_steps=self.steps, tol=-jnp.inf)
        lanes = jax.vmap(lambda params: run(problem, begin(problem, params, key)))(starts)
        objective = jnp.where(jnp.isfinite(lanes.iterate.objective), lanes.iterate.objective, -jnp.inf)
        return jax.tree.map(lambda leaf: leaf[jnp.argmax(objective)], lanes.iterate.params)
