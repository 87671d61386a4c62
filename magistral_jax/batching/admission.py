"""Admission: whether another group may start. No threads and no clocks; P is prompts_per_batch.

orchestration/ledger.py and simulation/ call this same code. Three limits, each of which alone can
refuse:

  in flight   n_async sequences over all samplers (`sampler.in_flight`; 0: as many as the slots
              hold). It paces the samplers, and staleness follows: about n_async / n_batch versions.
  backlog     groups that are sampled and not trained: complete ones, and as many as the completions
              make up that no verifier has begun to judge. At most `batching.backlog_batches` * P,
              beside the P of the batch that the trainer works on or waits for. The only thing by
              which trainer and verifiers hold samplers: never while both keep up, however long a
              verdict takes, for what is being judged does not count.
  staleness   `batching.max_staleness`, S versions; 0: none. A guarantee, and a tight one costs
              idle slots.

Why S holds. A group s is issued by a sampler whose weights are `lag` versions behind the trainer's,
so no token of it is older than that, and it must be trained before S - lag more updates are over.
Batches are cut in the order of issue (backlog.py). So the groups that are trained before s, or with
it, are either unsettled when s is issued, or issued while s is in flight, or share its batch: those
issued after s has landed never overtake it. Call the first two kinds, without those that are
filtered or fail, C_s. Whole batches of P before its own take k P <= C_s groups, so k <= S - lag if

  C_s <= (S - lag + 1) P - 1.

A group n may therefore start if that holds for n itself, with everything unsettled as its C_n, and
goes on holding with one more group for every s in flight. C_s grows by 1 with each issue and falls
by 1 with each group that is dropped (filtered, failed, stale, issued again), the same for all s. So
with G = issues - drops so far, C_s = C_s at its issue + G - G at its issue, and

  bound_s = (S - lag + 1) P - 1 - (C_s at its issue) + (G at its issue)

is a constant of s: n may start if G + 1 <= the least bound in flight, which a heap knows.

Admission cannot stall: with nothing in flight and no whole batch waiting, fewer than P groups are
unsettled, which is allowed for any lag up to S; a sampler further behind waits for its weights.

The premises: versions of a sampler never fall while a group is in flight, and every update trains
one whole batch. A trainer that is set back to a checkpoint counts its versions from there again,
and the updates that are undone stay counted in C_s, which is safe. Where a premise breaks all the
same, `Backlog.expire` takes the group out and its fate is 'stale', which the metrics count.
"""

from __future__ import annotations

import dataclasses
import heapq


@dataclasses.dataclass(frozen=True)
class Pace:
  """Limits of admission.

  Pace(group_size=16, prompts_per_batch=128, in_flight=2048, backlog_batches=1, max_staleness=0)
  """
  group_size: int
  prompts_per_batch: int
  in_flight: int            # Sequences over all samplers; 0: as many as their slots hold.
  backlog_batches: int      # Batches' worth of sampled groups beside the trainer's own batch.
  max_staleness: int        # Versions; 0: no guarantee.

  def expected_staleness(self, slots: int) -> float:
    """Versions that overtake a sequence: n_async / n_batch; `slots` of all samplers together."""
    return (self.in_flight or slots) / (self.group_size * self.prompts_per_batch)


@dataclasses.dataclass(frozen=True)
class Traffic:
  """What is on its way when a sampler asks for a group; sequences are of training prompts.

  Traffic(own=112, total=1968, samplers=16, unjudged=0.5, lag=1)
  """
  own: int = 0              # Sequences open in the sampler that asks.
  total: int = 0            # Sequences open in all samplers.
  samplers: int = 1         # Samplers that are ready to sample.
  unjudged: float = 0.0     # Groups' worth of completions that no verifier has begun to judge.
  lag: int = 0              # Versions that its weights are behind the trainer's.


@dataclasses.dataclass(eq=False)
class Issue:
  """One group that was issued; the order of issue is the order in which groups are trained."""
  position: int             # Number of issues before it.
  bound: int | None         # Admission's count must not exceed it while this flies; None: no limit.
  flying: bool = True       # Some completion of it is not judged yet.


class Admission:
  """Book of the groups on their way, which says whether another one may start.

  Args:
    pace: the limits; None for none of them.
  """

  def __init__(self, pace: Pace | None):
    self.pace = pace
    self.unsettled = 0        # Groups issued and neither trained nor dropped.
    self._complete = 0        # Those of them that do not fly.
    self._issues = 0
    self._count = 0           # G: issues - drops.
    self._bounds: list[tuple[int, int, Issue]] = []   # A heap; what has landed is popped lazily.

  def may_issue(self, traffic: Traffic) -> bool:
    """Whether the sampler that asks may start another group, its own free slots apart."""
    p = self.pace
    if p is None:
      return True
    if self._complete + traffic.unjudged >= (p.backlog_batches + 1) * p.prompts_per_batch:
      return False
    if p.in_flight:
      # A sampler that has its share begins nothing, or the first to ask would have everything.
      has_share = traffic.own * traffic.samplers >= p.in_flight
      if has_share or traffic.total + p.group_size > p.in_flight:
        return False
    return self.keeps_guarantee(traffic.lag)

  def keeps_guarantee(self, lag: int) -> bool:
    """Whether one more group, by weights `lag` versions behind, leaves all within max_staleness."""
    p = self.pace
    return p is None or not p.max_staleness or (
        self.unsettled <= self._allowed(p, lag) and self._count + 1 <= self._least_bound())

  def issue(self, lag: int = 0) -> Issue:
    """Books a group as issued, by a sampler whose weights are `lag` versions behind."""
    self._count += 1
    bound = None
    if self.pace and self.pace.max_staleness:
      bound = self._allowed(self.pace, lag) - self.unsettled + self._count
    issue = Issue(self._issues, bound)
    if bound is not None:
      heapq.heappush(self._bounds, (bound, issue.position, issue))
    self._issues += 1
    self.unsettled += 1
    return issue

  def land(self, issue: Issue) -> None:
    """Books a group as complete: what is issued from now on is trained after it."""
    if issue.flying:
      issue.flying = False
      self._complete += 1

  def train(self, issue: Issue) -> None:
    """Books a group as trained."""
    self._settle(issue)

  def drop(self, issue: Issue) -> None:
    """Books a group as one that will not be trained under this issue."""
    self._settle(issue)
    self._count -= 1

  def _settle(self, issue: Issue) -> None:
    self.land(issue)
    self._complete -= 1
    self.unsettled -= 1

  @staticmethod
  def _allowed(pace: Pace, lag: int) -> int:
    """Most groups that may be trained before one of this lag, or with it."""
    # Weights of a trainer that was set back since have higher numbers: ahead, not behind.
    return (pace.max_staleness - max(0, lag) + 1) * pace.prompts_per_batch - 1

  def _least_bound(self) -> float:
    while self._bounds and not self._bounds[0][2].flying:
      heapq.heappop(self._bounds)
    return self._bounds[0][0] if self._bounds else float('inf')
