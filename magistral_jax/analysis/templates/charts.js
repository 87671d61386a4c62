// Curves as SVG: raw and smoothed, with a cross-hair, zoom by dragging, and stages as marks.
// All panels of an axis share the range of steps that is shown.

const HEIGHT = 200, LEFT = 50, RIGHT = 12, TOP = 10, BOTTOM = 24, MOST_POINTS = 1500;
const DASHES = ['', '6 3', '2 3', '8 3 2 3'];

class Charts {
  constructor(data, place, pick) {
    this.data = data;
    this.place = place;
    this.pick = pick;                     // Called with (run, update) when a point is chosen.
    this.smoothing = 0.05;
    this.raw = true;
    this.views = {};
    this.cards = data.panels.map((panel) => this.card(panel));
    place.replaceChildren(...this.cards.map((card) => card.figure));
    let width = 0;
    new ResizeObserver(() => {
      if (place.clientWidth !== width) { width = place.clientWidth; this.draw(); }
    }).observe(place);
  }

  // The curves of a panel: one for each of its series that each run has.
  curves(panel) {
    const found = [], several = this.data.curves.length > 1;
    this.data.curves.forEach((run, index) => {
      const points = run[panel.axis];
      Object.entries(panel.series).forEach(([key, label], order) => {
        if (!points[key]) return;
        found.push({run, index, key, x: points.step, y: points[key],
          label: several ? run.name + (Object.keys(panel.series).length > 1 ? ': ' + label : '')
            : label,
          color: 'c' + (several ? index % 6 : order % 6), dash: several ? DASHES[order % 4] : ''});
      });
    });
    return found;
  }

  card(panel) {
    const several = this.data.curves.length > 1, curves = this.curves(panel);
    const legend = curves.map((curve) => element('span', {class: 'key'},
      swatch(curve), ...visible(curve.label)));
    if (panel.band && !several) legend.push(element('span', {class: 'key'},
      element('span', {class: 'swatch band-swatch'}), '10th to 90th percentile'));
    if (panel.held_out) {
      this.data.curves.forEach((run, index) => run.held_out.length && legend.push(
        element('span', {class: 'key'}, element('span', {class: 'swatch dot ' +
          (several ? 'c' + index % 6 : 'c1')}),
        ...visible((several ? run.name + ': ' : '') + 'held out ± 1.96 standard errors'))));
    }
    const svg = element('svg', {class: 'chart', tabindex: 0, role: 'img', height: HEIGHT,
      'aria-label': panel.title + ', ' + panel.unit + '. Arrow keys read the points.'});
    const tip = element('div', {class: 'tip', hidden: true});
    const figure = element('figure', {class: 'card panel', id: 'panel-' + panel.name},
      element('figcaption', {}, element('strong', {}, panel.title),
        element('span', {class: 'unit'}, panel.unit)),
      element('div', {class: 'legend'}, legend), element('div', {class: 'plot'}, svg, tip));
    const card = {panel, curves, svg, tip, figure, at: null};
    svg.addEventListener('pointerdown', (event) => this.press(card, event));
    svg.addEventListener('pointermove', (event) => this.hover(card, this.stepAt(card, event)));
    svg.addEventListener('pointerleave', () => this.hover(card, null));
    svg.addEventListener('blur', () => this.hover(card, null));
    svg.addEventListener('dblclick', () => this.zoom(panel.axis, null));
    svg.addEventListener('keydown', (event) => this.key(card, event));
    return card;
  }

  range(axis) {
    const all = this.data.curves.flatMap((run) => [...run[axis].step,
      ...(axis === 'loop' ? run.held_out.map((point) => point.step) : [])]);
    if (!all.length) return [0, 1];
    let low = all[0], high = all[0];
    for (const step of all) { low = Math.min(low, step); high = Math.max(high, step); }
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  }

  zoom(axis, view) {
    this.views[axis] = view;
    document.getElementById('zoomed').hidden = !Object.values(this.views).some(Boolean);
    this.draw();
  }

  draw() { this.cards.forEach((card) => this.drawCard(card)); }

