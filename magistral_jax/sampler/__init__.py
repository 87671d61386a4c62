"""Station 2: writes completions. Keeps every decode slot busy and never waits for the trainer.

    Prompt -> role.py (queue, slots, weights) -> engine.py (prefill, insert, generate) -> Completion
                 |                                  |
             slots.py (who sits where, whose page)  sampling.py (how a token is drawn)
"""
