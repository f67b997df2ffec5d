"""Kernels: one charge model a file, each with its table entries and its compiled amount (S3)."""
