"""Scripts that run inside the jails. They are copied there and never imported from here.

    script       runs a program that reads stdin and writes stdout
    answer       runs a program and answers calls to its functions, in the program's own process
    assertions   runs assertions and calls against it, from a jail of its own
    wire         how values cross between the two
"""
