"""The Ratewright service: ports, use cases, servicers, the store, and the composition root."""
