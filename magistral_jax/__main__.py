"""python -m magistral_jax: lists the commands; with the name of one, runs it."""

import runpy
import sys
from collections.abc import Sequence

from magistral_jax import command_line

# Command: (its page in docs/, what it does). Those with a dot make files for the others.
COMMANDS = {
    'train': ('training', 'cold start and asynchronous reinforcement learning; resumes by itself'),
    'sft': ('training', 'imitation alone, in epochs; keeps and exports the best; resumes'),
    'report': ('report', 'curves, completions and audit of runs as one HTML file; live, too'),
    'evaluate': ('evaluation', 'accuracy of a checkpoint on a file of problems'),
    'score': ('evaluation', 'log-probabilities of given texts under a checkpoint'),
    'verify': ('verifiers', 'rewards of given completions, by the verifiers'),
    'serve': ('serving', 'a checkpoint behind HTTP, for clients of OpenAI and vLLM'),
    'rate': ('curation', 'how often a model solves each problem of a file; resumes by itself'),
    'curate': ('curation', 'raw problems to a training set, with the fate of every row'),
    'traces': ('curation', 'correct completions of a run, chosen as traces to imitate'),
    'miniature': ('miniature', 'the whole recipe in small, leg after leg; resumes by itself'),
    'convert': ('checkpoints', 'checkpoints from one format to another; export for vLLM'),
    'sweep': ('analysis', "variants of an experiment, and what they say of a paper's finding"),
    'plan': ('cluster', 'does a config fit its TPU pod, and how fast can it be; needs no TPU'),
    'stages': ('stages', 'what a run decided about its stages, and would have'),
    'simulate': ('cluster', 'speed, idle shares and staleness of the loop on so many machines'),
    'data.builders.stories': ('data', 'a JSONL of generated word problems with solutions'),
    'data.builders.programs': ('data', 'generated programming problems, and a tokenizer for them'),
    'data.builders.multilingual': ('data', 'both kinds in three languages, likewise'),
    'data.builders.miniature': ('miniature', 'the problems of the miniature, some with faults'),
    'data.builders.problems': ('data', 'a prepared TFDS data set out of a JSONL of problems'),
    'analysis.languages': ('analysis', 'does a run keep to the language of its problems'),
    'analysis.length_reward': ('analysis', 'does the reward grow with the log of the length'),
    'analysis.entropy': ('analysis', 'does the entropy of a run fall, hold or rise'),
    'analysis.lengths': ('analysis', 'which completions of a run grow, and how many are cut off'),
    'analysis.staleness': ('analysis', 'how stale completions were, and whether stale ones differ'),
    'analysis.weights': ('analysis', 'where the weights of a run moved, and what lies there'),
    'analysis.routing': ('analysis', 'which experts tokens take, and whether neighbours agree'),
    'analysis.free_lunch': ('analysis', 'does learning on text alone help with pictures, too'),
    'analysis.versions': ('cluster', "versions per completion with the paper's numbers"),
    'planning.table': ('cluster', 'the plans of several configs as one table'),
    'experiment.reference': ('config', 'docs/config.md and the table of configs/README.md'),
}


def listing() -> str:
  """The commands, each with what it does and the page that explains it, in 80 columns."""
  lines = [f'  {name} (docs/{page}.md)\n      {what}' for name, (page, what) in COMMANDS.items()]
  return '\n'.join([
      'Asynchronous reinforcement learning of reasoning models in JAX.', '',
      'Run a command with `python -m magistral_jax.COMMAND`; each takes --help.', '', *lines, '',
      'TPU slices: `python launch/tpu.py`, see launch/README.md.'])


def main(argv: Sequence[str]) -> None:
  """Runs the command that the first argument names; without one it prints the listing."""
  if len(argv) < 2 or argv[1] in ('-h', '--help', 'help'):
    print(listing())
    return
  name = argv[1].removeprefix('magistral_jax.')
  with command_line.one_sentence():
    if name not in COMMANDS:
      raise ValueError(f'{name!r} is no command{command_line.did_you_mean(name, COMMANDS)}; '
                       f'python -m magistral_jax lists them.')
  sys.argv[:] = [f'magistral_jax.{name}', *argv[2:]]
  runpy.run_module(f'magistral_jax.{name}', run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  main(sys.argv)
