// The main script. Every page works without scripts; they add uploads with progress, live pages, a player that goes on while something is
// changed, and streamed answers. All HTML comes from the server: scripts only set text.
//
// A module exports `start(signal)`, which is called for each page, also for one that is shown without a reload; `signal` aborts when that
// page leaves. Listeners on `document` and `window` that belong to a page are added with it.

import { $, localTimes } from './dom.js';
import { listen } from './live.js';
import { follow, go } from './navigate.js';

/** Modules, and the selector of what they are for. */
const MODULES = [
  ['#upload, #add', './upload.js'],
  ['#list, #new-album-menu', './library.js'],
  ['#player-box', './player.js'],
  ['#player-box', './scrub.js'],
  ['#transcript', './transcript.js'],
  ['.actions', './actions.js'],
  ['#edit-open, #edit-form', './edit.js'],
  ['#shortcuts', './shortcuts.js'],
  ['#ask', './ask.js'],
  ['#ask-all', './ask-all.js'],
  ['#charts', './charts.js'],
];

let leaves = new AbortController();

async function start() {
  leaves.abort();
  leaves = new AbortController();
  const { signal } = leaves;
  localTimes(document.body);
  const wanted = MODULES.filter(([selector]) => $(selector)).map(([, module]) => import(module));
  for (const module of await Promise.all(wanted)) if (!signal.aborted) module.start(signal);
  // With scripts, a question is asked on its own page, where it is shown as it is answered and can be stopped.
  for (const form of document.querySelectorAll('form[action="/ask"]:not(#ask-all)')) form.method = 'get';
  // So is what ends with a question mark in the box of the header, if the reader may ask.
  const find = $('.find');
  if (find && 'asks' in find.dataset) find.onsubmit = (event) => {
    const words = $('#find').value.trim();
    if (!/[?？؟]$/.test(words)) return;
    event.preventDefault();
    event.stopPropagation();
    go(`/ask?question=${encodeURIComponent(words)}`);
  };
  document.documentElement.dataset.started = '';
  const open = () => document.querySelectorAll('details.menu[open]');
  document.addEventListener('click', (event) => { for (const menu of open()) if (!menu.contains(event.target)) menu.open = false; }, { signal });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    for (const menu of open()) { if (menu.contains(document.activeElement)) $('summary', menu).focus(); menu.open = false; }
  }, { signal });
}

follow(start);
listen();
start();
