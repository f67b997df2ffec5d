"""Commitments of a contract: over terms, by the hour, prepaid, with rollover (S5)."""
