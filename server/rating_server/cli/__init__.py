"""The `ratewright` command; `entry.main` is its console script."""
