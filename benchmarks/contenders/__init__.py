"""One module per contender.

Each has ``TASKS``, a mapping from the name of a task to a class. An instance is made from the task's
specification (a dict), which imports, builds data and warms up; ``repetition()`` then does the work once and
returns a dict that JSON can hold. Workers call them, each in a process of its own.
"""
