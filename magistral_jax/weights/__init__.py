"""Between trainer and sampler: the policy's weights, laid out anew and always copied."""
