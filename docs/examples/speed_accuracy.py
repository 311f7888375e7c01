"""Guessing fast or answering with care: a hidden Markov model whose transitions depend on what accuracy pays.

439 trials of a lexical decision task in three series, of participant A in experiment 1a of Dutilh, Wagenmakers, Visser
and van der Maas (2011), Cognitive Science 35, 211-250: the data set `speed` of the R package depmixS4 (Visser and
Speekenbrink 2010, Journal of Statistical Software 36(7)). Columns: the series, the response time in milliseconds,
whether the answer was correct, and the share of the pay-off that was for accuracy, which the experimenters moved up and
down.
"""

from pathlib import Path

import jax
import numpy as np

import jaxem
from jaxem.models import Driven
from jaxem.structures import SoftmaxTransitions

EMISSION = jaxem.Product({"log_time": jaxem.Gaussian(), "correct": jaxem.Bernoulli()})


def data() -> Driven:
    """The three series, with the pay-off that a transition sees: that of the trial before it, as in depmixS4."""
    table = np.loadtxt(Path(__file__).parent / "speed_accuracy.csv", delimiter=",", skiprows=1)
    series = [table[table[:, 0] == number] for number in (1, 2, 3)]
    rows = jaxem.Sequences.of([{"log_time": np.log(own[:, 1:2]), "correct": own[:, 2:3]} for own in series])
    covariates = np.ones((*rows.shape, 2))
    for into, own in zip(covariates, series, strict=True):
        into[1 : len(own), 1] = own[:-1, 3]
    return Driven(rows, covariates)


def fits(restarts: int = 8):
    """The model without the pay-off, and with it."""
    both = data()
    plain = jaxem.HMM(EMISSION, num_states=2)
    driven = jaxem.HMM(EMISSION, num_states=2, transitions=SoftmaxTransitions())
    options = {"key": jax.random.key(0), "restarts": restarts, "max_steps": 3000}
    return (plain, both.rows, jaxem.fit(plain, both.rows, **options)), (
        driven,
        both,
        jaxem.fit(driven, both, **options),
    )


def main():
    (plain, rows, without), (driven, both, fit) = fits()
    for name, model, own, found in (("constant", plain, rows, without), ("pay-off", driven, both, fit)):
        value, bic = float(found.log_likelihood), float(jaxem.bic(model, found.params, own))
        print(f"{name:10} log-likelihood {value:10.4f}   BIC {bic:8.2f}   {jaxem.status_name(found.status)}")
    slow = int(np.argmax(fit.params.emission["log_time"].mean[:, 0]))
    for state in (1 - slow, slow):
        mean = np.exp(float(fit.params.emission["log_time"].mean[state, 0]))
        correct = float(fit.params.emission["correct"].probability[state, 0])
        constant, slope = np.asarray(fit.params.transition)[state, 0]
        print(
            f"{'slow' if state == slow else 'fast'}: {mean:.0f} ms, {correct:.0%} correct; log odds of leaving "
            f"{constant:.2f} {slope:+.2f} pay-off, even at a pay-off of {-constant / slope:.2f}"
        )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
