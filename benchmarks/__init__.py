"""Benchmarks: each runs its peer beside it in the same process or minute and prints the ratio."""
