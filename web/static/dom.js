// Small functions that all scripts share: elements, messages of the page's language, announcements, requests.

export const $ = (selector, within = document) => within.querySelector(selector);

const messages = JSON.parse($('#words')?.textContent ?? '{}');
const plurals = new Intl.PluralRules(document.documentElement.lang || 'en');

/** Returns the message `key` of `words/…/script.ftl` with its variables; `count` selects the plural. */
export function t(key, values = {}) {
  const chosen = 'count' in values ? messages[`${key}-${plurals.select(values.count)}`] ?? messages[`${key}-other`] : undefined;
  return (chosen ?? messages[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function button(words, press, className = 'quiet') {
  const made = element('button', className, words);
  made.type = 'button';
  made.onclick = press;
  return made;
}

/** Number of uploads that wait or run. While there are some, a reload would stop them. */
export const uploads = { open: 0 };

let lastSaid = 0, sayLater;
/** Announces `text` to screen readers, at most every two seconds; `now` announces it immediately. */
export function say(text, now = false) {
  clearTimeout(sayLater);
  const wait = now ? 0 : Math.max(0, lastSaid + 2000 - Date.now());
  sayLater = setTimeout(() => { lastSaid = Date.now(); $('#said').textContent = text; }, wait);
}

let toastEnds;
/** Shows a confirmation for ten seconds and announces it; `undo` is what its button does, `link` leads to the result. */
export function toast(text, undo, link) {
  const box = $('#toast');
  clearTimeout(toastEnds);
  box.replaceChildren(element('span', '', text));
  if (link) box.append(Object.assign(element('a', '', link.words), { href: link.url }));
  if (undo) box.append(button(t('undo'), () => { box.hidden = true; undo(); }));
  box.hidden = false;
  toastEnds = setTimeout(() => { if (!box.contains(document.activeElement)) box.hidden = true; }, 10000);
  say(text, true);
}

export function size(bytes) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) { bytes /= 1000; unit++; }
  return `${bytes.toFixed(unit && bytes < 99.95 ? 1 : 0)} ${units[unit]}`;
}

export const seconds = (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 2 : 1)} s`;

/** Formats a position as the server does: `0:04.2`, `1:02:03.5`. */
export function position(seconds) {
  const tenths = Math.round(Math.max(0, seconds) * 10), whole = Math.floor(tenths / 10);
  const two = (n) => String(n).padStart(2, '0'), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}.${tenths % 10}`;
}

/** Formatters, which are slow to make: by whether they show the time of day, in the user's zone or as it is. */
const formats = new Map();

function format(at, clock, local) {
  const key = `${clock} ${local}`;
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: clock ? 'short' : undefined, timeZone: local ? 'UTC' : undefined }));
  return formats.get(key).format(at);
}

/** Shows moments (`…Z`) in the user's time zone, and days and local times as they are, in the user's language. */
export function localTimes(within) {
  for (const time of within.querySelectorAll('time[datetime]')) {
    if ('plain' in time.dataset) continue;
    const local = !time.dateTime.endsWith('Z'), clock = time.dateTime.includes('T') && !('day' in time.dataset);
    const at = new Date(local ? `${time.dateTime.slice(0, 19)}${time.dateTime.includes('T') ? '' : 'T00:00'}Z` : time.dateTime);
    if (isNaN(at)) continue;
    const text = format(at, clock, local);
    if (time.textContent !== text) time.textContent = text;
  }
}

/** Returns the message of a failed response: the detail of problem+json, or the status. */
export function failureOf(status, body) {
  try {
    const problem = JSON.parse(body);
    return problem.detail || problem.title || problem.error?.message || t('answered-status', { status });
  } catch { return status ? t('answered-status', { status }) : t('connection-was-lost'); }
}

/** Fetches JSON; throws an error with the server's message and `status` otherwise. */
export async function json(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw Object.assign(new Error(failureOf(response.status, await response.text())), { status: response.status });
  return response.status === 204 ? null : response.json();
}

/** Fetches another state of a page as a document, or `null` if the server has none. */
export async function fetchPage(url) {
  const response = await fetch(url, { headers: { Accept: 'text/html' } });
  return response.ok ? new DOMParser().parseFromString(await response.text(), 'text/html') : null;
}

/** Waits; ends early when the connection is back, and throws when `signal` aborts. */
export function sleep(seconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal?.addEventListener('abort', () => { clearTimeout(timer); failed(new Error(t('cancelled'))); });
    addEventListener('online', () => { clearTimeout(timer); done(); }, { once: true });
  });
}

/** Whether a click asks for the link itself, and not for a new tab or window. */
export const isPlainClick = (event) => event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;

/** Yields the events of a text/event-stream body as [name, data]. */
export async function* serverEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      let name = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) name = line.slice(6).trim();
        if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
      if (data.length) yield [name, JSON.parse(data.join('\n'))];
    }
  }
}