  drawCard(card) {
    const {panel, svg} = card, width = Math.max(200, card.figure.clientWidth - 26);
    const [x0, x1] = this.views[panel.axis] || this.range(panel.axis);
    const inside = (step) => step >= x0 && step <= x1;
    const values = [];
    for (const curve of card.curves) {
      curve.smooth = smoothed(curve.y, this.smoothing);
      curve.x.forEach((step, i) => {
        if (!inside(step)) return;
        if (curve.smooth[i] !== null) values.push(curve.smooth[i]);
        if (this.raw && curve.y[i] !== null) values.push(curve.y[i]);
      });
    }
    const band = this.band(panel);
    if (band) band.x.forEach((step, i) => inside(step) && band.high[i] !== null &&
      values.push(band.low[i], band.high[i]));
    const held = panel.held_out ? this.data.curves.map((run) => run.held_out) : [];
    held.flat().forEach((point) => inside(point.step) && values.push(
      point.accuracy - 1.96 * (point.error || 0), point.accuracy + 1.96 * (point.error || 0)));
    const [y0, y1] = extent(values, panel);
    const X = (step) => LEFT + (step - x0) / (x1 - x0) * (width - LEFT - RIGHT);
    const Y = (value) => TOP + (y1 - value) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    Object.assign(card, {X, Y, x0, x1, width});
    svg.setAttribute('width', width);
    svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    svg.replaceChildren(...axes(card, y0, y1), ...this.stageMarks(card),
      ...(band ? [area(band, X, Y, inside)] : []), ...this.lines(card, inside),
      ...this.heldOut(card, held, inside), element('g', {class: 'cross'}));
  }

  band(panel) {
    if (!panel.band || this.data.curves.length > 1) return null;
    const points = this.data.curves[0][panel.axis], [low, high] = panel.band.map((key) => points[key]);
    return low && high ? {x: points.step, low, high} : null;
  }

  lines(card, inside) {
    return card.curves.flatMap((curve) => {
      const attributes = {class: 'line ' + curve.color, 'stroke-dasharray': curve.dash || null};
      const drawn = [];
      if (this.raw && this.smoothing) drawn.push(element('path', {...attributes,
        class: attributes.class + ' raw', d: path(curve.x, curve.y, card, inside)}));
      drawn.push(element('path', {...attributes, d: path(curve.x, curve.smooth, card, inside)}));
      const shown = curve.x.filter(inside).length;
      if (shown <= 40) curve.x.forEach((step, i) => inside(step) && curve.y[i] !== null && drawn.push(
        element('circle', {class: 'point ' + curve.color, cx: card.X(step), cy: card.Y(curve.y[i]),
          r: shown === 1 ? 4 : 2.2})));
      return drawn;
    });
  }

  heldOut(card, held, inside) {
    return held.flatMap((points, index) => points.filter((point) => inside(point.step)).map((point) => {
      const color = this.data.curves.length > 1 ? 'c' + index % 6 : 'c1';
      const x = card.X(point.step), half = 1.96 * (point.error || 0);
      return element('g', {class: 'held-out ' + color},
        element('line', {x1: x, x2: x, y1: card.Y(point.accuracy - half),
          y2: card.Y(point.accuracy + half)}),
        element('circle', {cx: x, cy: card.Y(point.accuracy), r: 4}));
    }));
  }

  stageMarks(card) {
    if (card.panel.axis !== 'loop') return [];
    return this.data.curves.flatMap((run) => run.stages.filter((stage) => stage.step >= card.x0 &&
      stage.step <= card.x1).map((stage, i) => {
      const x = card.X(stage.step + 0.5), left = x > card.width - 80;   // Where a name has no room.
      return element('g', {class: 'stage'},
        element('line', {x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM}),
        element('text', {x: left ? x - 3 : x + 3, y: TOP + 9 + 11 * (i % 3),
          'text-anchor': left ? 'end' : 'start'}, ...visible(stage.name)));
    }));
  }

  // The step of a run's line that is nearest to the pointer.
  stepAt(card, event) {
    const box = card.svg.getBoundingClientRect();
    const wanted = card.x0 + (event.clientX - box.left - LEFT) / (card.width - LEFT - RIGHT) *
      (card.x1 - card.x0);
    return this.nearest(card, wanted);
  }

  steps(card) {
    const all = new Set(card.curves.flatMap((curve) => curve.x));
    if (card.panel.held_out) this.data.curves.forEach((run) => run.held_out.forEach(
      (point) => all.add(point.step)));
    return [...all].filter((step) => step >= card.x0 && step <= card.x1).sort((a, b) => a - b);
  }

