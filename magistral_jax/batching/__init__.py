"""Completions in, packed batches out: groups, advantages, loss weights, rows. Never imports JAX."""
