"""Station 1: where problems come from, and how they reach the sampler as tokens.

    sources (arithmetic | jsonl | tfds) --Problem--> stream --prompts.render--> Prompt
        `--- several of them: mix ---'            `-> traces: worked examples for the cold start

`traces` are problems with responses, and conversations; `examples` makes them tokens.
`sources` lists what `data.source` may name. `finite` serves problems held in memory; `jsonl` and
`prepared` fill it from files. `builders` turn a JSONL file into a prepared data set.
"""
