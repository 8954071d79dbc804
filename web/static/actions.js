// Actions of the page of a video: forms marked with `data-inline` are sent without leaving the page, so that the video plays on.

import { offerCopy } from './copy.js';
import { $, t, toast } from './dom.js';
import { refresh } from './live.js';

export function start(signal) {
  // Before links and forms are followed without a reload.
  document.addEventListener('submit', submitted, { signal, capture: true });
  $('#downloads')?.addEventListener('toggle', fillDownloads);
  for (const menu of document.querySelectorAll('.actions .menu')) menu.addEventListener('toggle', closeOthers);
  offerCopy(signal);
}

/** Sends a form. Returns what the server says against it as a page, or `null`. */
export async function send(form, submitter) {
  const response = await fetch(form.action, {
    method: 'POST', redirect: 'manual', headers: { Accept: 'text/html' }, body: new URLSearchParams(new FormData(form, submitter)),
  });
  // A form that worked leads to the page that is shown already.
  if (response.type === 'opaqueredirect' || response.ok) return null;
  return new DOMParser().parseFromString(await response.text(), 'text/html');
}

async function submitted(event) {
  const form = event.target;
  if (!form.matches('form[data-inline]')) return;
  event.preventDefault();
  const { done, undo, sure } = form.dataset;
  if (sure && !confirm(sure)) return;
  try {
    const problem = await send(form, event.submitter);
    if (problem) return toast($('main p', problem)?.textContent ?? t('action-failed'));
  } catch {
    return toast(t('connection-was-lost'));
  }
  if ('clear' in form.dataset) form.reset();
  await refresh();
  toast(done, undo && (() => document.getElementById(undo)?.requestSubmit()));
}

function closeOthers(event) {
  if (!event.target.open) return;
  for (const menu of document.querySelectorAll('.actions .menu[open]')) if (menu !== event.target) menu.open = false;
}

/** Lets the links of the menu lead to the picture and the moment that are shown. */
function fillDownloads() {
  const player = $('#player'), picture = $('#save-picture'), moment = $('#save-moment');
  if (!player) return;
  const time = Math.max(0, Math.min(player.currentTime, (player.duration || 0) - 0.05));
  const url = new URL(picture.href);
  url.searchParams.set('t', time.toFixed(3));
  picture.href = url.href;
  const shown = [...document.querySelectorAll('.moments [data-seek]')]
    .findLast((link) => Number(link.dataset.seek) <= time + 0.05 && time <= Number(link.dataset.end) + 0.05);
  moment.hidden = !shown;
  if (shown) moment.href = $('.save', shown.parentElement).href;
}
