"""Which experts do the tokens of a text take, and do neighbours take the same ones?

    python -m magistral_jax.analysis.routing --checkpoint=Mixtral-8x7B-v0.1 --input=texts.jsonl \\
        --output=FOLDER

Lines of --input are those of `score` ("text", "tokens" or "messages"), with a "domain" each. For
every domain and layer: the share of the assignments that each expert gets (1 / experts where the
routers do not care), and how often a token takes the first choice of the token before it, or any of
its choices, beside what random choices would give:

    first   1 / E    any   1 - C(E - k, k) / C(E, k)    E experts, k of a token

The paper found no domain that has experts of its own, and repetitions of up to 28 % and 67 % in
later layers (arXiv:2401.04088, section 5, table 5); its table stands beside the figures. Writes
routing.md, routing.png and routing.json.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from magistral_jax import command_line, sharding
from magistral_jax.analysis import written
from magistral_jax.evaluation import score_files, scoring
from magistral_jax.models import decoder
from magistral_jax.models.config import DTYPES, ModelConfig
from magistral_jax.models.formats import checkpoint

FLAGS = dict(
    checkpoint=('', 'a mixture of experts: GGUF file, published folder or workdir'),
    step=('newest', 'checkpoint of a workdir: newest, best or a number'),
    input=('', 'JSON lines with "text", "messages" or "tokens", and "domain"'),
    template=('', "chat template of \"messages\"; the run's own by default"),
    dtype=('float32', f'type of weights and computation: {", ".join(DTYPES)}'),
    fsdp=(1, 'devices that share rows and weights'),
    tensor=(1, 'devices that share the heads'))
# Repetitions in percent: first choice in layers 0, 15 and 31, then any choice in the same layers.
PAPER = {
    'ArXiv': (14.0, 27.9, 22.7, 46.5, 62.3, 52.9), 'DM Mathematics': (14.1, 28.4, 19.7, 44.9, 67.0,
                                                                     44.5),
    'Github': (14.9, 28.1, 19.7, 49.9, 66.9, 49.2), 'Gutenberg': (13.9, 26.1, 26.3, 49.5, 63.1,
                                                                  52.2),
    'PhilPapers': (13.6, 25.3, 22.1, 46.9, 61.9, 51.3), 'PubMed': (14.2, 24.6, 22.0, 48.6, 61.6,
                                                                   51.8),
    'StackExchange': (13.6, 27.2, 23.6, 48.2, 64.6, 53.6), 'Wikipedia': (14.4, 23.6, 25.3, 49.8,
                                                                         62.1, 51.8)}


@dataclasses.dataclass
class ExpertCounts:
  """Counts over the texts of one domain. Axes: L layers, E experts."""
  tokens: int
  pairs: int                # Of neighbours.
  assigned: np.ndarray      # [L, E] choices of an expert, the k of each token alike.
  first: np.ndarray         # [L, E] first choices.
  first_again: np.ndarray   # [L] neighbours with one first choice.
  any_again: np.ndarray     # [L] neighbours that share a choice.

  @classmethod
  def empty(cls, layers: int, experts: int) -> ExpertCounts:
    """Nothing counted yet."""
    return cls(0, 0, np.zeros((layers, experts), int), np.zeros((layers, experts), int),
               np.zeros(layers, int), np.zeros(layers, int))

  def add(self, chosen: np.ndarray) -> None:
    """Counts one text: chosen [T, L, k], the best expert first."""
    t, layers, _ = chosen.shape
    self.tokens, self.pairs = self.tokens + t, self.pairs + max(0, t - 1)
    for layer in range(layers):
      experts = self.assigned.shape[1]
      self.assigned[layer] += np.bincount(chosen[:, layer].ravel(), minlength=experts)
      self.first[layer] += np.bincount(chosen[:, layer, 0], minlength=experts)
    before, after = chosen[:-1], chosen[1:]
    self.first_again += (before[..., 0] == after[..., 0]).sum(0)
    self.any_again += (before[..., :, None] == after[..., None, :]).any((-1, -2)).sum(0)

  def figures(self) -> dict[str, Any]:
    """Shares: of assignments and first choices [L, E], of neighbours that repeat [L]."""
    return dict(tokens=self.tokens, shares=self.assigned / self.assigned.sum(1, keepdims=True),
                first_shares=self.first / self.first.sum(1, keepdims=True),
                first_repeats=self.first_again / max(1, self.pairs),
                any_repeats=self.any_again / max(1, self.pairs))


def random_repeats(experts: int, k: int) -> tuple[float, float]:
  """How often neighbours share the first choice, and any, where routers choose at random."""
  return 1 / experts, 1 - math.comb(experts - k, k) / math.comb(experts, k)


def shown_layers(layers: int) -> list[int]:
  """The first, the middle and the last layer: 0, 15 and 31 of Mixtral 8x7B."""
  return sorted({0, (layers - 1) // 2, layers - 1})


def choices(config: ModelConfig, params, mesh,
            sequences: Sequence[Sequence[int]]) -> Iterator[tuple[int, np.ndarray]]:
  """(index of a sequence, the experts [T, L, k] of its tokens), in the order of their lengths."""
  rows = sharding.named(mesh, sharding.TRAINER, ('row', None))
  where = sharding.Layout(mesh, sharding.TRAINER)

  @jax.jit
  def chosen(params, tokens, segments):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    routing = decoder.routed_rows(config, params, tokens, positions, segments, layout=where)[1]
    return decoder.chosen(routing, config.experts_per_token)

  # Batches are made for the targets of n - 1 tokens, and every token has its choices.
  lengths = [len(tokens) + 1 if len(tokens) else 0 for tokens in sequences]
  pieces = sharding.pieces(mesh, sharding.TRAINER, 'row')
  for members, count, width in scoring.make_batches(lengths, pieces):
    arrays = np.zeros((2, count, width), np.int32)
    for row, i in enumerate(members):
      arrays[:, row, :len(sequences[i])] = sequences[i], np.ones(len(sequences[i]))
    found = jax.device_get(chosen(params, *jax.device_put(list(arrays), rows)))
    for row, i in enumerate(members):
      yield i, found[row, :len(sequences[i])].reshape(
          len(sequences[i]), config.layers, config.experts_per_token)


def read_domains(path: str) -> list[str]:
  """The domain of every line of a file; 'text' where a line names none."""
  with open(path, encoding='utf-8') as file:
    return [str(json.loads(line).get('domain') or 'text') for line in file if line.strip()]


def tallies(args) -> tuple[ModelConfig, dict[str, ExpertCounts]]:
  """The shape of the checkpoint, and the counts of every domain. Raises ValueError."""
  if not args.checkpoint or not args.input:
    raise ValueError('--checkpoint and --input are needed: a mixture of experts, and texts.')
  if args.dtype not in DTYPES:
    raise ValueError(f'--dtype={args.dtype!r} must be one of {", ".join(DTYPES)}.')
  config = checkpoint.read_config(args.checkpoint, dtype=args.dtype, vision=False)
  if not config.experts:
    raise ValueError(f'--checkpoint={args.checkpoint!r} has no experts: name a mixture of experts.')
  encoder = score_files.Encoder(args.checkpoint, args.template)
  sequences, _ = score_files.read_sequences(args.input, encoder, config)
  domains = read_domains(args.input)
  if max(map(len, sequences), default=0) < 2:
    raise ValueError(f'--input={args.input!r} has no text of two tokens.')
  scorer = scoring.load_scorer(args.checkpoint, config, fsdp=args.fsdp, tensor=args.tensor,
                               step=checkpoint.choose_step(args.checkpoint, args.step))
  mesh = sharding.make_mesh(jax.devices()[:args.fsdp * args.tensor], fsdp=args.fsdp,
                            tensor=args.tensor)
  found: dict[str, ExpertCounts] = {}
  for i, chosen in choices(config, scorer.params, mesh, sequences):
    found.setdefault(domains[i], ExpertCounts.empty(config.layers, config.experts)).add(chosen)
  return config, dict(sorted(found.items()))


def analyse(args) -> written.Found:
  """Tables, figure and figures. Raises ValueError."""
  config, found = tallies(args)
  figures = {domain: tally.figures() for domain, tally in found.items()}
  layers = shown_layers(config.layers)
  first, any_ = random_repeats(config.experts, config.experts_per_token)
  head = ['domain', 'tokens', *(f'layer {layer}, first' for layer in layers),
          *(f'layer {layer}, any' for layer in layers)]
  percent = lambda values: [f'{100 * value:.1f}' for value in values]
  repeats = [[domain, of['tokens'], *percent(of['first_repeats'][layers]),
              *percent(of['any_repeats'][layers])] for domain, of in figures.items()]
  repeats.append(['random choices', '', *percent([first] * len(layers) + [any_] * len(layers))])
  shares = [[domain, layer, *percent(of['shares'][layer])] for domain, of in figures.items()
            for layer in layers]
  paper_head = ['Mixtral 8x7B, the paper', *(f'layer {layer}, {what}' for what in ('first', 'any')
                                             for layer in (0, 15, 31))]
  text = '\n\n'.join([
      'Neighbours that take the same expert, in percent:', written.markdown(head, repeats),
      written.markdown(paper_head, [(name, *row) for name, row in PAPER.items()]),
      f'Share of the assignments, in percent ({100 / config.experts:.1f} where they are even):',
      written.markdown(['domain', 'layer', *map(str, range(config.experts))], shares)])
  return text, _draw(figures, layers, first, any_), dict(
      random=dict(first=first, any=any_), domains=figures)


def _draw(figures: dict[str, dict], layers: Sequence[int], first: float, any_: float):
  titles = ['neighbours with one first choice', 'neighbours that share a choice',
            *(f'layer {layer}: shares of the experts' for layer in layers)]
  figure, panels = written.panels(len(titles), titles)
  for axes, key, random in zip(panels, ('first_repeats', 'any_repeats'), (first, any_),
                               strict=False):
    for domain, of in figures.items():
      axes.plot(of[key], linewidth=1.2, label=domain)
    axes.axhline(random, color='#8b949e', linestyle='--', linewidth=0.9, label='random')
    axes.set_xlabel('layer', fontsize=8)
    axes.set_ylim(bottom=0)
  panels[0].legend(frameon=False, fontsize=7)
  for axes, layer in zip(panels[2:], layers, strict=True):
    width = 0.8 / len(figures)
    for i, of in enumerate(figures.values()):
      shares = of['shares'][layer]
      axes.bar(np.arange(len(shares)) + i * width, shares, width)
    axes.axhline(1 / len(shares), color='#8b949e', linestyle='--', linewidth=0.9)
    axes.set_xlabel('expert', fontsize=8)
  return figure


def main(args) -> None:
  logging.set_verbosity(logging.ERROR)     # Orbax logs every array.
  written.carry_out('routing', args.output, lambda: analyse(args))


if __name__ == '__main__':
  command_line.run(main, parse=written.parser(__doc__, FLAGS))
