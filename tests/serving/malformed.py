"""Requests that cannot be answered: {name: (path, body, status, words of the answer)}."""

_TEXT, _CHAT, _TOKENS = '/v1/completions', '/v1/chat/completions', '/inference/v1/generate'


def _text(words, /, status=400, **body):
  return _TEXT, dict(prompt='ab') | body, status, words


def _chat(words, /, **body):
  return _CHAT, dict(messages=[dict(role='user', content='ab')]) | body, 400, words


def _turns(words, *turns):
  return _CHAT, dict(messages=list(turns)), 400, words


_USER = dict(role='user', content='ab')
BODIES = {
    # No JSON, or none that is an object.
    'cut off': (_TEXT, b'{"prompt": "a', 400, 'no JSON'),
    'no JSON': (_TEXT, b'hello', 400, 'no JSON'),
    'no UTF-8': (_TEXT, b'{"prompt": "\xff"}', 400, 'no JSON'),
    'NaN': (_TEXT, b'{"prompt": "a", "temperature": NaN}', 400, 'NaN is no JSON'),
    'infinity': (_TEXT, b'{"prompt": "a", "temperature": 1e999}', 400, '1e999'),
    'a list': (_TEXT, b'[1, 2]', 400, 'a JSON object'),
    'a number': (_TEXT, b'7', 400, 'a JSON object'),
    'null': (_TEXT, b'null', 400, 'a JSON object'),
    'nothing': (_TEXT, b'', 400, 'prompt'),
    'deep': (_TEXT, b'{"prompt": ' + b'[' * 30000, 400, 'no JSON'),
    'half of a letter': (_TEXT, b'{"prompt": "a\\ud800b"}', 400, 'half of a letter'),
    'half of a letter as a key': (_TEXT, b'{"prompt": "a", "\\uDC00": 1}', 400, 'half of a letter'),
    'half of a letter as a name': (_TOKENS, b'{"token_ids": [1], "request_id": "\\udfff"}', 400,
                                   'half of a letter'),
    'a long key': _text('is no key', **{'k' * 50000: 1}),
    'a long number': (_TEXT, b'{"prompt": "a", "seed": ' + b'9' * 5000 + b'}', 400, 'no JSON'),
    # Prompts.
    'no prompt': (_TEXT, {}, 400, 'prompt must be'),
    'an empty list': _text('prompt', prompt=[]),
    'an empty prompt': _text('prompt has no tokens', prompt=''),
    'one empty prompt': _text('prompt has no tokens', prompt=['ab', '']),
    'a prompt of numbers and texts': _text('prompt must be', prompt=[1, 'a']),
    'texts and lists': _text('prompt must be', prompt=['a', [1, None]]),
    'a prompt that is an object': _text('prompt must be', prompt={'a': 1}),
    'true as a token': _text('prompt must be', prompt=[[True, False]]),
    'a token that is a fraction': _text('prompt must be', prompt=[1.5, 2]),
    'a token below 0': _text('token -1 is not in the vocabulary', prompt=[1, -1]),
    'a token beyond': _text('token 24 is not in the vocabulary, which is 0 .. 23', prompt=[24]),
    'a huge token': _text('is not in the vocabulary', prompt=[2**70]),
    'a prompt that is too long': _text('shorten it', prompt='a' * 60),
    'no room': _text('leaves no room', prompt='a' * 48),
    'too many letters': _text('letters', prompt='a' * 4000),
    'too many prompts': _text('prompt has 1025 texts', prompt=['a'] * 1025),
    # How it is sampled.
    'max_tokens that do not fit': _text('lower it to 46 or less', max_tokens=47),
    'max_tokens below 1': _text('max_tokens=0', max_tokens=0),
    'max_tokens as text': _text('max_tokens="4"', max_tokens='4'),
    'max_tokens as a fraction': _text('max_tokens=1.5', max_tokens=1.5),
    'temperature below 0': _text('temperature=-1', temperature=-1),
    'temperature that is tiny': _text('at least 0.01', temperature=1e-9),
    'temperature as true': _text('temperature=true', temperature=True),
    'top_p of 0': _text('top_p=0', top_p=0),
    'top_p above 1': _text('top_p=1.5', top_p=1.5),
    'n of 0': _text('n=0', n=0),
    'more completions than fit': _text('67108864 completions, and there is room for 12', n=65536,
                                       prompt=['a'] * 1024),
    'n that is huge': _text('n=1000000000', n=10**9),
    'n beyond the room': _text('room for 12', n=13),
    'a seed as text': _text('seed="x"', seed='x'),
    'a seed beyond 64 bits': _text('seed=', seed=2**64),
    'logprobs beyond 5': _text('logprobs=6', logprobs=6),
    'stop as a number': _text('stop=3', stop=3),
    'an empty stop': _text('stop=', stop=['a', '']),
    'too many stops': _text('at most 16 strings', stop=['a'] * 17),
    'stop tokens as text': _text('stop_token_ids=', stop_token_ids=['a']),
    'echo as text': _text('echo="yes"', echo='yes'),
    'stream as a number': _text('stream=1', stream=1),
    'stream_options as a list': _text('stream_options=[]', stream_options=[]),
    'an unknown stream option': _text('stream_options.usage', stream_options=dict(usage=True)),
    # What this server does not do.
    'an unknown key': _text('temprature is no key of this request (did you mean temperature?)',
                            temprature=1),
    'a penalty': _text('frequency_penalty=0.5', frequency_penalty=0.5),
    'a penalty as true': _text('repetition_penalty=true', repetition_penalty=True),
    'a number where a flag is': _text('ignore_eos=0', ignore_eos=0),
    'top_k': _text('top_k=20', top_k=20),
    'best_of': _text('best_of=3', best_of=3),
    'logit_bias': _text('logit_bias=', logit_bias={'5': 100}),
    'another model': _text("no model 'other' here", 404, model='other'),
    # Conversations.
    'no messages': (_CHAT, {}, 400, 'at least one message'),
    'messages as a text': _chat('messages=', messages='ab'),
    'messages of texts': _chat('messages=', messages=['ab']),
    'an unknown role': _turns('messages.0.role="robot"', dict(role='robot', content='a')),
    'no role': _turns('messages.0.role', dict(content='a')),
    'no words': _turns('messages: have no tokens', dict(role='user', content='')),
    'no content': _turns('messages.0.content=null', dict(role='user')),
    'an unknown key of a message': _turns('messages.0.text', dict(_USER, text='a')),
    'content as a number': _turns('messages.0.content=3', dict(role='user', content=3)),
    'an unknown part': _turns('image_url', dict(role='user', content=[dict(type='audio')])),
    'a part without a text': _turns('image_url', dict(role='user', content=[dict(type='text')])),
    'an image that nobody reads': _turns('this model reads none', dict(role='user', content=[
        dict(type='image_url', image_url=dict(url='data:image/png;base64,AAAA'))])),
    'two users in a row': _turns('user and assistant in turn', _USER, _USER),
    'a late system': _turns('user and assistant in turn', _USER, dict(role='system', content='a'),
                            _USER),
    'the model last': _turns('The last message', _USER, dict(role='assistant', content='a')),
    'both limits': _chat('say the same', max_tokens=3, max_completion_tokens=3),
    'tools': _chat('tools=', tools=[dict(type='function')]),
    'a format': _chat('response_format=', response_format=dict(type='json_object')),
    'top_logprobs beyond 20': _chat('top_logprobs=21', logprobs=True, top_logprobs=21),
    'top_logprobs alone': _chat('needs logprobs=true', top_logprobs=2),
    'logprobs as a number': _chat('logprobs=1', logprobs=1),
    # Tokens in and out.
    'no tokens': (_TOKENS, {}, 400, 'token_ids has no tokens'),
    'tokens as a text': (_TOKENS, dict(token_ids='ab'), 400, 'token_ids='),
    'settings as a list': (_TOKENS, dict(token_ids=[1], sampling_params=[]), 400,
                           'sampling_params=[]'),
    'an unknown setting': (_TOKENS, dict(token_ids=[1], sampling_params=dict(max_token=1)), 400,
                           'sampling_params.max_token is no key'),
    'a setting outside': (_TOKENS, dict(token_ids=[1], max_tokens=1), 400, 'max_tokens is no key'),
    # Weights and pauses.
    'no path': ('/update_weights', {}, 400, 'path is missing'),
    'a path as a number': ('/update_weights', dict(path=3), 400, 'path=3'),
    'a version as text': ('/update_weights', dict(path='3', version='x'), 400, 'version="x"'),
    'an unknown mode': ('/pause?mode=hold', None, 400, 'keep, wait, abort'),
    'an unknown argument': ('/pause?mode=keep&now=1', None, 400, 'now is no key'),
    'an unknown mode in the body': ('/pause', dict(mode='hold'), 400, 'keep, wait, abort'),
    'an unknown key of a pause': ('/pause', dict(mod='keep'), 400, 'did you mean mode?'),
    'a key of what has none': ('/resume', dict(mode='keep'), 400, 'mode is no key'),
    'a long path': ('/update_weights', dict(path='a' * 50000), 400, 'there is nothing'),
    'an unknown address': ('/v2/completions', {}, 404, 'no POST /v2/completions'),
    'an address to read': ('/v1/models', {}, 405, 'no POST /v1/models'),
}

# {name: (bytes of a request, status of the answer)}.
HEADS = {
    'no HTTP': (b'hello\r\n\r\n', 400),
    'TLS': (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(range(64)), 400),
    'no version': (b'GET /health\r\n\r\n', 400),
    'two lengths': (b'POST /resume HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n'
                    b'Content-Length: 2\r\n\r\nab', 400),
    'a length below 0': (b'POST /resume HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n', 400),
    'a chunk of no length': (b'POST /resume HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n'
                             b'\r\nxyz\r\n', 400),
    'too many headers': (b'GET /health HTTP/1.1\r\nHost: x\r\n' + b'A: b\r\n' * 20000, 400),
    'no host': (b'GET /health HTTP/1.1\r\n\r\n', 400),
}
