// Shows what is in a video while the mouse moves over its card: the pictures of its scrub sprites, which are fetched then.

import { $, element } from './dom.js';

/** How long the mouse rests before anything is fetched. */
const REST_MS = 250;

export function preview(list, signal) {
  if (!matchMedia('(hover: hover) and (prefers-reduced-motion: no-preference)').matches) return;
  let card, timer;
  const leave = () => {
    clearTimeout(timer);
    if (card) $('.preview', card)?.remove();
    card = undefined;
  };
  list.addEventListener('pointerover', (event) => {
    if (event.pointerType !== 'mouse') return;
    const under = event.target.closest('.card[data-id]');
    if (under === card) return;
    leave();
    card = under;
    if (card) timer = setTimeout(() => show(card, () => card === under), REST_MS);
  }, { signal });
  list.addEventListener('pointerleave', leave, { signal });
  signal.addEventListener('abort', leave);
}

async function show(card, isWanted) {
  const sprites = `/api/videos/${card.dataset.id}/sprites.vtt`;
  const pictures = await import('./scrub.js').then(({ scrubPictures }) => scrubPictures(sprites)).catch(() => []);
  const frame = $('.tile', card);
  if (pictures.length < 2 || !isWanted() || !frame) return;
  const picture = element('span', 'preview');
  picture.setAttribute('aria-hidden', 'true');
  const at = (share) => {
    const { url, x, y, width, height } = pictures[Math.min(pictures.length - 1, Math.max(0, Math.floor(share * pictures.length)))];
    const scale = Math.max(frame.clientWidth / width, frame.clientHeight / height);
    Object.assign(picture.style, {
      width: `${width}px`, height: `${height}px`, backgroundImage: `url("${url}")`, backgroundPosition: `-${x}px -${y}px`, scale: String(scale),
    });
    picture.style.setProperty('--share', `${100 * share}%`);
  };
  at(0);
  frame.append(picture);
  frame.onpointermove = (event) => {
    const { left, width } = frame.getBoundingClientRect();
    at((event.clientX - left) / width);
  };
}
