"""Does a config fit its TPU pod, and how fast can it be? Parts of `python -m magistral_jax.plan`.

  chips.py     published figures of the chips; TPUs that are only described
  hlo.py       the text of a compiled program -> instructions
  cost.py      its FLOPs, bytes and collectives, each loop counted as often as it runs
  flops.py     the FLOPs that the mathematics asks for
  programs.py  the programs of a config, compiled
  sides.py     a plan for trainer and sampler: memory, time, the limit that binds
  report.py    plans as tables and as JSON, with advice on what to change
  table.py     plans of several configs in one table (a command)
"""
