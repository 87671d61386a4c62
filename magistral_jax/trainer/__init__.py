"""Batches in, weights out: log-probabilities, losses, optimizer, step, checkpoints."""
