"""Plans as documents: read, checked, compared, written (S2)."""
