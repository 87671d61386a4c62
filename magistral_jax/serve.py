"""Serves a checkpoint over HTTP: the sampler that trains, for clients of OpenAI's and vLLM's APIs.

    python -m magistral_jax.serve --config=configs/quickstart.py --checkpoint=runs/quickstart
    curl localhost:8000/v1/chat/completions \\
        -H 'Content-Type: application/json' \\
        -d '{"messages": [{"role": "user", "content": "7+8=?"}]}'

--checkpoint is a run's workdir, a GGUF file or a Hugging Face folder. --config says how it is
sampled: slots, pages, mesh, template, the longest prompt and completion. docs/serving.md says more.
"""

import ipaddress
import sys

from absl import logging

from magistral_jax import command_line
from magistral_jax.experiment import cli
from magistral_jax.profiling import Profile

FLAGS = dict(
    checkpoint=('', 'workdir, GGUF file or published folder'),
    step=('newest', 'checkpoint of a workdir: newest, best or a number'),
    model=('', "name that requests call the model by; default: the checkpoint's folder"),
    host=('127.0.0.1', 'address to listen at; any but this machine alone needs --key_file'),
    port=(8000, 'port to listen at; 0: any free one'),
    key_file=('', 'file whose first line is the key that requests must bring'),
    queue=(1024, 'completions that may wait for a slot; more are refused for now'),
    body_mb=(32, 'MiB of the largest body of a request'),
    answer_s=(3600.0, 'seconds that an answer may take'),
    health_s=(60.0, 'seconds in which a token must be drawn for /health'),
    drain_s=(600.0, 'seconds that open requests have when it is to end'),
    profile_steps=(0, 'dispatches to trace, the first that requests cause; 0: none'),
    profile_folder=('profile', 'folder for that trace'))


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__, epilog=cli.EXPERIMENT)
  parser.add_flags(FLAGS)
  args = cli.parse_with_config(parser, argv)
  if not args.checkpoint:
    parser.error('the following arguments are required: --checkpoint')
  for name in ('body_mb', 'answer_s', 'health_s', 'drain_s'):
    if not getattr(args, name) > 0:
      parser.error(f'--{name}={getattr(args, name)} must be above 0')
  if args.profile_steps < 0:
    parser.error(f'--profile_steps={args.profile_steps} must be at least 0')
  if args.queue < 0 or not 0 <= args.port < 1 << 16:
    parser.error('--queue must be at least 0, and --port from 0 to 65535')
  if not args.key_file and not _is_loopback(args.host):
    parser.error(f'--host={args.host} can be reached from other machines: add --key_file')
  return args


def main(args) -> None:
  logging.set_verbosity(logging.WARNING)
  with command_line.one_sentence():
    try:
      from magistral_jax.serving import opening, server
      from magistral_jax.serving.api import RequestLimits
    except ModuleNotFoundError as error:
      raise ValueError(f'serving needs {error.name}, which is not installed: pip install -e '
                       f'".[serve]" in the clone.') from None
    key = read_key(args.key_file)
    listening = server.bind(args.host, args.port)
    opened = opening.load(args.config, args.checkpoint, args.step, args.model)
  opening.warm_up(opened, lambda tokens: print(f'ready for prompts of {tokens} tokens', flush=True))
  with command_line.one_sentence():
    server.listen(listening)
  limits = RequestLimits(args.body_mb << 20, 60.0, args.answer_s, args.health_s)
  host, port = listening.getsockname()[:2]
  address = f'http://{f"[{host}]" if ":" in host else host}:{port}/v1'
  found, sampling = opening.serve(
      opened, queue=args.queue, limits=limits, key=key, drain_s=args.drain_s,
      profile=Profile(args.profile_folder, args.profile_steps, name='dispatch', done=say),
      ready=lambda: print(f'{opened.model.name} is served at {address}', flush=True),
      draining_began=lambda requests: say(
          f'Ending: open requests ({requests}) have {args.drain_s:g} s; the same signal once more '
          f'ends at once.'))
  found.run([listening])
  if sampling.failure is not None:
    raise sampling.failure


def say(sentence: str) -> None:
  """Says something beside what the command is asked for."""
  print(sentence, file=sys.stderr, flush=True)


def read_key(path: str) -> str:
  """The first line of a file; '' where none is named. Raises ValueError if it holds no key."""
  if not path:
    return ''
  try:
    with open(path, encoding='utf-8') as file:
      key = file.readline().strip()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'--key_file={path!r} cannot be read ({error}).') from None
  if len(key) < 16:
    raise ValueError(f'--key_file={path!r} holds a key of {len(key)} letters: write a random one '
                     f'of 16 or more into its first line.')
  return key


def _is_loopback(host: str) -> bool:
  try:
    return host == 'localhost' or ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


if __name__ == '__main__':
  command_line.run(main, parse=parse)
