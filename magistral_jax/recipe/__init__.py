"""Magistral in miniature: the whole recipe, one command of the package after the other.

    legs.py        which commands, in their order
    walk.py        runs them; what is done is done, what was killed goes on
    scores.py      evaluated models: accuracy of each domain, and differences with their errors
    results.py     results.json out of the files of a walk
    page.py        report.md: the figures beside the paper's
    pictures.py    its images
"""
