"""python -m magistral_jax: lists the commands."""

COMMANDS = {
    'train': 'cold start and asynchronous reinforcement learning (resumes by itself)',
    'evaluate': 'accuracy of a checkpoint on a file of problems',
    'verify': 'rewards of given completions, by the verifiers',
    'plan': 'does a config fit its TPU pod, and how fast can it be; needs no TPU',
    'score': 'log-probabilities of given texts under a checkpoint',
    'convert': 'checkpoints from one format to another; export for transformers and vLLM',
    'simulate': 'speed, idle shares and staleness of the loop on so many hosts',
    'analysis.versions': 'versions per completion, simulated with the paper\'s numbers',
    'data.builders.stories': 'writes a JSONL of generated word problems with solutions',
    'data.builders.problems': 'turns a JSONL of problems into a prepared TFDS data set',
}

if __name__ == '__main__':
  print('Asynchronous reinforcement learning of reasoning models in JAX. Commands:\n')
  for name, what in COMMANDS.items():
    print(f'  python -m magistral_jax.{name:24} {what}')
  print('\nEach takes --help; README.md has examples.')
