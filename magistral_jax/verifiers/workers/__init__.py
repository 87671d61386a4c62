"""Child processes that judge, so that a completion can hang or crash nothing but its worker.

    pool          threads, queue, deadlines and retries; what `role` submits jobs to
    process       one worker as the pool sees it: pipes and last output
    replies       what a worker says, checked
    fork_server   handles on the loaded processes that fork workers
    worker        what runs in those processes: the fork server's loop and the worker's
"""
