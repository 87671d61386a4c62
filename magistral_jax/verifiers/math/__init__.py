r"""Mathematical answers: judged by comparing them with the problem's own, the gold answer.

    equivalence   check: the status of an answer; where a boxed answer is judged. Its table says
                  what counts as equal
    echo copies   answers that only repeat an expression of the problem

    text to value, in the order of use:
    answers       one spelling per answer: layout, signs, commands
    structure     the outer form: list, set, tuple, interval, matrix, equation
    matrices      the cells of a matrix, a determinant written out
    equations     the sides of an equation: names and values
    limits        what a comparison of forms may cost
    intervals     unions, differences and intersections of intervals in one form
    words spoken dates units   answers and numbers in words, dates, times, quantities with units
    values        single values: which rule compares them
    notation expression   the grammar of LaTeX expressions, and its parser
    trees         the parsed trees, their size limits and exact values
    symbolic      trees evaluated by SymPy, to a fixed number of digits
"""
