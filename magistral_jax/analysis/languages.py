"""Do the thoughts and the answer keep to the language of the problem, and does that change?

    python -m magistral_jax.analysis.languages --run=runs/quickstart_multilingual --output=FOLDER

The completions of a run in equal parts, in the order in which their groups were trained or
filtered: how many are in the language of their problem by the rules of verifiers/language.py,
whether the run paid for it or not, and how many are right, by domain and by language. The errors
take completions of a group for independent. Writes languages.md, languages.png and languages.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax import command_line
from magistral_jax.analysis import written
from magistral_jax.verifiers import format as gates
from magistral_jax.verifiers import language

GATES = dict(math=gates.gate, code=gates.code_gate)
FLAGS = written.RUNS | dict(
    parts=(6, 'parts of a run'),
    model=('', 'fastText file that identifies languages; the bundled one by default'))
Line = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Block:
  """Completions of one part of a run."""
  part: int                 # From 0 on.
  domain: str               # '' for all.
  language: str             # As the source names it; '' for all.
  completions: int
  agreeing: float           # Share in the language of their problem.
  agreeing_se: float
  correct: float
  correct_se: float


def agrees(line: Line, identify: language.Identify) -> bool:
  """Whether a completion passes its gate, and is in the language of its problem."""
  gate = GATES.get(line['domain'], gates.gate)(line['completion'])
  # The language in which a program is asked for is no language of its problem.
  of_source = line['language'] if line['domain'] == 'math' else ''
  return gate.passed and language.agree(
      identify, problem=line['prompt'], thoughts=gate.thoughts, answer=gate.answer,
      language=of_source or '')[0]


def blocks(workdir: Path, parts: int, *, model: str = '',
           by: Callable[[Line], tuple[str, str]] = lambda line: ('', '')) -> list[Block]:
  """The parts of a run, cut for every value of `by`, a completion's (domain, language)."""
  identify = language.load(model)
  groups: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
  for line in written.completions(workdir, 'domain', 'language', 'prompt', 'completion', 'status'):
    groups.setdefault(by(line), []).append(
        (agrees(line, identify), line['status'] == 'correct'))
  found = []
  for (domain, name), lines in sorted(groups.items()):
    for part in range(parts):
      own = lines[part * len(lines) // parts:(part + 1) * len(lines) // parts]
      if own:
        found.append(Block(part, domain, name, len(own), *written.share([a for a, _ in own]),
                           *written.share([c for _, c in own])))
  return found


def analyse(run: str, parts: int, model: str) -> written.Found:
  """Table, figure and figures of all runs. Raises ValueError."""
  if parts < 1:
    raise ValueError(f'--parts={parts} must be at least 1.')
  by = lambda line: (line['domain'], str(line['language'] or ''))
  found = {name: blocks(path, parts, model=model, by=by)
           for name, path in written.folders(run).items()}
  head = ['run', 'domain', 'language', 'part', 'completions', 'in its language', 'error', 'correct',
          'error']
  text = written.markdown(head, [
      (name, b.domain, b.language, b.part + 1, b.completions, b.agreeing, b.agreeing_se, b.correct,
       b.correct_se) for name, of in found.items() for b in of])
  figure = _draw(found)
  return text, figure, {name: [dataclasses.asdict(b) for b in of] for name, of in found.items()}


def _draw(found: Mapping[str, Sequence[Block]]):
  domains = sorted({b.domain for of in found.values() for b in of})
  figure, panels = written.panels(len(domains), [f'{d}: in its language' for d in domains])
  for axes, domain in zip(panels, domains, strict=True):
    for name, of in found.items():
      for spoken in sorted({b.language for b in of if b.domain == domain}):
        own = [b for b in of if (b.domain, b.language) == (domain, spoken)]
        axes.errorbar([b.part + 1 for b in own], [b.agreeing for b in own],
                      yerr=[b.agreeing_se for b in own], marker='o', markersize=3, capsize=2,
                      linewidth=1.2, label=' '.join(filter(None, [name, spoken])))
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel('part of the run', fontsize=8)
    axes.legend(frameon=False, fontsize=7)
  return figure


def main(args) -> None:
  written.carry_out('languages', args.output, lambda: analyse(args.run, args.parts, args.model))


if __name__ == '__main__':
  command_line.run(main, parse=written.parser(__doc__, FLAGS))
