"""python -m magistral_jax: lists the commands."""

# Command: (its page in docs/, what it does). Those with a dot make files for the others.
COMMANDS = {
    'train': ('training', 'cold start and asynchronous reinforcement learning; resumes by itself'),
    'evaluate': ('evaluation', 'accuracy of a checkpoint on a file of problems'),
    'score': ('evaluation', 'log-probabilities of given texts under a checkpoint'),
    'verify': ('verifiers', 'rewards of given completions, by the verifiers'),
    'curate': ('curation', 'raw problems to a training set, with the fate of every row'),
    'convert': ('checkpoints', 'checkpoints from one format to another; export for vLLM'),
    'plan': ('cluster', 'does a config fit its TPU pod, and how fast can it be; needs no TPU'),
    'simulate': ('cluster', 'speed, idle shares and staleness of the loop on so many machines'),
    'data.builders.stories': ('data', 'a JSONL of generated word problems with solutions'),
    'data.builders.programs': ('data', 'generated programming problems, and a tokenizer for them'),
    'data.builders.multilingual': ('data', 'both kinds in three languages, likewise'),
    'data.builders.problems': ('data', 'a prepared TFDS data set out of a JSONL of problems'),
    'analysis.versions': ('cluster', "versions per completion with the paper's numbers"),
    'planning.table': ('cluster', 'the plans of several configs as one table'),
    'experiment.reference': ('config', 'docs/config.md and the table of configs/README.md'),
}


def listing() -> str:
  """The commands, a line each, with the page that explains it."""
  lines = [f'  {name:26}  {what:70}  docs/{page}.md' for name, (page, what) in COMMANDS.items()]
  return '\n'.join([
      'Asynchronous reinforcement learning of reasoning models in JAX.', '',
      'Run a command with `python -m magistral_jax.COMMAND`; each takes --help.', '', *lines, '',
      'TPU slices: `python launch/tpu.py`, see launch/README.md.'])


if __name__ == '__main__':
  print(listing())
