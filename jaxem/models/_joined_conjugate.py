"""Posteriors of a structure joined to a family."""

from typing import final

import jax

from jaxem._conjugate import AbstractConjugate
from jaxem.structures._structure import AbstractStructure


@final
class JoinedConjugate(AbstractConjugate):
    """Posteriors of the structure's own parameters and of the members."""

    structure: AbstractStructure
    own: AbstractConjugate
    members: AbstractConjugate

    def posterior(self, stats):
        own, members = self.structure.split_natural(stats)
        return self.structure.join_posterior(self.own.posterior(own), self.members.posterior(members))

    def expected_natural(self, posterior):
        own, members = self.structure.split_natural(posterior)
        expected = self.own.expected_natural(own), self.members.expected_natural(members)
        return self.structure.join_natural(*expected)

    def mean(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join(self.own.mean(own), self.members.mean(members))

    def draw(self, key, posterior):
        own, members = self.structure.split_natural(posterior)
        keys = jax.random.split(key)
        return self.structure.join(self.own.draw(keys[0], own), self.members.draw(keys[1], members))

    def kl(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.own.kl(own) + self.members.kl(members)

    def unconstrain(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join_posterior(self.own.unconstrain(own), self.members.unconstrain(members))

    def constrain(self, free):
        own, members = self.structure.split_natural(free)
        return self.structure.join_posterior(self.own.constrain(own), self.members.constrain(members))

    def encode(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join_posterior(self.own.encode(own), self.members.encode(members))

    def decode(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join_posterior(self.own.decode(own), self.members.decode(members))
