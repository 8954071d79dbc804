// Keyboard shortcuts, outside of fields and without modifiers. They can be switched off, because speech input types single keys.

import { $ } from './dom.js';

const OFF = 'homereel-shortcuts-off';

export function start(signal) {
  const opener = $('#shortcuts-open'), on = $('#shortcuts-on');
  on.checked = !isOff();
  on.onchange = () => { try { if (on.checked) localStorage.removeItem(OFF); else localStorage.setItem(OFF, '1'); } catch { /* storage is not allowed */ } };
  if (opener) {
    opener.hidden = false;
    opener.onclick = help;
  }
  document.addEventListener('keydown', pressed, { signal });
}

function isOff() {
  try { return localStorage.getItem(OFF) === '1'; } catch { return false; }
}

const KEYS = {
  ' ': play, k: play,
  j: () => skip(-10), l: () => skip(10), ArrowLeft: () => skip(-5), ArrowRight: () => skip(5),
  f: fullScreen, m: mute, c: captions,
  s: () => press('#favourite button'), n: () => press('.trail .next'), p: () => press('.trail .previous'),
  '.': () => moment(1), ',': () => moment(-1),
  '/': search, '?': help,
};

function pressed(event) {
  const { key, target } = event;
  const act = KEYS[key.length === 1 ? key.toLowerCase() : key];
  if (!act || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isOff() || $('dialog[open]')) return;
  if (target.closest('input, select, textarea, [contenteditable]') || event.isComposing) return;
  // The space bar presses what has the focus; links are followed by Enter only.
  if (key === ' ' && target.closest('button, summary')) return;
  if (act() !== false) event.preventDefault();
}

function help() {
  $('#shortcuts').showModal();
  $('#shortcuts button').focus();
  return true;
}

/** Goes to the next moment, or to the one before. */
function moment(step) {
  const player = $('#player'), links = [...document.querySelectorAll('.moments [data-seek]')], starts = links.map((link) => Number(link.dataset.seek));
  if (!player || !links.length) return false;
  // Somewhat into a moment, the one before is its own beginning, as with the tracks of a music player.
  const at = step > 0 ? starts.findIndex((start) => start > player.currentTime + 0.05) : starts.findLastIndex((start) => start < player.currentTime - 1);
  links[at]?.click();
  return true;
}

function play() {
  const player = $('#player');
  if (!player) return false;
  if (player.paused) player.play().catch(() => {}); else player.pause();
  return true;
}

function skip(seconds) {
  const player = $('#player');
  if (!player) return false;
  player.currentTime = Math.max(0, Math.min(player.currentTime + seconds, player.duration || 0));
  return true;
}

function fullScreen() {
  const player = $('#player');
  if (!player) return false;
  if (document.fullscreenElement) document.exitFullscreen(); else player.requestFullscreen?.().catch(() => {});
  return true;
}

function mute() {
  const player = $('#player');
  if (!player) return false;
  player.muted = !player.muted;
  return true;
}

function captions() {
  const tracks = [...$('#player')?.textTracks ?? []].filter((track) => track.kind === 'captions');
  const shown = tracks.find((track) => track.mode === 'showing');
  if (shown) shown.mode = 'disabled'; else if (tracks.length) tracks[0].mode = 'showing';
  return tracks.length > 0;
}

function press(selector) {
  const control = $(selector);
  control?.click();
  return Boolean(control);
}

function search() {
  const field = $('#find');
  if (field?.checkVisibility()) field.focus(); else location.assign('/search');
  return true;
}
