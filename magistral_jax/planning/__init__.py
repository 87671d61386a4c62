"""Does a config fit its TPU pod, and how fast can it be? Parts of `python -m magistral_jax.plan`.

  chips.py     what the chips can do, as published; TPUs that are only described
  hlo.py       reads what the compiler made of a program
  cost.py      its FLOPs, bytes and collectives, loops counted as often as they turn
  flops.py     what the mathematics asks for
  programs.py  the programs of a config, compiled
  report.py    what they amount to: memory, time, what binds, what to change
  table.py     plans of several configs in one table
"""
