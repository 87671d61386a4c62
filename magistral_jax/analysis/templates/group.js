// One group side by side: its prompt, and of each completion verdict, reward and text.

class GroupView {
  constructor(dialog, step) {
    this.dialog = dialog;
    this.step = step;                     // Called with +1 or -1: the next group of the table.
    this.best = false;
    this.colour = '';                     // By what tokens are coloured, a key of COLOURS, or ''.
    dialog.addEventListener('keydown', (event) => {
      if (event.target.closest('pre') || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === 'ArrowRight') this.step(1);
      else if (event.key === 'ArrowLeft') this.step(-1);
      else return;
      event.preventDefault();
    });
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  }

  // group: {ordinal, prompt, gold, id, source, domain, language, members: [...]}, focus: a sample.
  show(group, focus) {
    this.group = group;
    this.focus = focus;
    this.dialog.replaceChildren(this.head(group), this.body(group));
    if (!this.dialog.open) this.dialog.showModal();
    const card = this.dialog.querySelector('.member.chosen');
    if (card) card.scrollIntoView({block: 'nearest', inline: 'center'});
    this.dialog.querySelector('.close').focus({preventScroll: true});
  }

  head(group) {
    const button = (label, words, act, extra) => element('button', {type: 'button', title: words,
      'aria-label': words, onclick: act, ...extra}, label);
    const facts = [['problem', group.id], ['source', group.source], ['domain', group.domain],
      ['language', group.language]].filter(([, value]) => value);
    return element('header', {class: 'group-head'},
      element('div', {class: 'group-title'},
        element('h3', {}, 'Prompt ' + formatted(group.ordinal)),
        element('p', {class: 'facts'}, facts.flatMap(([name, value]) => [
          element('span', {}, name + ' ', element('b', {}, ...visible(value)))])),
        element('div', {class: 'group-buttons'},
          element('label', {}, element('input', {type: 'checkbox', checked: this.best || null,
            onchange: (event) => { this.best = event.target.checked; this.show(group, null); }}),
          ' best first'),
          group.members.some((member) => member.tokens_shown) ? this.colours(group) : null,
          button('←', 'previous group (left arrow)', () => this.step(-1)),
          button('→', 'next group (right arrow)', () => this.step(1)),
          button('Close', 'close (Escape)', () => this.dialog.close(), {class: 'close'}))),
      this.colour ? element('p', {class: 'legend'}, COLOURS[this.colour].keys.map(
        ([kind, words]) => element('span', {class: 'key'},
          element('span', {class: 'token ' + kind}, '\u00a0\u00a0\u00a0'), ' ' + words))) : null,
      element('pre', {class: 'prompt', dir: 'auto', tabindex: 0}, ...visible(group.prompt)),
      group.gold ? element('p', {class: 'gold'}, 'true answer ', element('code', {},
        ...visible(group.gold))) : null);
  }

  // The choice of what tokens are coloured by: what the run has written down of this group.
  colours(group) {
    const choices = Object.entries(COLOURS).filter(([value]) => value !== 'gap'
      || group.members.some((member) => (member.tokens_shown || {}).gap));
    if (!choices.some(([value]) => value === this.colour)) this.colour = '';
    return element('label', {}, 'colours ', element('select', {class: 'colour', onchange: (event) => {
      this.colour = event.target.value;
      this.show(group, this.focus);
    }}, [['', {label: 'none'}], ...choices].map(([value, {label}]) =>
      element('option', {value, selected: value === this.colour}, label))));
  }

  body(group) {
    const members = [...group.members];
    if (this.best) members.sort((a, b) => (b.reward ?? -9) - (a.reward ?? -9));
    return element('div', {class: 'members', tabindex: 0, 'aria-label': 'completions'},
      members.map((member) => this.member(member)));
  }

