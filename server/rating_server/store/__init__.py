"""The store: Redis as the holder of the logs and folds, and the embedded Valkey (DESIGN §6, §8)."""
