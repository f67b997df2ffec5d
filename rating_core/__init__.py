"""The pure rating core: plans and counters in, exact and explained amounts out."""
