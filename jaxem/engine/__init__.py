"""The engine: the door of data, a problem, the state of a run, the loop that moves it, the search over starts."""
