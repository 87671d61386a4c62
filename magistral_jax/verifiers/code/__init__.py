"""Programs: judged by running them on tests in jails.

    judge      check: the status of a program; where a completion with a program is judged
    programs   programs that read stdin: prepared, run, and how they ended
    calls      assertions and calls: the test in one jail, the program in another
    cpp        compiles C++ in a jail
    compare    compares a program's output with the expected one
    harness/   what runs inside the jails beside the program
"""
