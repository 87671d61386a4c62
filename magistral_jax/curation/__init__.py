"""Raw problems to a clean training set: the room of `python -m magistral_jax.curate`.

    rows          a row, what a step decides on it, and the files rows come from
    pipeline      runs steps one after another; resumable, in bounded memory
    ledger        what became of every row: dropped, changed, funnel, and the final files
    funnel        the funnel as a table and a chart
    text          words, n-grams and keys of statements

    the steps, in their order:
    format        is it one complete problem with one verifiable answer?
    statements      its rules about statements
    choices         multiple choice as an open question
    golds           its rules about answers, and answers compared in killable workers
    dedup         the same problem twice
    decontaminate problems of an evaluation
    rates         difficulty and labels, from the solve rates of a model
    code/         programming problems: solutions, tests, languages
    translate     a share of the problems in other languages
    endpoint      a served model that rewrites, translates and generates
    commands      which steps a command line asks for

A step is a function of one row, `Decide`, that is opened on the file of all rows: what has to be
known about the whole file (duplicates, common phrases) is found in a pass before the first row.
"""
