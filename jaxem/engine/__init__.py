"""The engine: a problem, the state of a run, and the loop that takes one to the other."""
