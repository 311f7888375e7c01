"""Structures say which member of a family each row comes from: one, weights, a Markov chain, a gate of covariates."""
