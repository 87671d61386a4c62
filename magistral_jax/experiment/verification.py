"""Rewards and limits of verifiers for commands that need no experiment."""

import os

# Those of the paper (arXiv:2506.10910); those that it does not print are ours.
DEFAULTS = dict(
    verifiers=dict(
        format=0.1, correct=0.9, length_max=0, language=0.1, language_model='', queue=1024,
        timeout_s=1.5, memory_mb=1024, sandbox='bubblewrap', code_reward='all', code_tests=20,
        test_timeout_s=4.0, test_memory_mb=300),
    runtime=dict(verifier_workers=os.cpu_count() or 1))
