"""The command as a user runs it: a process that answers, drains at a signal, and ends."""
import concurrent.futures
import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from magistral_jax.experiment import build
from magistral_jax.models import decoder
from magistral_jax.models.formats import export
from magistral_jax.serving import server
from magistral_jax.tokens.utf8 import ByteTokenizer
from tests import tiny
from tests.serving.conftest import Client

ROOT = Path(__file__).resolve().parents[2]
# Sequences of one page: there is one length of prompts to compile for.
SHORT = [f'--config.{key}' for key in (
    'sampler.slots=2', 'sampler.max_new_tokens=8', 'evaluation.max_new_tokens=8',
    'data.max_prompt_tokens=8')]
ASKED = dict(prompt='12+3', max_tokens=4, temperature=0, return_token_ids=True)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  """A folder with a small model of the quickstart's vocabulary."""
  folder, vocab = tmp_path_factory.mktemp('model'), ByteTokenizer().vocab_size
  c = tiny.load(**{f'model.{key}': value for key, value in tiny.SHAPE.items()})
  config = build.model_config(c, vocab)
  export.save_huggingface(jax.jit(lambda: decoder.init(config, 0))(), config, folder)
  return folder


@contextlib.contextmanager
def process(folder, *flags):
  """A serving process, and a client of it once it says that it answers."""
  started = subprocess.Popen(
      [sys.executable, '-m', 'magistral_jax.serve', f'--config={tiny.CONFIGS}/quickstart.py',
       f'--checkpoint={folder}', '--port=0', *SHORT, *flags],
      cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  try:
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
      yield started, Client(threads.submit(address, started).result(300)), threads
  finally:
    started.kill()
    started.communicate()


def address(started):
  """Host and port, out of the line that says where it serves."""
  for line in started.stdout:
    if found := re.search(r'http://([\d.]+):(\d+)/v1$', line.strip()):
      return found[1], int(found[2])
  raise AssertionError(started.stderr.read())


def held_request(client, threads):
  """A request that waits for /resume, and is open when this returns."""
  client.post('/pause?mode=keep')
  asked = threads.submit(client.ask, 'POST', '/v1/completions', ASKED)
  while 'waiting_sequences 1.0' not in client.get('/metrics').decode():
    assert not asked.done(), asked.result()
  return asked


def test_a_signal_ends_it_when_open_requests_have_ended(model):
  with process(model) as (started, client, threads):
    whole = client.post('/v1/completions', **ASKED)
    asked = held_request(client, threads)
    started.send_signal(signal.SIGTERM)
    while client.ask('GET', '/health')[0] == 200:
      pass
    status, headers, said = client.ask('POST', '/v1/completions', ASKED)
    assert status == 503 and headers['retry-after'] and 'about to end' in said['error']['message']
    assert not asked.done()
    client.post('/resume')
    status, _, said = asked.result(60)
    assert status == 200 and said['choices'] == whole['choices']
    assert started.wait(60) == 0
    assert re.fullmatch(r'Ending: open requests \(\d+\) have 600 s; the same signal once more ends '
                        r'at once\.\n', started.stderr.read())


@pytest.mark.long
def test_what_has_not_ended_in_time_is_told_so(model):
  with process(model, '--drain_s=0.5') as (started, client, threads):
    asked = held_request(client, threads)
    started.send_signal(signal.SIGINT)
    status, _, said = asked.result(60)
    assert status == 503 and 'before the answer was whole' in said['error']['message']
    assert started.wait(60) == 0


@pytest.mark.long
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(model, number):
  with process(model) as (started, client, threads):
    asked = held_request(client, threads)
    started.send_signal(number)
    while client.ask('GET', '/health')[0] == 200:
      pass
    started.send_signal(number)
    assert started.wait(60) == -number
    with pytest.raises(OSError):
      asked.result(60)


def test_an_address_that_another_server_took_meanwhile_is_told_in_a_sentence():
  with server.bind('127.0.0.1', 0) as first:
    with server.bind(*first.getsockname()) as second:
      server.listen(second)
      with pytest.raises(ValueError, match='cannot be had'):
        server.listen(first)
    with pytest.raises(ValueError, match='cannot be had'):
      server.bind('192.0.2.1', 0)
