"""How a fit is differentiated: the equation that its parameters solve, and the linear systems of its derivatives."""
