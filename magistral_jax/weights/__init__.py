"""Station 6: from trainer to sampler. The policy's weights, resharded and always copied."""
