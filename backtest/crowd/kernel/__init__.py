"""Compiled parts of the simulated venue: arrays and numbers in, arrays and numbers out."""
