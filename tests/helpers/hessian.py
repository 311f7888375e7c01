"""The information of a cell of the product by automatic differentiation."""

import jax

from jaxem._coordinates import vector


def by_hessian(cell):
    """Minus the Hessian of the objective in unconstrained coordinates."""
    here, at = vector(cell.model, cell.start)

    def objective(u):
        return cell.model.log_likelihood(at(u), cell.x, cell.weights) + cell.model.log_prior(at(u)).astype(u.dtype)

    return -jax.jit(jax.hessian(objective))(here)
