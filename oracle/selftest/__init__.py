"""How good the checker is, measured: bugs that it must catch, honest implementations that it must not accuse."""
