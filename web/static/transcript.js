// The panel of what is said: follows the video, is searched, and its lines are corrected.

import { $, failureOf, fetchPage, isPlainClick, say, t } from './dom.js';
import { refreshers, swap, swappers } from './live.js';
import { mark } from './marks.js';

/** Whether the lines follow the video, the page of lines that is shown instead of that of the URL, and the line last scrolled to. */
const lines = { following: true, page: undefined, shown: undefined, turning: false };

/** Keeps the line that is spoken in view, within its list only. */
export function followLines(player) {
  const list = $('#transcript .lines');
  if (!list?.dataset.from || !lines.following) return;
  const time = player.currentTime, line = $('[aria-current]', list);
  if (time >= Number(list.dataset.until) || time + 0.05 < Number(list.dataset.from)) {
    turn(`${location.pathname}?t=${time.toFixed(3)}`);
  } else if (line && line !== lines.shown) {
    lines.shown = line;
    const row = line.parentElement;
    list.scrollTop = row.offsetTop - (list.clientHeight - row.clientHeight) / 2;
  }
}

/** Shows another page of lines, from the page at `url`. */
async function turn(url) {
  if (lines.turning) return;
  lines.turning = true;
  try {
    const fresh = await fetchPage(url);
    if (!fresh) return;
    lines.page = url;
    replace($('#transcript'), $('#transcript', fresh));
  } catch { /* the server is away */ } finally { lines.turning = false; }
}

/** Replaces the panel, unless a line of it is being corrected. */
function replace(old, part) {
  if (!old || !part || $('#edit-line', old)?.contains(document.activeElement)) return;
  const list = $('.lines', old), from = list?.dataset.from, top = list?.scrollTop;
  if (swap(old, part)) showLines(from, top);
}

/** Prepares new lines; those of the same page stay where they were scrolled to. */
function showLines(from, top) {
  const list = $('#transcript .lines'), button = $('#follow'), player = $('#player');
  lines.shown = undefined;
  if (button) { button.hidden = !player; button.setAttribute('aria-pressed', lines.following); }
  if (list && list.dataset.from === from) list.scrollTop = top;
  if (list && player) mark(list, player.currentTime);
  $('#line-text')?.focus();
}

function setFollowing(following) {
  lines.following = following;
  lines.shown = undefined;
  $('#follow')?.setAttribute('aria-pressed', following);
  if (following && $('#player')) followLines($('#player'));
}

export function start(signal) {
  Object.assign(lines, { following: true, page: undefined, shown: undefined, turning: false });
  swappers.set('transcript', (old, part) => { if (!lines.page) replace(old, part); });
  const again = async () => { if (lines.page) await turn(lines.page); };
  refreshers.add(again);
  signal.addEventListener('abort', () => { refreshers.delete(again); swappers.delete('transcript'); });
  const within = (event) => event.target.closest?.('#transcript .lines');
  // A person who scrolls reads on their own.
  for (const name of ['wheel', 'touchmove']) document.addEventListener(name, (event) => { if (within(event)) setFollowing(false); }, { passive: true, signal });
  document.addEventListener('keydown', (event) => { if (within(event) && /^(Arrow|Page|Home|End)/.test(event.key)) setFollowing(false); }, { signal });
  document.addEventListener('pointerdown', (event) => { if (event.target === within(event)) setFollowing(false); }, { signal });
  document.addEventListener('click', (event) => {
    const link = event.target.closest('[data-turn]');
    if (event.target.closest('#follow')) {
      const again = !lines.following;
      if (again && !$('#transcript .lines')?.dataset.from) turn(`${location.pathname}?t=${$('#player').currentTime.toFixed(3)}`);
      return setFollowing(again);
    }
    if (event.target.closest('.lines [data-seek]')) setFollowing(true);
    if (!link || !isPlainClick(event)) return;
    event.preventDefault();
    setFollowing(false);
    turn(new URL(link.getAttribute('href'), location.origin + location.pathname).href);
  }, { signal });
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (form.id === 'find-line') {
      event.preventDefault();
      setFollowing(false);
      turn(`${location.pathname}?${new URLSearchParams(new FormData(form))}`);
    }
    if (form.id === 'edit-line') { event.preventDefault(); saveLine(form); }
  }, { signal });
  showLines();
}

async function saveLine(form) {
  const response = await fetch(`/api${new URL(form.action).pathname}`, {
    method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text: $('#line-text', form).value }),
  });
  if (!response.ok) return say(failureOf(response.status, await response.text()), true);
  say(t('line-corrected'), true);
  document.activeElement.blur();
  await turn($('[data-turn]', form).href);
}
