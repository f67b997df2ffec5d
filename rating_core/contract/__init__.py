"""Contracts in time: parts, terms, promotions, late usage and credits of one customer (S5, S8–S10).

Pure values and functions. What a contract says (`values`) and what was counted and booked (`usage`)
come in; statements that explain themselves go out. The shard's state machine, previews and
scenarios call the same functions.
"""
