"""Staleness: how wide admission may be so that no group falls too far behind the weights."""


def window_groups(max_staleness: int, prompts_per_batch: int) -> int:
  """Widest window W for which no group can fall more than `max_staleness` versions behind.

  W bounds two numbers (orchestration/ledger.py): the groups that are issued and not settled, and
  the groups that are or may still be trained and were issued since the oldest issue in flight.
  When a group s is issued, at most W - 1 others are unsettled. While it is in flight, at most
  W - 1 that will be trained are issued after it. Once complete it goes into the next batch, unless
  staler groups fill that, which are among those counted. So at most 2 W - 2 others are trained
  between its first token and its own update: whole batches of `prompts_per_batch`, no more than
  `max_staleness` of them if 2 W - 2 < (max_staleness + 1) * prompts_per_batch.

  Admission cannot stall: when nothing is in flight, fewer than a batch are complete, and W is at
  least a batch for max_staleness >= 1. Filtered groups take no room, however many there are.

  Args:
    max_staleness: versions between a completion's oldest token and the weights it trains.
    prompts_per_batch: groups of one update.
  Returns:
    W, in groups.
  """
  return ((max_staleness + 1) * prompts_per_batch + 1) // 2
