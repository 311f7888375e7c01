class MissingCapabilityError(TypeError):
    """A rule needs something that the model does not supply; the message names the missing piece."""


class DataError(ValueError):
    """Data or arguments that a fit cannot use; the message names the argument and the offending row or value."""


class FitError(RuntimeError):
    """Every start of a fit failed."""


class PrecisionWarning(UserWarning):
    """Data were given in a higher precision than JAX computes in."""