  nearest(card, wanted) {
    const steps = this.steps(card);
    return steps.length ? steps.reduce((best, step) =>
      Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best) : null;
  }

  hover(card, step) {
    for (const other of this.cards) {
      const cross = other.svg.querySelector('.cross');
      if (!cross) continue;
      const here = step !== null && other.panel.axis === card.panel.axis;
      cross.replaceChildren(...(here ? [element('line', {x1: other.X(step), x2: other.X(step),
        y1: TOP, y2: HEIGHT - BOTTOM})] : []));
      if (other !== card || !here) other.tip.hidden = true;
    }
    card.at = step;
    if (step === null) return;
    const rows = card.curves.map((curve) => [curve, curve.x.indexOf(step)])
      .filter(([curve, i]) => i >= 0 && curve.y[i] !== null)
      .map(([curve, i]) => element('div', {}, swatch(curve),
        ...visible(curve.label), element('b', {}, formatted(curve.y[i]))));
    if (card.panel.held_out) this.data.curves.forEach((run, index) => run.held_out
      .filter((point) => point.step === step).forEach((point) => rows.push(element('div', {},
        element('span', {class: 'swatch dot ' + (this.data.curves.length > 1 ? 'c' + index % 6 : 'c1')}),
        'held out', element('b', {}, formatted(point.accuracy) +
          (point.error === null ? '' : ' ± ' + formatted(1.96 * point.error)))))));
    card.tip.replaceChildren(element('div', {class: 'when'}, (card.panel.axis === 'loop' ? 'update '
      : 'step ') + step), ...rows);
    card.tip.hidden = false;
    const x = card.X(step), right = x > card.width / 2;
    card.tip.style.left = right ? 'auto' : x + 12 + 'px';
    card.tip.style.right = right ? card.width - x + 12 + 'px' : 'auto';
  }

  press(card, event) {
    if (event.button !== 0) return;
    const box = card.svg.getBoundingClientRect(), from = event.clientX - box.left;
    const mark = element('rect', {class: 'selection', y: TOP, height: HEIGHT - TOP - BOTTOM});
    card.svg.append(mark);
    const clamp = (x) => Math.min(card.width - RIGHT, Math.max(LEFT, x));
    const move = (now) => {
      const to = clamp(now.clientX - box.left);
      mark.setAttribute('x', Math.min(clamp(from), to));
      mark.setAttribute('width', Math.abs(to - clamp(from)));
    };
    const end = (now) => {
      window.removeEventListener('pointermove', move);
      window.removeEventListener('pointerup', end);
      mark.remove();
      const to = now.clientX - box.left;
      if (Math.abs(to - from) < 6) {
        this.choose(card, this.stepAt(card, now));
        return;
      }
      const step = (x) => card.x0 + (clamp(x) - LEFT) / (card.width - LEFT - RIGHT) *
        (card.x1 - card.x0);
      const [low, high] = [step(from), step(to)].sort((a, b) => a - b);
      if (this.steps(card).filter((one) => one >= low && one <= high).length > 1) {
        this.zoom(card.panel.axis, [low, high]);
      }
    };
    window.addEventListener('pointermove', move);
    window.addEventListener('pointerup', end);
  }

  choose(card, step) {
    if (step === null || card.panel.axis !== 'loop') return;
    const index = card.curves.find((curve) => curve.x.includes(step))?.index ?? 0;
    this.pick(index, step);
  }

  key(card, event) {
    const steps = this.steps(card), now = steps.indexOf(card.at);
    const moves = {ArrowRight: now + 1, ArrowLeft: now < 0 ? steps.length - 1 : now - 1, Home: 0,
      End: steps.length - 1};
    if (event.key in moves && steps.length) {
      this.hover(card, steps[Math.max(0, Math.min(steps.length - 1, moves[event.key]))]);
    } else if (event.key === 'Enter') this.choose(card, card.at);
    else if (event.key === 'Escape') this.zoom(card.panel.axis, null);
    else return;
    event.preventDefault();
  }
}

// A piece of a curve, for legends.
function swatch(curve) {
  return element('svg', {class: 'stroke ' + curve.color, width: 22, height: 4, 'aria-hidden': 'true'},
    element('line', {x1: 0, x2: 22, y1: 2, y2: 2, 'stroke-dasharray': curve.dash || null}));
}

