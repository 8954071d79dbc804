// A slider under the player, with the moments as marks, which shows thumbnails of the video while one looks through it.

import { $, element, position, t } from './dom.js';
import { refreshers } from './live.js';

export function start(signal) {
  scrub();
  document.addEventListener('player', scrub, { signal });
  refreshers.add(showMoments);
  signal.addEventListener('abort', () => refreshers.delete(showMoments));
}

/** Marks the moments of the list on the strip. */
function showMoments() {
  const marks = $('.scrub .marks'), length = $('#player')?.duration;
  if (!marks || !length) return;
  marks.replaceChildren(...moments().filter(({ start }) => start < length).map(({ start }) => {
    const mark = element('span');
    mark.style.left = `${100 * start / length}%`;
    return mark;
  }));
}

function moments() {
  return [...document.querySelectorAll('.moments [data-seek]')].map((link) => ({
    start: Number(link.dataset.seek), end: Number(link.dataset.end), text: $('[dir]', link)?.textContent ?? '',
  }));
}

/** Parses the thumbnails of a clip from the WebVTT of its sprites: [{ start, end, url, x, y, width, height }]. */
export async function scrubPictures(url) {
  const response = await fetch(url);
  if (!response.ok) return [];
  const clock = (text) => text.split(':').reduce((sum, part) => 60 * sum + Number(part), 0);
  return [...(await response.text()).matchAll(/^([\d:.]+) --> ([\d:.]+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$/gm)].map(
    ([, start, end, sheet, ...place]) => {
      const [x, y, width, height] = place.map(Number);
      return { start: clock(start), end: clock(end), url: new URL(sheet, new URL(url, location)).href, x, y, width, height };
    });
}

/** Returns the thumbnail whose time is nearest to `second`. */
function nearest(pictures, second) {
  return pictures.reduce((best, one) => (best && Math.abs(best.start - second) <= Math.abs(one.start - second) ? best : one), undefined);
}

/** A slider under the player, which shows the thumbnail of the time under the pointer or selected by keys. */
function scrub() {
  const box = $('#player-box'), player = $('#player'), url = box?.dataset.sprites;
  if (!url || !player || $('.scrub')) return;
  const strip = element('div', 'scrub'), peek = element('div', 'peek'), picture = element('div', 'picture'), at = element('span', 'at');
  const range = element('input'), marks = element('div', 'marks');
  Object.assign(range, { type: 'range', min: 0, step: 'any', value: 0 });
  range.setAttribute('aria-label', t('scrub'));
  peek.hidden = true;
  peek.setAttribute('aria-hidden', 'true');
  peek.append(picture, at);
  marks.setAttribute('aria-hidden', 'true');
  strip.append(peek, marks, range);
  box.append(strip);
  let pictures, moving = false;
  const length = () => { range.max = player.duration || 0; told(); showMoments(); };
  const told = () => range.setAttribute('aria-valuetext', t('position-of', { at: position(Number(range.value)), length: position(Number(range.max)) }));
  const show = async (second) => {
    // Sprites are fetched on first use.
    pictures ??= scrubPictures(url).catch(() => []);
    const found = nearest(await pictures, second);
    const moment = moments().findLast(({ start, end }) => start <= second + 0.05 && second <= end + 0.05);
    at.textContent = moment ? `${position(second)} · ${moment.text}` : position(second);
    if (!found) return;
    Object.assign(picture.style, {
      width: `${found.width}px`, height: `${found.height}px`, backgroundImage: `url("${found.url}")`, backgroundPosition: `-${found.x}px -${found.y}px`,
    });
    const width = strip.clientWidth, half = found.width / 2;
    peek.style.left = `${Math.min(Math.max(width * second / (Number(range.max) || 1), half), Math.max(width - half, half)) - half}px`;
    peek.hidden = false;
  };
  const hide = () => { if (!moving) peek.hidden = true; };
  strip.onpointermove = (event) => {
    const { left, width } = range.getBoundingClientRect();
    if (event.pointerType === 'mouse' || moving) show(Math.min(1, Math.max(0, (event.clientX - left) / width)) * Number(range.max));
  };
  strip.onpointerleave = hide;
  range.onpointerdown = () => { moving = true; };
  range.onpointerup = range.onpointercancel = () => { moving = false; hide(); };
  range.onblur = () => { moving = false; hide(); };
  range.oninput = () => { player.currentTime = Number(range.value); told(); show(player.currentTime); };
  range.onkeydown = (event) => {
    // Keys move by 1 s, PageUp and PageDown by 10 s; the pointer by 0.1 s.
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (!step) return;
    event.preventDefault();
    range.value = Number(range.value) + step;
    range.oninput();
  };
  player.addEventListener('loadedmetadata', length);
  player.addEventListener('durationchange', length);
  player.addEventListener('timeupdate', () => { if (!moving) { range.value = player.currentTime; told(); } });
  if (player.readyState) length();
}
