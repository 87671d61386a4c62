"""Station 3: whether a completion is well formed and right, and what reward that earns.

    response -format.gate-> thoughts | answer -VERIFIERS[domain]-> status -reward.score-> Verdict

    role       Verifier: what the loop talks to
    reward     score: a completion's Verdict; VERIFIERS: which check judges which domain
    format     the gates: thinking tags, then a box or a program
    length     the length penalty
    language   whether problem, thoughts and answer are in one language
    math/      where a boxed answer is judged
    code/      where a program is judged
    sandbox/   jails for programs
    workers/   the child processes that all of this runs in

reward, format, length, language, math and code are pure functions of the completion, but that code
runs programs. They run in a worker, which may be killed at any moment. Answers are hostile input:
every step is linear in their length or bounded before it starts, and an answer that still hangs
costs one worker.
"""
