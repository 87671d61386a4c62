"""A report on this machine alone: what is answered, to whom, and when the page is made again."""
import fcntl
import http.client
import socket
import struct
import threading

import pytest

from magistral_jax.analysis import report_serve
from tests.analysis import made_runs


@pytest.fixture
def served(tmp_path):
  """(a function path, host -> (status, headers, body), with the port as its `port`; workdir)."""
  workdir = made_runs.make(tmp_path / 'run', updates=1)
  server = report_serve.make_server(report_serve.LivePage([str(workdir)]), 0)
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()

  def get(path, host=f'127.0.0.1:{server.server_address[1]}'):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_address[1], timeout=30)
    connection.request('GET', path, headers=dict(Host=host))
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found

  get.port = server.server_address[1]
  yield get, workdir
  server.shutdown()
  server.server_close()
  thread.join(30)


def test_the_page_and_its_state_are_for_this_machine_alone(served):
  get, workdir = served
  status, headers, body = get('/')
  assert status == 200 and headers['Cache-Control'] == 'no-store'
  assert b"connect-src 'self'" in body.replace(b'&#39;', b"'") and b'"live":true' in body
  status, _, state = get('/state')
  assert status == 200 and state.decode() == report_serve.state([str(workdir)])
  assert state in body
  assert get('/', host='evil.example')[0] == 403
  assert get('/state', host='localhost')[0] == 200         # A browser leaves port 80 out.
  assert get('/etc/passwd')[0] == 404


def test_the_page_is_made_again_when_files_have_changed_but_not_too_often(tmp_path):
  workdir = made_runs.make(tmp_path / 'run', updates=1, finished=False, ended='')
  now = [0.0]
  page = report_serve.LivePage([str(workdir)], clock=lambda: now[0])
  first = page.look()
  now[0] = 100.0
  assert page.look() == first                       # Nothing has changed.
  with open(workdir / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 2, "wall_s": 20.0}\n')
  second = page.look()
  assert second[0] != first[0] and b'after 2 updates' in second[1]
  with open(workdir / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 3, "wall_s": 30.0}\n')
  now[0] += report_serve.REFRESH_S / 2
  assert page.look() == second                      # Too soon.
  now[0] += report_serve.REFRESH_S
  assert b'after 3 updates' in page.look()[1]


def test_a_run_that_is_killed_is_told_though_no_file_changes(tmp_path):
  workdir = made_runs.make(tmp_path / 'run', updates=1, finished=False, ended='')
  now = [0.0]
  with open(workdir / '.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    page = report_serve.LivePage([str(workdir)], clock=lambda: now[0])
    assert b'It is going on, after 1 update.' in page.look()[1]
  now[0] = 100.0
  assert b'It was killed after 1 update' in page.look()[1]


def test_a_run_that_cannot_be_read_any_more_keeps_its_last_page(served, monkeypatch):
  get, workdir = served
  monkeypatch.setattr(report_serve, 'REFRESH_S', 0.0)
  path, page = workdir / 'experiment.json', get('/')[2]
  whole = path.read_bytes()
  path.write_bytes(b'{"conf')
  status, _, words = get('/state')
  assert status == 503 and b'experiment.json is no JSON' in words
  assert get('/')[2] == page
  path.write_bytes(whole)
  assert get('/state')[0] == 200


def test_a_browser_that_goes_on_leaves_nothing_on_the_terminal(served, capfd):
  get, _ = served
  for sent in (b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', b'GET'):
    with socket.create_connection(('127.0.0.1', get.port)) as one:
      one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
      one.sendall(sent)
  assert get('/state')[0] == 200
  assert capfd.readouterr().err == ''


def test_a_port_that_is_taken_is_one_sentence(tmp_path):
  workdir = made_runs.make(tmp_path / 'run', updates=1)
  page = report_serve.LivePage([str(workdir)])
  with (report_serve.make_server(page, 0) as server,
        pytest.raises(ValueError, match=r'--port=\d+ cannot be taken')):
    report_serve.make_server(page, server.server_address[1])
