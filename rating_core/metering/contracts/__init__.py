"""What a shard knows and decides of contracts: subscriptions, money, statements (S8–S10)."""
