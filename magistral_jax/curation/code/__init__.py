"""Programming problems: from statements, solutions and tests to problems that can be judged.

    statements   the step `format`: a statement, tests that fit together, a solution
    programs     solutions, and running them on inputs in jails
    agreement    the step `agreement`: every solution on every test; tests dropped and repaired
    inputs       new inputs: mutations under the constraints that hold for all given ones
    generate     the step `generate`: new tests for problems with few of them
    languages    the steps `enough`, and `languages`: one problem for Python, one for C++

Reference: arXiv:2506.10910 section 4.2.
"""
