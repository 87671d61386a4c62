"""ARC-Challenge: those questions that simple methods answer wrongly."""

from magistral_jax.evaluation.benchmarks.arc_easy import card

CARD = card('arc_challenge', '1,172', 'ARC-Challenge', mixtral=59.7, mistral=54.9)
