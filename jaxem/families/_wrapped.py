from typing import Any

from jaxem.families._family import AbstractFamily


class AbstractWrapped(AbstractFamily):
    """Another family under a change of what is known of a row: parameters, prior and M-step are that family's."""

    family: Any

    def wrap(self, family: Any) -> "AbstractWrapped":
        """The same change of another family."""
        return type(self)(family)

    @property
    def parameters(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.family.parameters

    @property
    def conjugate(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.family.conjugate

    @property
    def shared(self) -> tuple[str, ...]:
        return self.family.shared

    @property
    def coupled(self) -> bool:
        return self.family.coupled

    def natural(self, params):
        return self.family.natural(params)

    def maximize(self, stats, params, frozen=()):
        return self.family.maximize(stats, params, frozen)

    def log_prior(self, params):
        return self.family.log_prior(params)

    def sample(self, key, params, labels):
        return self.family.sample(key, params, labels)

    # The posterior

    def require_prior(self):
        return self.family.require_prior()

    def posterior(self, stats):
        return self.family.posterior(stats)

    def expected_natural(self, posterior):
        return self.family.expected_natural(posterior)

    def posterior_mean(self, posterior):
        return self.family.posterior_mean(posterior)

    def draw(self, key, posterior):
        return self.family.draw(key, posterior)

    def kl(self, posterior):
        return self.family.kl(posterior)

    def unconstrain_posterior(self, posterior):
        return self.family.unconstrain_posterior(posterior)

    def constrain_posterior(self, free):
        return self.family.constrain_posterior(free)

    def encode_posterior(self, posterior):
        return self.family.encode_posterior(posterior)

    def decode_posterior(self, posterior):
        return self.family.decode_posterior(posterior)

    # Rows and members

    def read(self, x):
        return self.family.read(x)

    def check_members(self, count):
        self.family.check_members(count)

    # Coordinates and accuracy

    def unconstrain(self, params):
        return self.family.unconstrain(params)

    def constrain(self, free):
        return self.family.constrain(free)

    def blocks(self, free):
        return self.family.blocks(free)

    def redundant(self, params, frozen=()):
        return self.family.redundant(params, frozen)

    def bind(self, x, weights, reduce):
        return self.wrap(self.family.bind(x, weights, reduce))

    def encode(self, params):
        return self.family.encode(params)

    def decode(self, params):
        return self.family.decode(params)

    def at(self, params):
        return self.wrap(self.family.at(params))

    def translate(self, stats, source):
        return self.family.translate(stats, source.family)

    def loss(self, params, natural=None):
        return self.family.loss(params, natural)

    def accurate(self):
        family = self.family.accurate()
        return None if family is None else self.wrap(family)

    def degenerate(self, params):
        return self.family.degenerate(params)

    def empty(self, counts):
        return self.family.empty(counts)

    def for_starts(self):
        return self.wrap(self.family.for_starts())

    # The door of data

    @property
    def domains(self):
        return self.family.domains

    def check_shape(self, params, x, name="data"):
        self.family.check_shape(params, x, name)

    def mend(self, params, pooled, counts):
        return self.family.mend(params, pooled, counts)
