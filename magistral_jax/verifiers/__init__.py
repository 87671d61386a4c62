"""Station 3: is the completion well formed, is it right, and what does that pay?

    response -format.gate-> thoughts | answer -VERIFIERS[domain]-> status -reward.score-> Verdict

`format` `math` (with `answers` `structure` `values` and what they use) `length` `language` `reward`
are pure functions. They run in `worker`, a child process that may be killed at any moment;
`nursery` forks new ones, `pool` owns them (`process`) and their deadlines, and `role` is what the
loop talks to. Answers are hostile input: every step is linear in their length or bounded before it
starts, and what still hangs costs one worker.
"""
