"""The whole loop as events in time, without arrays: how fast is it on so many machines?

  system.py  what is simulated: sizes, times, distributions of lengths
  inputs.py  a system out of a config, or out of the files of a run
  events.py  the simulation: one system -> its figures
  sweep.py   other systems of the same chips, and which of them is best
  report.py  figures as tables
  plots.py   figures as charts
"""
