// While files are uploaded, links and forms of this site are followed without a reload, which would stop the uploads: the page is fetched and
// shown in place of the present one.

import { $, isPlainClick, localTimes, say, t, uploads } from './dom.js';

let start, here = location.pathname + location.search;

/** Follows links and forms. `begin` starts the scripts of the page that is shown. */
export function follow(begin) {
  start = begin;
  document.addEventListener('click', clicked);
  document.addEventListener('submit', submitted);
  addEventListener('popstate', () => {
    // Not for another place on the same page, which the browser shows by itself.
    if (location.pathname + location.search !== here) show(location.href, {}, false);
  });
}

/** Changes the address to that of what is shown now. `isNew` adds it to the history. */
export function address(url, isNew) {
  if (isNew) history.pushState(null, '', url); else history.replaceState(null, '', url);
  here = location.pathname + location.search;
}

/** Goes to a page of this site. */
export function go(url) {
  if (uploads.open) show(new URL(url, location.href).href, {}, true); else location.assign(url);
}

/** Whether `url` is a page of this site, and not a file. */
const isPage = (url) => url.origin === location.origin && !/^\/(api|v1|static|metrics|logout|videos\/download)(\/|$)/.test(url.pathname);

function clicked(event) {
  const link = event.target.closest('a[href]');
  if (!link || event.defaultPrevented || !uploads.open || !isPlainClick(event) || link.target || link.hasAttribute('download')) return;
  const url = new URL(link.href);
  if (url.pathname === location.pathname && url.search === location.search && url.hash) return;
  event.preventDefault();
  if (isPage(url)) show(url.href, {}, true); else window.open(url.href);
}

function submitted(event) {
  const form = event.target, action = new URL(event.submitter?.getAttribute('formaction') ?? form.getAttribute('action') ?? location.href, location.href);
  if (event.defaultPrevented || !uploads.open || form.method === 'dialog' || !isPage(action)) return;
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  if (form.method === 'post') return show(action.href, { method: 'POST', body: fields }, true);
  action.search = fields;
  show(action.href, {}, true);
}

async function show(url, request, isNew) {
  let response, text;
  try {
    response = await fetch(url, { ...request, headers: { Accept: 'text/html' } });
    if (!response.headers.get('Content-Type')?.startsWith('text/html')) return void window.open(url);
    text = await response.text();
  } catch {
    return say(t('connection-was-lost'), true);
  }
  const fresh = new DOMParser().parseFromString(text, 'text/html'), main = $('#main', fresh);
  if (!main) return location.assign(url);
  if (isNew) address(response.url + new URL(url).hash, true);
  else here = location.pathname + location.search;
  document.title = fresh.title;
  document.documentElement.dataset.changes = fresh.documentElement.dataset.changes;
  for (const id of ['header', 'banner']) {
    const old = document.getElementById(id), part = fresh.getElementById(id);
    if (old && part) old.replaceChildren(...document.importNode(part, true).childNodes);
  }
  $('#main').replaceWith(document.importNode(main, true));
  localTimes(document.body);
  await start();
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.scrollIntoView(); else scrollTo(0, 0);
  $('#main').focus({ preventScroll: true });
  say(document.title, true);
}
