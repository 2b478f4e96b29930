"""Shorter thinking in the weights: rewards of length and examples to train on. Formulas and data, no torch."""
