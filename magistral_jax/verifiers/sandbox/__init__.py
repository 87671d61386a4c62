"""Jails for programs that a model wrote: what they may see, do and use.

    sandbox     Sandbox: starts programs in jails; what is promised and what is not
    jail        the command line of bubblewrap, and of the limits inside
    seccomp     the filter of system calls
    supervise   Running: watches a program's process tree and kills it at a limit
    usage       Meter: CPU time, memory and threads of a process tree
    toolchain   bubblewrap, the interpreter and the libraries of this machine
"""
