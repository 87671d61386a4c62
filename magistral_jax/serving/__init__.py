"""The sampler behind HTTP: requests in, tokens with log-probabilities and weight versions out.

    body  ->  query  ->  job: sequences in slots  ->  pieces of choices  ->  answer
    bodies    query*     host (a thread), jobs        choices, text          answers, api
"""
