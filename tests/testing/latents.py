"""Every latent structure with potentials of a few observations, and others under other parameters; and faulty ones."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from jaxem import latent
from jaxem.latent import AbstractChoice, AbstractLatent
from jaxem.latent.continuous import ContinuousPotentials

N = 4


class Case(NamedTuple):
    latent: Any
    potentials: Any
    other: Any


def _both(latent, make):
    return Case(latent, make(np.random.default_rng(0)), make(np.random.default_rng(1)))


def _definite(rng, *shape):
    root = rng.standard_normal((*shape, shape[-1]))
    return root @ np.swapaxes(root, -1, -2) + 0.5 * np.eye(shape[-1])


def _gaussian(rng, *lead, q=2):
    return latent.GaussianPotentials(
        rng.standard_normal(lead), rng.standard_normal((*lead, q)), _definite(rng, *lead, q)
    )


def _gamma(rng, *lead):
    return latent.GammaScaleTree(
        rng.standard_normal(lead),
        1 + rng.gamma(2.0, 1.0, lead),
        0.3 + rng.gamma(1.0, 1.0, lead),
        -rng.gamma(1.0, 2.0, lead),
    )


_LOWER = np.array([-np.inf, 0.2, -1.0, -np.inf])
_UPPER = np.array([0.2, np.inf, 1.5, np.inf])


def _truncated_normal(rng, *lead):
    h, precision = rng.standard_normal((*lead, N)), rng.uniform(0.5, 2.0, (*lead, N))
    both = np.isfinite(_LOWER) & np.isfinite(_UPPER)
    return latent.TruncatedNormalPotentials(
        rng.standard_normal((*lead, N)),
        h,
        precision,
        precision * _LOWER - h,
        h - precision * _UPPER,
        np.where(both, precision * np.where(both, _UPPER - np.where(both, _LOWER, 0), 0), 0),
    )


def _truncated_exponential(rng, *lead):
    h, width = -rng.uniform(0.5, 2.0, (*lead, N)), np.array([np.inf, 1.0, 2.5, np.inf])
    ends = np.where(np.isinf(width), -np.inf, h * np.where(np.isinf(width), 1, width))
    return latent.TruncatedExponentialPotentials(rng.standard_normal((*lead, N)), h, ends)


def _missing(rng):
    hidden = np.array([[1, 0, 1, 1], [1, 1, 0, 0]])[:, None]  # [q, b, n]
    precision = np.moveaxis(_definite(rng, 1, N, 2), (-2, -1), (0, 1)) * hidden[:, None] * hidden[None]
    return latent.GaussianPotentials(rng.standard_normal(N), rng.standard_normal((2, 1, N)) * hidden, precision)


def _chain(rng, ragged=True, shared=False, by_step=False):
    k, steps = 3, 4
    transition = np.log(rng.dirichlet(np.ones(k), (k, 1 if shared else N)))
    transition = np.broadcast_to(np.moveaxis(transition, -1, 1), (k, k, N))
    if by_step:
        transition = np.moveaxis(np.log(rng.dirichlet(np.ones(k), (k, N, steps - 1))), -1, 1)
    ended = np.where(np.arange(steps)[None] < np.array([4, 1, 3, 2])[:, None], -np.inf, 0)
    silent = np.full((N, steps), -np.inf)
    silent[0, 1] = 0
    return latent.ChainTree(
        np.log(rng.dirichlet(np.ones(k), N).T),
        transition,
        rng.standard_normal((k, N, steps)),
        ended if ragged else None,
        silent if ragged else None,
    )


def _gaussian_chain(rng, entries=False):
    q, d, steps = 2, 2, 3
    there = (np.arange(steps)[None] < np.array([3, 2, 1, 3])[:, None]).astype(float)
    normal = rng.standard_normal
    hidden = np.zeros((N, steps, d))
    hidden[0, 1, 0] = hidden[0, 2] = hidden[1, 0, 1] = 1
    mask = hidden[..., :, None] * hidden[..., None, :]
    extra = latent.Entries(
        mask * _definite(rng, N, steps, d),
        0.3 * hidden[..., None] * normal((N, steps, d, q)),
        hidden * normal((N, steps, d)),
    )
    return latent.GaussianChainTree(
        there * normal((N, steps)),
        there,
        _definite(rng, N, q),
        _definite(rng, N, q),
        0.3 * normal((N, q, q)),
        _definite(rng, N, q),
        there[..., None] * normal((N, steps, q)),
        there[..., None, None] * _definite(rng, N, steps, q),
        there[..., None] * normal((N, steps, q)),
        extra if entries else None,
    )


def _topics(rng):
    counts = np.array([[3.0, 1, 2], [1, 4, 0], [2, 2, 2], [5, 0, 1]])
    words = np.log(np.moveaxis(rng.dirichlet(np.ones(3), (N, 2)), 1, 2)) * counts[..., None]
    return latent.MeanFieldTree(words, counts, rng.uniform(1.0, 2.0, (N, 2)), rng.standard_normal(N))


def _levels(params, row, z):
    return norm.logpdf(z, 0.0, params["between"]) + jnp.sum(norm.logpdf(row, params["mean"] + z, 0.6))


def _continuous(rng):
    rows = np.random.default_rng(2).standard_normal((N, 3))
    return ContinuousPotentials({"mean": rng.uniform(0, 1), "between": rng.uniform(0.5, 1)}, rows)


def latents():
    """All of them by name."""
    gaussian, gamma = latent.GaussianLatent(), latent.GammaScale()

    def several(rng, lead=(2, N)):
        own = _gaussian(rng, *lead), _gamma(rng, *lead)
        return latent.SeveralTree(rng.standard_normal((2, N)), own)

    return {
        "categorical": _both(latent.Categorical(), lambda rng: 2 * rng.standard_normal((3, N))),
        "chain": _both(latent.Chain(), lambda rng: _chain(rng)),
        "chain-shared": _both(latent.Chain(shared=True), lambda rng: _chain(rng, False, True)),
        "chain-by-step": _both(latent.Chain(), lambda rng: _chain(rng, by_step=True)),
        "gaussian": _both(gaussian, lambda rng: _gaussian(rng, N)),
        "gaussian-members": _both(gaussian, lambda rng: _gaussian(rng, 2, N, q=7)),
        "gamma": _both(gamma, lambda rng: _gamma(rng, N)),
        "gamma-members": _both(gamma, lambda rng: _gamma(rng, 2, N)),
        "truncated-normal": _both(latent.TruncatedNormal(), lambda rng: _truncated_normal(rng)),
        "truncated-exponential": _both(latent.TruncatedExponential(), lambda rng: _truncated_exponential(rng, 2)),
        "missing": _both(latent.MissingBlock(), _missing),
        "nested": _both(
            latent.Nested(latent.Categorical(), gaussian),
            lambda rng: latent.NestedTree(rng.standard_normal((2, N)), _gaussian(rng, 2, N)),
        ),
        "nested-chain": _both(
            latent.Nested(latent.Chain(), gamma),
            lambda rng: latent.NestedTree(_chain(rng, False), _gamma(rng, 3, N, 4)),
        ),
        "independent": _both(latent.Independent((gaussian, gamma)), several),
        "unlike": _both(latent.Unlike((gaussian, gamma)), lambda rng: several(rng, (1, N))),
        "gaussian-chain": _both(latent.GaussianChain(), _gaussian_chain),
        "gaussian-chain-entries": _both(latent.GaussianChain(), lambda rng: _gaussian_chain(rng, True)),
        "topics": _both(latent.MeanField(5000, 1e-11), _topics),
        "continuous": _both(latent.Continuous(log_joint=_levels), _continuous),
    }


# Faulty ones


class LevelTree(NamedTuple):
    """Coefficients of `z` and `-z^2 / 2`, `[...]`."""

    linear: Any
    precision: Any


class Level(AbstractLatent):
    """A normal number for each observation; each fault breaks one promise."""

    fault: str = eqx.field(static=True, default="")

    @property
    def lacks(self):
        return ("mode",) if self.fault == "lacks" else ()

    def expectation(self, potentials):
        h, precision = potentials
        if self.fault == "neighbours":
            h = h + 0.01 * jnp.roll(h, 1, -1)
        mean = h / precision
        value = h * mean / 2 - jnp.log(precision) / 2 + 0.919
        if self.fault == "derivative rule":
            value = _wrong_rule(h, precision)
        if self.fault == "cancels":
            value = (value + 1e6) - 1e6
        if self.fault == "unsafe":
            value = value + jnp.where(precision > 0, 0.0, jnp.sqrt(precision - precision))
        second = mean**2 if self.fault == "moments" else mean**2 + 1 / precision
        if self.fault == "axes":
            value = jnp.sum(value, tuple(range(value.ndim - 1)))
        return LevelTree(mean, -second / 2), value

    def log_normalizer(self, potentials):
        return self.expectation(potentials)[1] + (0.01 if self.fault == "two normalizers" else 0.0)

    def mode(self, potentials):
        z = potentials.linear / potentials.precision * (0.8 if self.fault == "mode" else 1)
        found = LevelTree(z, -(z**2) / 2)
        return found, self.pair(potentials, found) + (0.1 if self.fault == "mode value" else 0)

    def sample(self, key, potentials):
        h, precision = potentials
        noise = jax.random.normal(key, h.shape, h.dtype) * {"narrow": 0.8, "no spread": 0.0}.get(self.fault, 1.0)
        z = h / precision + noise / jnp.sqrt(precision) + (0.1 if self.fault == "biased" else 0)
        if self.fault == "no spread":
            return self.expectation(potentials)[0]
        return LevelTree(z, -(z**2) / 2)

    def average(self, key, potentials, draws, most):
        found = super().average(key, potentials, draws, most)
        return jax.tree.map(lambda leaf: 0.9 * leaf, found) if self.fault == "average" else found

    def pair(self, potentials, moments):
        half = 0.5 if self.fault == "pair" else 1
        return potentials.linear * moments.linear + half * potentials.precision * moments.precision

    def weigh(self, moments, weights):
        return moments if self.fault == "weigh" else super().weigh(moments, weights)

    def map_rows(self, fn, tree):
        return jax.tree.map(lambda leaf: fn(leaf, 0), tree) if self.fault == "map_rows" else super().map_rows(fn, tree)


@jax.custom_jvp
def _wrong_rule(h, precision):
    return h**2 / precision / 2 - jnp.log(precision) / 2 + 0.919


@_wrong_rule.defjvp
def _(primals, tangents):
    h, precision = primals
    mean = h / precision
    slope = mean * tangents[0] - (mean**2 + 1 / precision) / 2 * tangents[1]
    return _wrong_rule(h, precision), 1.1 * slope


LEVELS = LevelTree(np.array([0.5, -1.0, 2.0, 0.3]), np.array([1.0, 2.0, 0.7, 1.5]))
OTHERS = LevelTree(np.array([0.1, 1.0, 1.0, -0.3]), np.array([1.5, 1.0, 0.9, 1.1]))
# Which law finds which fault, and the words of its message.
FAULTS = {
    "moments": ("moments", "the gradient of the log-normalizer is not the moments, by"),
    "two normalizers": ("moments", "log_normalizer differs from what expectation gives, by 0.01"),
    "derivative rule": ("differences", "the derivative of the log-normalizer along the potentials differs from finite"),
    "unsafe": ("moments", "the gradient of the log-normalizer: .* not finite"),
    "neighbours": ("observations", "observations in another order have other log-normalizers"),
    "pair": ("pairing", "pair does not add up all products, by"),
    "weigh": ("pairing", r"weigh \(or scale\) does not give each observation its weight"),
    "axes": ("axes", r"potentials with leading axes \[k, n\] are not those of k times n observations"),
    "cancels": ("precision", "float32 differs from float64, by"),
    "mode": ("mode", "moments at a low temperature lie above mode, by"),
    "mode value": ("mode", r"the potential of mode is not pair\(potentials, mode\), by 0.1"),
    "narrow": ("sampling", "exp of the potentials of draws|draws of the statistics.precision have another mean"),
    "no spread": ("sampling", "exp of the potentials of draws .* have another mean"),
    "biased": ("sampling", "draws of the statistics.linear have another mean than they should, by"),
    "average": ("average", "averages of draws.linear have another mean"),
    "lacks": ("lacks", "`lacks` names mode, which is there"),
}


class Choice(AbstractChoice):
    """One of `k` classes; each fault breaks one promise."""

    fault: str = eqx.field(static=True, default="")

    def expectation(self, potentials):
        if self.fault == "all impossible":
            value = jax.scipy.special.logsumexp(potentials, 0)
            return jnp.exp(potentials - value[None]), value
        if self.fault == "zeros kept out":
            potentials = jnp.maximum(potentials, -30.0)
        return latent.Categorical().expectation(potentials)

    def mode(self, potentials):
        if self.fault == "mode of another":
            found, _ = latent.Categorical().mode(-potentials)
            return found, self.pair(potentials, found)
        return latent.Categorical().mode(potentials)

    def sample(self, key, potentials):
        if self.fault == "soft draws":
            return self.expectation(potentials)[0]
        return latent.Categorical().sample(key, 1.3 * potentials if self.fault == "sharp draws" else potentials)

    def weigh(self, moments, weights):
        return moments * weights[None]

    def pair(self, potentials, moments):
        if self.fault == "infinite pair":
            return jnp.sum(potentials * moments, 0)
        return latent.Categorical().pair(potentials, moments)

    def entropy(self, moments):
        return latent.Categorical().entropy(moments) / (np.log(2) if self.fault == "bits" else 1)

    def attach(self, potentials, value):
        return potentials + (2 if self.fault == "attach" else 1) * value

    def local(self, moments):
        return moments[::-1] if self.fault == "local" else moments

    def given(self, potentials, moments):
        return 0.5 * moments if self.fault == "given" else moments


CHOICES = {
    "all impossible": ("choice", "moments where all states are impossible: .* not finite"),
    "zeros kept out": ("choice", "moments of a state of potential minus infinity where one state is, by"),
    "mode of another": ("mode", "a draw has a larger potential than mode|moments at a low temperature lie above mode"),
    "soft draws": ("sampling", "exp of the potentials of draws"),
    "sharp draws": ("sampling", "draws of the statistics have another mean"),
    "infinite pair": ("pairing", "pair"),
    "bits": ("entropy", "entropy differs from log_normalizer - <potentials, moments>, by"),
    "attach": ("choice", "local is not the gradient in what attach adds, by"),
    "local": ("choice", "local is not the gradient in what attach adds, by"),
    "given": ("choice", r"given\(local\(moments\)\) is not the moments, by"),
}
