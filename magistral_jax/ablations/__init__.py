"""Sweeps: variants of an experiment with several seeds, held against what a paper found.

    sweep_file.py   what a sweep file says, checked
    runs.py         the commands of a sweep, for the walker of recipe/walk.py
    measures.py     the figures of one run, from the files that it left
    comparison.py   means over seeds, paired differences, and what they say of a finding
    page.py         results.md
    pictures.py     its curves
"""
