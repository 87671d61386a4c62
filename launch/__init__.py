"""Starting magistral_jax elsewhere: the commands behind tpu.py. README.md walks through it."""
