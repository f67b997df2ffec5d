"""Scenarios: contracts over time on a virtual clock, without a server (S12.2).

A scenario file says what happens to one customer and what must come of it. The runner puts every
step through the state machine of a shard and the pipeline that price real statements.
"""
