"""Station 5: turns batches into weights. Log-probabilities, losses, optimizer, checkpoints."""
