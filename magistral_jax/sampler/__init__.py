"""Station 2: samples completions, keeps every decode slot busy, never waits for the trainer.

    Prompt -> role.py (queue, slots, weights) -> engine.py (prefill, insert, generate) -> Completion
                 |                                  |
             slots.py (sequences and their pages)   sampling.py (drawing a token)
"""
