"""Sequenced producers: numbered batches, epochs, marks (P12, P13)."""
