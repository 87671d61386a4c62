"""What a server measures, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from magistral_jax.serving.host import SamplerHost

_SECONDS = (.01, .03, .1, .3, 1., 3., 10., 30., 100., 300., 1000.)


class Measures:
  """Counters of requests, and the state of the sampler whenever it is asked for.

  Args:
    pages: pages of the sampler that sequences may hold.
    scoring: gives the number of prompts that wait to be scored.
  """

  def __init__(self, host: SamplerHost, *, slots: int, pages: int, scoring: Callable[[], int]):
    self._registry = CollectorRegistry()
    how = dict(namespace='magistral_jax', registry=self._registry)
    self.requests = Counter('requests', 'Requests answered.', ['path', 'status'], **how)
    self.prompt_tokens = Counter('prompt_tokens', 'Tokens of prompts taken.', **how)
    self.cancelled = Counter('cancelled_requests', 'Requests whose client went away.', **how)
    self.seconds = Histogram('request_seconds', 'Seconds from a request to its answer.', ['path'],
                             buckets=_SECONDS, **how)
    self.first_token = Histogram('first_token_seconds', 'Seconds to the first token.',
                                 buckets=_SECONDS, **how)
    self._registry.register(_SamplerState(host, slots, pages, scoring))

  def text(self) -> bytes:
    """All measures in Prometheus' text format."""
    return generate_latest(self._registry)


class _SamplerState(Collector):

  def __init__(self, host: SamplerHost, slots: int, pages: int, scoring: Callable[[], int]):
    self._host, self._slots, self._pages, self._scoring = host, slots, pages, scoring

  def collect(self) -> Iterator[Metric]:
    host, counts = self._host, self._host.counts
    active = host.active
    for name, words, value in (
        ('slots', 'Sequences that are decoded at once, at most.', self._slots),
        ('active_sequences', 'Sequences in slots.', active),
        ('waiting_sequences', 'Sequences that wait for a slot.', max(0, host.open - active)),
        ('pages', 'Pages of the key-value cache.', self._pages),
        ('free_pages', 'Pages that nothing holds.', host.free_pages),
        ('waiting_scores', 'Prompts that wait for their log-probabilities.', self._scoring()),
        ('weight_version', 'Version of the weights in use.', host.snapshot.version),
        ('paused', 'Whether it is paused.', bool(host.paused))):
      yield GaugeMetricFamily(f'magistral_jax_{name}', words, value)
    for name, words, key in (
        ('generated_tokens', 'Tokens drawn.', 'tokens'),
        ('prefilled_tokens', 'Tokens whose keys were written before decoding.', 'prefilled_tokens'),
        ('dispatches', 'Dispatches of several decode steps.', 'dispatches'),
        ('preemptions', 'Sequences that lost their slot to others for want of pages.',
         'preemptions'),
        ('drafted_tokens', 'Tokens that were drafted.', 'drafted'),
        ('kept_drafts', 'Drafted tokens that held.', 'drafts_kept'),
        ('weight_updates', 'Other weights taken up.', 'swaps')):
      yield CounterMetricFamily(f'magistral_jax_{name}', words, counts[key])
