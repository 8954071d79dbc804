// A shared worker that holds the one connection for events of all tabs of this browser: HTTP/1.1 allows six connections per host, and
// six tabs with one each would leave none for anything else. The connection exists while a tab is visible.

const NAMES = ['changes', 'video', 'job', 'progress', 'sample', 'lagged'];
const visible = new Map();
let source;

function tell(message) {
  for (const port of visible.keys()) port.postMessage(message);
}

function settle() {
  const wanted = [...visible.values()].some(Boolean);
  if (!wanted && source) { source.close(); source = undefined; }
  if (wanted && !source) connect();
}

function connect() {
  const mine = source = new EventSource('/api/events');
  for (const name of NAMES) mine.addEventListener(name, ({ data }) => tell({ type: name, data }));
  mine.onerror = () => {
    tell({ type: 'error' });
    // After a response that is no stream, the browser does not retry.
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => { if (source === mine) { source = undefined; settle(); } }, 3000);
  };
}

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data === 'gone') visible.delete(port); else visible.set(port, data === 'visible');
    settle();
    if (data === 'visible' && source?.readyState === EventSource.OPEN) port.postMessage({ type: 'changes' });
  };
  port.start();
};
