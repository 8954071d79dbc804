// The player: links to a second seek without a reload, and lists of times mark the place that is shown.

import { $, fetchPage, isPlainClick } from './dom.js';
import { refreshers } from './live.js';
import { mark } from './marks.js';
import { address, go } from './navigate.js';
import { followLines } from './transcript.js';

export function start(signal) {
  watch();
  refreshers.add(update);
  signal.addEventListener('abort', () => refreshers.delete(update));
  document.addEventListener('click', seek, { signal });
}

function watch() {
  const player = $('#player');
  if (!player) return;
  player.onerror = () => { $('#cannot-play').hidden = false; };
  if (player.error) player.onerror();
  player.onended = playNext;
  if (new URLSearchParams(location.search).get('play') === 'all') player.play().catch(() => { /* a browser may want a click first */ });
  player.ontimeupdate = () => {
    for (const list of document.querySelectorAll('.moments, .lines')) mark(list, player.currentTime);
    followLines(player);
  };
}

/** Plays the next video of an album: on its page, or in the same player while it fills the screen, which another page would end. */
async function playNext() {
  const player = $('#player'), next = player.dataset.next ?? $('.trail [data-plays-all]')?.href;
  if (!next) return;
  const fills = () => document.fullscreenElement === player || document.pictureInPictureElement === player;
  if (!fills()) return go(next);
  const page = await fetchPage(next).catch(() => null), there = page && $('#player', page);
  if (!there || !fills()) return go(next);
  player.replaceChildren(...document.importNode(there, true).childNodes);
  player.src = there.getAttribute('src');
  player.poster = there.getAttribute('poster') ?? '';
  player.dataset.next = $('.trail [data-plays-all]', page)?.getAttribute('href') ?? '';
  player.play().catch(() => { /* the reader plays it */ });
  const follow = () => {
    if (fills()) return;
    // A page that is shown without a reload has a player of its own.
    document.onfullscreenchange = player.onleavepictureinpicture = null;
    const url = new URL(next, location.href);
    url.searchParams.set('t', player.currentTime.toFixed(3));
    go(url.href);
  };
  document.onfullscreenchange = player.onleavepictureinpicture = follow;
}

function seek(event) {
  const link = event.target.closest('[data-seek]'), player = $('#player');
  if (!link || !player || !isPlainClick(event)) return;
  event.preventDefault();
  // A millisecond later: players round, and may show the picture before the one that begins then.
  player.currentTime = Number(link.dataset.seek) + 0.001;
  const url = new URL(location.href);
  url.searchParams.set('t', link.dataset.seek);
  address(url, false);
  if (matchMedia('(max-width: 52rem)').matches) player.scrollIntoView({ block: 'nearest' });
}

/** Shows the player, its tracks and its sprites once they exist. A player that is there is never replaced. */
function update(fresh) {
  const box = $('#player-box'), freshBox = $('#player-box', fresh);
  if (!box || !freshBox) return;
  if (!$('video', box) && $('video', freshBox)) {
    box.replaceChildren(...document.importNode(freshBox, true).childNodes);
    watch();
    document.dispatchEvent(new Event('player'));
  }
  for (const track of freshBox.querySelectorAll('track')) {
    const src = track.getAttribute('src'), present = box.querySelector(`track[label="${CSS.escape(track.label)}"]`);
    if (!present) $('video', box)?.append(document.importNode(track));
    else if (present.getAttribute('src') !== src) present.src = src;
  }
  if (freshBox.dataset.sprites && !box.dataset.sprites) {
    box.dataset.sprites = freshBox.dataset.sprites;
    document.dispatchEvent(new Event('player'));
  }
}
