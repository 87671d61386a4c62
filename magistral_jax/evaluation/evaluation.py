"""An evaluation: held-out prompts, each sampled several times by one version of the weights."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from magistral_jax.evaluation.card import DOMAIN, FAILED
from magistral_jax.evaluation.estimators import classes, clustered_mean, maj_at_k, pass_at_k
from magistral_jax.records import Completion, Prompt, Verdict
from magistral_jax.verifiers.reward import same_answer


@dataclasses.dataclass(frozen=True)
class Result:
  """The figures of an evaluation.

  Result(version=40, problems=128, samples=4, accuracy=.91, accuracy_se=.02, pass_at={4: .97},
         maj_at={4: .93}, mean_tokens=31.5, statuses={'correct': 466, ...})
  """
  version: int
  problems: int
  samples: int
  accuracy: float                # pass@1, the mean over problems.
  accuracy_se: float             # Standard error over problems.
  pass_at: dict[int, float]
  maj_at: dict[int, float]
  mean_tokens: float
  statuses: dict[str, int]
  # Accuracy of every benchmark, whose items are not among the problems above.
  benchmarks: dict[str, float] = dataclasses.field(default_factory=dict)
  # (id, share of its samples that are correct) of every problem, to compare runs in pairs.
  per_problem: tuple[tuple[str, float], ...] = ()

  def figures(self) -> dict[str, Any]:
    """Those of a line of metrics.jsonl or stages.jsonl."""
    return {'eval/accuracy': self.accuracy, 'eval/accuracy_se': self.accuracy_se,
            'eval/version': self.version, 'eval/tokens_mean': self.mean_tokens,
            'eval/per_problem': [list(pair) for pair in self.per_problem],
            **{f'eval/{name}/accuracy': value for name, value in self.benchmarks.items()}}


class Evaluation:
  """Gathers the answers to held-out prompts; `result` gives the figures when all are there.

  Args:
    samples: completions of each prompt.
  """

  def __init__(self, prompts: Sequence[Prompt], samples: int):
    self.prompts, self.samples = prompts, samples
    self.answers: dict[tuple[int, int], tuple[Completion, Verdict]] = {}

  def add(self, completion: Completion, verdict: Verdict) -> None:
    """Takes one judged completion; one that comes again takes the place of the first."""
    self.answers[completion.ordinal, completion.sample] = (completion, verdict)

  @property
  def open(self) -> int:
    """Completions still to come."""
    return len(self.prompts) * self.samples - len(self.answers)

  def result(self) -> Result:
    """The figures. A verifier's failure counts as not solved and is one of the statuses.

    Those of the problems are over benchmarks' items where there are no others; the figure of a
    benchmark leaves out what could not be judged.

    Raises:
      RuntimeError: the completions were not all sampled by one version of the weights.
    """
    answers = lambda p: [self.answers[p.ordinal, i] for i in range(self.samples)]
    prompts = [p for p in self.prompts if p.problem.domain != DOMAIN] or self.prompts
    per_problem = list(map(answers, prompts))
    correct = [[v.status == 'correct' for _, v in pairs] for pairs in per_problem]
    versions = {version for c, _ in self.answers.values() for _, version in c.versions}
    if len(versions) != 1:
      raise RuntimeError(f'An evaluation must see one version of the weights and saw {versions}.')
    accuracy = clustered_mean(correct)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= self.samples]
    mean = lambda values: sum(values) / len(values)
    votes = [_votes(prompt, [v for _, v in pairs])
             for prompt, pairs in zip(prompts, per_problem, strict=True)]
    majority = lambda k: mean([
        maj_at_k(answers, right, k) for answers, right in zip(votes, correct, strict=True)])
    statuses = [v.status for pairs in per_problem for _, v in pairs]
    return Result(
        version=versions.pop(), problems=len(prompts), samples=self.samples,
        accuracy=accuracy.mean, accuracy_se=accuracy.standard_error,
        pass_at={k: mean([pass_at_k(self.samples, sum(c), k) for c in correct]) for k in ks},
        maj_at={k: majority(k) for k in ks},
        mean_tokens=mean([len(c.tokens) for pairs in per_problem for c, _ in pairs]),
        statuses={s: statuses.count(s) for s in sorted(set(statuses))},
        benchmarks=self._benchmarks(),
        per_problem=tuple((prompt.problem.id, mean(right))
                          for prompt, right in zip(prompts, correct, strict=True)))

  def _benchmarks(self) -> dict[str, float]:
    """The accuracy of every benchmark that has a response which could be judged."""
    values = collections.defaultdict(list)
    for prompt in self.prompts:
      if prompt.problem.domain == DOMAIN:
        verdicts = [self.answers[prompt.ordinal, i][1] for i in range(self.samples)]
        judged = [v.reward for v in verdicts if v.status not in FAILED]
        values[prompt.problem.source] += [judged] if judged else []
    return {name: clustered_mean(found).mean for name, found in values.items() if found}


def _votes(prompt: Prompt, verdicts: Sequence[Verdict]) -> list[str]:
  """The answers to a prompt, wrong ones that are equal in one spelling; right ones count as one.

  Only answers that were judged in time are compared, since this process cannot be killed for one.
  """
  judged = [v.answer if v.status in ('wrong', 'unparsable') else '' for v in verdicts]
  same = classes(judged, lambda a, b: same_answer(prompt.problem.domain, a, b))
  return [text or v.answer for v, text in zip(verdicts, same, strict=True)]
