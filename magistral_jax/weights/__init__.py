"""From trainer to sampler: the policy's weights, resharded and always copied."""
