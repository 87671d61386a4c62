'use strict';
// Text of models as text alone: it is never parsed as HTML, and what cannot be seen is named.

// As report_page.py's _HIDDEN has them one by one.
const HIDDEN =
  /(?![\t\n])[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]/gu;

// An element with attributes and children; strings become text nodes, null is left out.
function element(tag, attributes, ...children) {
  const svg = ['svg', 'g', 'path', 'line', 'rect', 'circle', 'text', 'title'].includes(tag);
  const made = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) {
      made.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }
  return made;
}

// Nodes for a text of a model, with a box that names each character that cannot be seen.
function visible(text) {
  const nodes = [];
  let end = 0;
  for (const match of String(text).matchAll(HIDDEN)) {
    if (match.index > end) nodes.push(document.createTextNode(text.slice(end, match.index)));
    const name = 'U+' + match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
    nodes.push(element('span', {class: 'hidden-character', title: 'a character that cannot be seen'},
      name));
    end = match.index + match[0].length;
  }
  if (end < String(text).length) nodes.push(document.createTextNode(String(text).slice(end)));
  return nodes;
}

function formatted(value, digits) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (digits !== undefined) return value.toLocaleString('en-US',
    {minimumFractionDigits: digits, maximumFractionDigits: digits});
  if (Number.isInteger(value)) return value.toLocaleString('en-US');
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US');
  if (size >= 0.001) return String(Number(value.toPrecision(4)));
  return value === 0 ? '0' : value.toExponential(2);
}
