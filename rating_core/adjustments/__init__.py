"""Adjustments: one step after the model a file (S4, S5)."""
