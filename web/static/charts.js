// Adds samples of each second to the charts of the system page, as the server drew them.

import { $, json, size } from './dom.js';
import { listeners } from './live.js';

const WIDTH = 180, HEIGHT = 48, SLOTS = 180;
/** How values are written, by the id of the chart. */
const WRITE = {
  'chart-ttft': (value) => `${value.toFixed(2)} s`,
  'chart-memory': size,
  'chart-disk': size,
  'chart-gpu': (value) => `${value.toFixed(0)} %`,
  'chart-temperature': (value) => `${value.toFixed(0)} °C`,
};
const number = (value) => value.toFixed(Number.isInteger(value) || value >= 10 ? 0 : 1);

export async function start(signal) {
  const box = $('[data-live-charts]');
  if (!box) return;
  const { samples, step_s, memory_bytes, disk_bytes } = await json('/api/system/samples').catch(() => ({ samples: [] }));
  if (signal.aborted || !step_s) return;
  const fixed = { 'chart-memory': memory_bytes, 'chart-disk': disk_bytes, 'chart-gpu': 100, 'chart-temperature': 100 };
  let part = [];
  const received = (type, data) => {
    if (type !== 'sample') return;
    const newest = JSON.parse(data);
    part.push(newest);
    // A point is the mean of a few seconds; the number is that of the last one.
    if (part.length >= step_s) {
      samples.push(mean(part));
      part = [];
      if (samples.length > SLOTS) samples.shift();
    }
    for (const chart of box.querySelectorAll('.chart')) draw(chart, samples, newest, fixed[chart.id]);
  };
  listeners.add(received);
  signal.addEventListener('abort', () => listeners.delete(received));
}

function mean(part) {
  const names = Object.keys(part[0]);
  return Object.fromEntries(names.map((name) => {
    const values = part.map((sample) => sample[name]).filter((value) => value !== null);
    return [name, values.length ? values.reduce((sum, value) => sum + value) / values.length : null];
  }));
}

function draw(chart, samples, newest, fixed) {
  const lines = [...chart.querySelectorAll('[data-series]')], write = WRITE[chart.id] ?? number;
  const values = lines.map((line) => samples.map((sample) => sample[line.dataset.series]));
  const top = fixed || roundTop(Math.max(0, ...values.flat().filter((value) => value !== null)));
  lines.forEach((line, index) => line.replaceChildren(...parts(values[index], top)));
  const now = lines.map((line) => newest[line.dataset.series]).filter((value) => value !== null);
  $('.now', chart).textContent = now.map(write).join(' / ');
  $('.top', chart).textContent = write(top);
}

function parts(values, top) {
  const step = WIDTH / (SLOTS - 1), first = SLOTS - values.length, found = [[]];
  values.forEach((value, index) => {
    if (value === null) return void found.push([]);
    const y = HEIGHT - HEIGHT * Math.min(1, Math.max(0, value / top));
    found.at(-1).push(`${((first + index) * step).toFixed(1)},${y.toFixed(1)}`);
  });
  return found.filter((part) => part.length).map((part) => {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    if (part.length === 1) part.unshift(part[0].replace(/^[\d.]+/, (x) => (x - 1).toFixed(1)));
    line.setAttribute('points', part.join(' '));
    return line;
  });
}

/** Returns the number at the upper edge for values up to `most`: 1, 2 or 5 times a power of ten. */
function roundTop(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= most) ?? most;
}
