// Loads the pictures of cards shortly before they scroll into view. The browser's own lazy loading begins 1250 px ahead, which is more
// than a first visit needs.

/** Distance from the screen at which a picture is loaded: until the reader first scrolls, and from then on. */
const UNSCROLLED = '100px', SCROLLED = '1200px';

/** Loads the pictures of the cards of class `later` in `videos`, also of cards that are added, until `signal` aborts. */
export function near(videos, signal) {
  let observer;
  const observe = () => { for (const card of videos.querySelectorAll('.later:not(.near)')) observer.observe(card); };
  const watch = (rootMargin) => {
    observer?.disconnect();
    observer = new IntersectionObserver((entries, self) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) { target.classList.add('near'); self.unobserve(target); }
    }, { rootMargin });
    observe();
  };
  watch(UNSCROLLED);
  addEventListener('scroll', () => watch(SCROLLED), { once: true, passive: true, signal });
  const added = new MutationObserver(observe);
  added.observe(videos, { childList: true, subtree: true });
  signal.addEventListener('abort', () => { observer.disconnect(); added.disconnect(); });
}
