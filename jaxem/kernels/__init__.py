"""Pure array functions that everything hot goes through."""
