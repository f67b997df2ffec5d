"""Which event ids are known: tables, sorted runs, files (S7.1)."""