  member(member) {
    const row = (name, ...value) => element('tr', {}, element('th', {scope: 'row'}, name),
      element('td', {}, ...value));
    const parts = Object.entries(member.parts || {}).map(([name, value]) =>
      element('tr', {class: 'part'}, element('th', {scope: 'row'}, ...visible(name)),
        element('td', {}, formatted(value, 3))));
    return element('article', {class: 'member' + (member.sample === this.focus ? ' chosen' : '')},
      element('h4', {}, '#' + member.sample, ' ', chip('status', member.status), ' ',
        chip('fate', member.fate)),
      element('table', {class: 'sums'}, element('tbody', {},
        row('reward', element('b', {}, formatted(member.reward, 3))), parts,
        row('advantage', formatted(member.advantage, 3)),
        row('answer', member.answer ? element('code', {}, ...visible(member.answer)) : '–'),
        row('why', ...(member.detail ? visible(member.detail) : ['–'])),
        row('tokens', formatted(member.tokens) + (member.finish === 'length' ? ', cut off' : '')),
        row('update', member.step < 0 ? '–' : formatted(member.step)))),
      versions(member),
      element('pre', {class: 'completion', dir: 'auto', tabindex: 0},
        ...(this.colour && member.tokens_shown ? coloured(member, this.colour)
          : visible(member.completion))));
  }
}

function chip(kind, word) {
  const known = {correct: 'good', trained: 'good', wrong: 'bad', failed: 'bad', error: 'bad'};
  return element('span', {class: 'chip ' + (known[word] || 'plain')}, ...visible(word));
}

// Which weights drew which tokens: a bar, and in words.
function versions(member) {
  const runs = member.versions || [], total = member.tokens || 1;
  if (!runs.length) return null;
  const spans = runs.map(([first, version], i) => [first, i + 1 < runs.length ? runs[i + 1][0] : total,
    version]);
  const words = spans.map(([first, end, version]) => `v${version}: ${first}–${Math.max(first, end - 1)}`);
  const bar = element('svg', {class: 'versions', viewBox: '0 0 100 6', preserveAspectRatio: 'none',
    role: 'img', 'aria-label': 'versions of the weights: ' + words.join(', ')},
  spans.map(([first, end], i) => element('rect', {class: 'v' + i % 4, x: 100 * first / total, y: 0,
    width: Math.max(0, 100 * (end - first) / total), height: 6})));
  return element('div', {class: 'drawn'}, bar, element('p', {}, words.join(', ')));
}

// The tokens of a completion, coloured by one of COLOURS.
function coloured(member, by) {
  const {texts, logp, gap} = member.tokens_shown, runs = member.versions || [];
  let run = 0;
  return texts.map((text, i) => {
    while (run + 1 < runs.length && runs[run + 1][0] <= i) run++;
    const difference = gap ? `, trainer ${gap[i] < 0 ? '' : '+'}${formatted(gap[i], 5)}` : '';
    return element('span', {class: 'token ' + COLOURS[by].kind({logp: logp[i], gap: gap && gap[i], run}),
      title: `${formatted(logp[i], 3)} nats${difference}, weights v${runs.length ? runs[run][1] : '?'}`},
    ...visible(text));
  });
}

const LOGP_STEPS = [-0.1, -0.7, -2.3, -4.6];     // Probabilities of 0.9, 0.5, 0.1 and 0.01.
const GAP_STEPS = [0.001, 0.01, 0.1, 0.5];       // Ratios of 1.001, 1.01, 1.1 and 1.6.
const steps = (bounds, passes) => bounds.filter(passes).length;
const COLOURS = {
  logp: {label: 'log-probability',
    kind: ({logp}) => 'p' + steps(LOGP_STEPS, (bound) => logp < bound),
    keys: [['p0', 'p above 0.9'], ['p1', 'above 0.5'], ['p2', 'above 0.1'], ['p3', 'above 0.01'],
      ['p4', 'rarer']]},
  gap: {label: 'trainer less sampler',
    kind: ({gap}) => gap === undefined ? 'g0'
      : (gap < 0 ? 'd' : 'g') + steps(GAP_STEPS, (bound) => Math.abs(gap) >= bound),
    keys: [['d4', '−0.5 nats'], ['d3', '−0.1'], ['d2', '−0.01'], ['d1', '−0.001'], ['g0', 'the same'],
      ['g1', '+0.001'], ['g2', '+0.01'], ['g3', '+0.1'], ['g4', '+0.5']]},
  version: {label: 'weights', kind: ({run}) => 't' + run % 4,
    keys: [['t0', 'first weights'], ['t1', 'second'], ['t2', 'third'], ['t3', 'fourth, and so on']]},
};
