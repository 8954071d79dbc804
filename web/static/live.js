// Live pages: when something has changed, fetches the page again and replaces the parts marked with `data-live`.

import { $, element, fetchPage, localTimes, say, t } from './dom.js';

/** Parts that are swapped by their own module: id → function (old, fresh). */
export const swappers = new Map();
/** Called with each fresh page. */
export const refreshers = new Set();
/** Called with each event: (type, data). `changes` is the first of a connection: events before it may have been missed. */
export const listeners = new Set();

const seen = new WeakMap();
let refreshing = false, refreshAgain = false, refreshTimer;

export async function refresh() {
  if (refreshing) { refreshAgain = true; return; }
  refreshing = true;
  const url = location.href;
  try {
    const fresh = await fetchPage(url);
    if (!fresh || url !== location.href) return;
    document.documentElement.dataset.changes = fresh.documentElement.dataset.changes;
    for (const part of fresh.querySelectorAll('[data-live]')) {
      const old = document.getElementById(part.id);
      if (old) (swappers.get(part.id) ?? swap)(old, part);
    }
    for (const call of refreshers) await call(fresh);
  } catch { /* the server is away; the next event tries again */ } finally {
    refreshing = false;
    if (refreshAgain) { refreshAgain = false; refreshSoon(); }
  }
}

/** Throttles to every 300 ms. Not debounced: a fast series of events would never update the page. */
export function refreshSoon() {
  refreshTimer ??= setTimeout(() => { refreshTimer = undefined; refresh(); }, 300);
}

const CONTROLS = 'a[href], button, input, select, textarea, summary';

/** Replaces the content of `old` by that of `part`, if it differs; focus and open details stay. Returns whether it did. */
export function swap(old, part) {
  if (seen.get(old) === part.innerHTML) return false;
  seen.set(old, part.innerHTML);
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const again = focused && finder(old, focused);
  const opened = [...old.querySelectorAll('details[open]')].map((details) => details.closest('[id]')?.id);
  old.replaceChildren(...document.importNode(part, true).childNodes);
  localTimes(old);
  for (const id of opened) document.getElementById(id)?.querySelector('details')?.setAttribute('open', '');
  if (again) again();
  return true;
}

/** Returns a function that focuses the control of new content that stands for `focused`: the same one, else that in its place. */
function finder(part, focused) {
  const href = focused.getAttribute('href'), action = focused.form?.getAttribute('action');
  const index = [...part.querySelectorAll(CONTROLS)].indexOf(focused), name = focused.getAttribute('name');
  return () => {
    const controls = [...part.querySelectorAll(CONTROLS)];
    const same = (focused.id && document.getElementById(focused.id))
      || (href && controls.find((control) => control.getAttribute('href') === href))
      || (action && controls.find((control) => control.form?.getAttribute('action') === action && control.getAttribute('name') === name));
    const place = same || controls[Math.min(index, controls.length - 1)];
    if (place) return place.focus();
    part.tabIndex = -1;
    part.focus();
  };
}

let away = false, awayTimer;

function connectionLost() {
  away = true;
  awayTimer ??= setTimeout(() => {
    $('#connection').replaceChildren(element('span', '', t('connection-lost')));
    $('#connection').hidden = false;
    say(t('connection-lost'), true);
  }, 5000);
}

/** Called when a connection begins, with the number of changes so far. Refreshes the page if it was rendered before the last of them. */
function connected(changes) {
  clearTimeout(awayTimer);
  awayTimer = undefined;
  if (away || (changes !== document.documentElement.dataset.changes && $('[data-live]'))) refreshSoon();
  away = false;
  if (!$('#connection').hidden) say(t('connection-back'), true);
  $('#connection').hidden = true;
}

function received({ type, data }) {
  if (type === 'error') return connectionLost();
  const mine = location.pathname.match(/^\/videos\/([\w-]+)/)?.[1];
  if (type === 'changes') connected(data);
  else if (type === 'progress') progressed(JSON.parse(data));
  else if (type !== 'sample' && $('[data-live]') && (!mine || type === 'lagged' || data.includes(mine))) refreshSoon();
  for (const call of listeners) call(type, data);
}

function progressed({ video_id, stage, done, total }) {
  // How far it has come is in the page itself.
  if (stage === 'listen') return;
  const name = t(`stage-${stage}`);
  for (const place of document.querySelectorAll(`[data-progress="${CSS.escape(video_id)}"]`)) {
    place.textContent = total ? t('stage-of', { name, done, total }) : done ? t('stage-at', { name, done }) : name;
  }
}

/** Receives events while the page is visible, through a worker that all tabs share, or without one directly. */
export function listen() {
  let state, source;
  const url = new URL('./events.js', import.meta.url);
  const port = 'SharedWorker' in window ? new SharedWorker(url, { name: 'events' }).port : null;
  if (port) {
    port.onmessage = ({ data }) => received(data);
    port.start();
  }
  const direct = (wanted) => {
    if (!wanted || source) { if (!wanted) { source?.close(); source = undefined; } return; }
    source = new EventSource('/api/events');
    for (const type of ['video', 'job', 'progress', 'sample', 'lagged', 'changes', 'error']) source.addEventListener(type, (event) => received({ type, data: event.data }));
  };
  const tell = (now) => {
    if (now === state) return;
    // What was missed while hidden comes with one refresh.
    if (now === 'visible' && state && $('[data-live]')) refreshSoon();
    state = now;
    if (port) port.postMessage(now); else direct(now === 'visible');
  };
  tell(document.visibilityState);
  document.addEventListener('visibilitychange', () => tell(document.visibilityState));
  addEventListener('pagehide', () => tell('gone'));
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
}
