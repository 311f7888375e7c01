"""What is asked of models by authors: the package's pass, and each broken promise is found."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import gammaln

import jaxem
from jaxem.latent import Categorical
from jaxem.testing import check_model
from jaxem.testing.family import FAMILY_LAWS
from jaxem.testing.model import MODEL_LAWS
from tests.helpers import engine
from tests.testing import waits


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("full", "poisson")), "function"]
)
def test_the_models_of_the_package_pass(name):
    case = engine.case(name)
    assert check_model(case.model, case.start, case.x[:60]) is None


@pytest.mark.slow
def test_rung_one_and_single_precision_pass():
    from tests.helpers.experts import START, Experts

    rng = np.random.default_rng(0)
    t, y = jnp.asarray(rng.uniform(-2, 2, 40)), jnp.asarray(rng.standard_normal(40))
    check_model(Experts(), START, (t, y), key=jax.random.key(3))
    case = engine.case("poisson")
    single = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float32), tree)  # noqa: E731
    check_model(case.model, single(case.start), single(case.x[:60]))


class Coins(jaxem.models.AbstractLinearModel):
    """Tosses of two coins, `[n, 1]` heads out of five, in equal shares; each fault breaks one promise."""

    fault: str = eqx.field(static=True, default="")
    structure: Any = Categorical()

    @property
    def latent(self):
        return self.structure

    def natural(self, params):
        return {"tail": jnp.log1p(-params), "head": jnp.log(params), "bonus": jnp.ones_like(params)}

    def potentials(self, natural, data):
        heads = data.T
        joint = natural["head"][:, None] * heads + natural["tail"][:, None] * (5 - heads)
        if self.fault == "not linear":
            joint = joint + 0.1
        if self.fault == "rows see each other":
            joint = joint * (1 + 0.1 * jnp.mean(heads))
        if self.fault == "cancels":
            joint = jnp.sqrt((joint + 1e6) ** 2) - 1e6
        return joint + np.log(0.5) * natural["bonus"][:, None]

    def log_base(self, data):
        heads = data[:, 0]
        possible = (heads >= 0) & (heads <= 5) & (heads == jnp.floor(heads))
        base = gammaln(6.0) - gammaln(heads + 1) - gammaln(6 - heads)
        return jnp.where(possible, 0 if self.fault == "no base" else base, -jnp.inf)

    def maximize(self, stats, params):
        heads, tails = stats["head"], stats["tail"]
        if self.fault == "minimises":
            return 0.5 * params + 0.01
        if self.fault == "stops short":
            return 0.5 * (params + heads / (heads + tails))
        best = heads / (heads + tails)
        # Right on the first statistics it is given, near the start alone.
        return jnp.where(jnp.abs(params - START).max() < 0.2, best, 0.5) if self.fault == "forgets" else best

    def unconstrain(self, params):
        return jnp.log(params) - jnp.log1p(-params)

    def constrain(self, free):
        shift = 0.01 if self.fault == "no inverse" else 0.0
        return jax.nn.sigmoid(free + shift)

    def init(self, key, data, weights):
        return START

    def sample(self, key, params, n):
        coin = jax.random.bernoulli(key, 0.5, (n,)).astype(int)
        bias = params[::-1] if self.fault == "other draws" else params
        bias = 0.8 * bias if self.fault == "other draws" else bias
        heads = jax.random.binomial(jax.random.fold_in(key, 1), 5.0, bias[coin], dtype=params.dtype)[:, None]
        if self.fault == "flat draws":
            return heads[:, 0], coin
        return (jnp.full_like(heads, jnp.nan) if self.fault == "impossible draws" else heads), coin


class Tempered(Categorical):
    """Moments that are no gradient of the log-normalizer."""

    def expectation(self, potentials):
        return super().expectation(0.9 * potentials)[0], super().expectation(potentials)[1]


class Unweighted(Categorical):
    def weigh(self, moments, weights):
        return moments


START = jnp.array([0.3, 0.6])
HEADS = jnp.asarray(np.random.default_rng(0).binomial(5, np.where(np.arange(30) % 3, 0.1, 0.9)).astype(float))[:, None]


@pytest.mark.slow
def test_a_sound_model_passes():
    check_model(Coins(), START, HEADS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Coins("no inverse"), r"coordinates: constrain\(unconstrain\(params\)\) differs from params, by 0.0"),
        (Coins("not linear"), "statistics: linearity: potentials are not linear"),
        (
            Coins("rows see each other"),
            "statistics: additivity: statistics of all rows differ from the sum over two halves",
        ),
        (
            Coins(structure=Unweighted()),
            "statistics: additivity: weights 0 and 2 differ from dropping and repeating rows",
        ),
        (
            Coins(structure=Tempered()),
            "statistics: Fisher's identity: the gradients of Q and of the log-likelihood differ, by",
        ),
        (Coins("minimises"), r"statistics: maximisation: maximize\(stats\) lowers Q, by"),
        (Coins("stops short"), r"statistics: maximisation: Q is not stationary at maximize\(stats\), by"),
        (Coins("forgets"), "ascent: the objective falls within five iterations, by"),
        (Coins("cancels"), "precision: log_prob in float32 differs from float64, by"),
        (Coins("flat draws"), r"sampling: 7 draws have shape \(7,\), while rows of the data have \(7, 1\)"),
        (Coins("no base"), "sampling: the density of the model integrates to .*, not to 1, by"),
        (Coins("other draws"), "sampling: sample does not draw from the density: .* differs, by"),
        (Coins("impossible draws"), "sampling: draws that the model holds impossible, by 7"),
    ],
)
def test_each_broken_promise_is_found(model, words):
    with pytest.raises(AssertionError, match=words) as found:
        check_model(model, START, HEADS, skip=[law for law in MODEL_LAWS if not words.startswith(law)])
    assert re.search(r"\d", str(found.value))


@pytest.mark.slow
def test_faults_of_the_family_are_found_through_the_model():
    params = jaxem.models.MixtureParams(jnp.array([0.3, 0.7]), jax.tree.map(jnp.asarray, waits.PARAMS))
    laws = [law for law in FAMILY_LAWS if law not in ("coordinates", "constant", "integral")]
    for fault in ("blocks", "constant", "normalizer"):
        law, words = waits.FAULTS[fault]
        with pytest.raises(AssertionError, match=rf"- {law}: .*{words}"):
            check_model(
                jaxem.Mixture(waits.Waits(fault), 2),
                params,
                jnp.asarray(waits.ROWS),
                skip=[*(law for law in laws if law != "latent"), "ascent", "statistics", "latent", "precision"],
            )


@pytest.mark.slow
def test_what_freeze_names_must_stay():
    class Restless(Coins):
        frozen: tuple[str, ...] = eqx.field(static=True, default=())

    with pytest.raises(AssertionError, match="- frozen: maximize moves the parameter, which is frozen, by"):
        check_model(Restless(), START, HEADS, skip=("statistics", "ascent", "sampling", "latent"))


@pytest.mark.slow
def test_a_wrong_number_of_parameters_is_found():
    class Counted(Coins):
        def num_parameters(self, params):
            return 3

    with pytest.raises(
        AssertionError, match="- parameters: num_parameters is 3, but the likelihood tells 2 directions"
    ):
        check_model(Counted(), START, HEADS, skip=("statistics", "ascent", "sampling", "latent"))


@pytest.mark.slow
def test_a_density_that_is_not_finite_is_found():
    def log_joint(params, x, z):
        return jnp.where(x > 0, -((x - params) ** 2), jnp.nan)

    model = jaxem.FunctionModel(log_joint, 2, jnp.array(0.5))
    with pytest.raises(AssertionError, match=r"not finite: .*by nan"):
        check_model(model, jnp.array(0.5), jnp.arange(5.0))
