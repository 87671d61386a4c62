"""Station 4: turns completions into packed batches. Never imports JAX."""