// The running mean of each value over a share of them all, half to each side; skips what is null.
function smoothed(values, share) {
  const reach = Math.floor(values.length * share / 2);
  if (!reach) return values;
  const sums = [0], counts = [0];
  values.forEach((value) => {
    sums.push(sums.at(-1) + (value === null ? 0 : value));
    counts.push(counts.at(-1) + (value === null ? 0 : 1));
  });
  return values.map((_, i) => {
    const low = Math.max(0, i - reach), high = Math.min(values.length, i + reach + 1);
    const count = counts[high] - counts[low];
    return count ? (sums[high] - sums[low]) / count : null;
  });
}

function extent(values, panel) {
  if (panel.share) {
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    return [0, most > 0.5 ? 1 : Math.max(0.05, most * 1.1)];
  }
  if (!values.length) return [0, 1];
  let low = values[0], high = values[0];
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (panel.zero) low = Math.min(0, low);
  if (low === high) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  const room = (high - low) * 0.06;
  return [panel.zero && low === 0 ? 0 : low - room, high + room];
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((one) => one >= 0.7 * rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

function compact(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return Number((value / 1e9).toPrecision(3)) + 'B';
  if (size >= 1e6) return Number((value / 1e6).toPrecision(3)) + 'M';
  if (size >= 1e4) return Number((value / 1e3).toPrecision(3)) + 'k';
  if (size && size < 1e-3) return value.toExponential(0).replace('e-', 'e−');
  return String(Number(value.toPrecision(3))).replace('-', '−');
}

function axes(card, y0, y1) {
  const {X, Y, width} = card, found = [];
  for (const value of ticks(y0, y1, 5)) {
    found.push(element('line', {class: 'grid', x1: LEFT, x2: width - RIGHT, y1: Y(value), y2: Y(value)}),
      element('text', {class: 'tick', x: LEFT - 7, y: Y(value) + 3.5, 'text-anchor': 'end'},
        compact(value)));
  }
  const steps = ticks(card.x0, card.x1, Math.max(2, Math.floor(width / 90)))
    .filter((step) => Number.isInteger(step));
  for (const step of steps) {
    found.push(element('text', {class: 'tick', x: X(step), y: HEIGHT - 7, 'text-anchor': 'middle'},
      compact(step)));
  }
  found.push(element('line', {class: 'base', x1: LEFT, x2: width - RIGHT, y1: HEIGHT - BOTTOM,
    y2: HEIGHT - BOTTOM}));
  return found;
}

// The path through the points of a range; where there are too many, the extremes of each stretch.
function path(x, y, card, inside) {
  const indices = [];
  for (let i = 0; i < x.length; i++) {
    if (inside(x[i]) || inside(x[i + 1] ?? NaN) || inside(x[i - 1] ?? NaN)) indices.push(i);
  }
  const stride = Math.max(1, Math.ceil(2 * indices.length / MOST_POINTS));
  let d = '', pen = false;
  for (let k = 0; k < indices.length; k += stride) {
    let some = indices.slice(k, k + stride);
    if (stride > 1) {
      const known = some.filter((i) => y[i] !== null);
      const by = (better) => known.reduce((a, b) => (better(y[b], y[a]) ? b : a), known[0]);
      some = known.length ? [by((a, b) => a < b), by((a, b) => a > b)].sort((a, b) => a - b) : [some[0]];
    }
    for (const i of some) {
      if (y[i] === null) { pen = false; continue; }
      const px = Math.min(card.width - RIGHT, Math.max(LEFT, card.X(x[i])));
      d += (pen ? 'L' : 'M') + px.toFixed(1) + ' ' + card.Y(y[i]).toFixed(1);
      pen = true;
    }
  }
  return d;
}

function area(band, X, Y, inside) {
  const points = band.x.map((step, i) => [step, band.low[i], band.high[i]])
    .filter(([step, low, high]) => inside(step) && low !== null && high !== null);
  const there = points.map(([step, , high]) => `${X(step).toFixed(1)} ${Y(high).toFixed(1)}`);
  const back = points.reverse().map(([step, low]) => `${X(step).toFixed(1)} ${Y(low).toFixed(1)}`);
  return element('path', {class: 'band', d: points.length ? 'M' + [...there, ...back].join('L') + 'Z'
    : ''});
}
