"""A fake OpenAI-compatible server on this machine, for tests of what a served model may do."""
import http.server
import json
import threading
import time


class Served:
  """Answers POST /v1/chat/completions, or /v1/completions, with what a function says.

  Args:
    answer: text of the last message, or the prompts; number of the request -> the content as text;
      or a dict with status, body, headers, wait_s, drip_s (between bytes) or hang_up.
  """

  def __init__(self, answer):
    self.requests, self.most_at_once = [], 0
    self._answer, self._lock, self._now = answer, threading.Lock(), 0
    server = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        with server._lock:
          server._now += 1
          server.most_at_once = max(server.most_at_once, server._now)
          number = len(server.requests)
          server.requests.append(body | dict(path=self.path))
        try:
          asked = body['messages'][-1]['content'] if 'messages' in body else body['prompt']
          server._reply(self, server._answer(asked, number))
        except (BrokenPipeError, ConnectionResetError):
          self.close_connection = True

      def log_message(self, *_):
        pass

    self._http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    self._http.daemon_threads = True
    self.url = f'http://127.0.0.1:{self._http.server_port}/v1'
    self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
    self._thread.start()

  def _reply(self, handler, said):
    if isinstance(said, str):
      said = dict(body=json.dumps(dict(choices=[dict(message=dict(content=said))])))
    time.sleep(said.get('wait_s', 0))
    # Before the answer goes: who has it may ask again at once.
    with self._lock:
      self._now -= 1
    if said.get('hang_up'):
      handler.connection.close()
      return
    body = said.get('body', '').encode()
    handler.send_response(said.get('status', 200))
    for name, value in said.get('headers', {}).items():
      handler.send_header(name, value)
    handler.send_header('Content-Length', str(len(body)))
    handler.end_headers()
    for n in range(len(body)) if said.get('drip_s') else ():
      handler.wfile.write(body[n:n + 1])
      time.sleep(said['drip_s'])
    if not said.get('drip_s'):
      handler.wfile.write(body)

  def close(self):
    self._http.shutdown()
    self._http.server_close()
    self._thread.join(10.0)
