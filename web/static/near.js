// Shows the pictures of cards that are near what is seen. The browser itself loads some fifty pictures ahead, more than a first look needs.

/** How far ahead pictures are shown: before anybody scrolls, and then. */
const AT_FIRST = '100px', SCROLLING = '1200px';

/** Shows the pictures of cards of class `later` in `videos`, also of those that are added, until `signal` aborts. */
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
  watch(AT_FIRST);
  addEventListener('scroll', () => watch(SCROLLING), { once: true, passive: true, signal });
  const added = new MutationObserver(observe);
  added.observe(videos, { childList: true, subtree: true });
  signal.addEventListener('abort', () => { observer.disconnect(); added.disconnect(); });
}
