"""What counters are made of: cells, tables, hashes in Redis (S6, P7)."""
