"""From the columns of a batch to a status for each record (S7)."""
