// Who rang and when: the log, and the banner when it happens.

const relativeFormat = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const absoluteFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const UNITS = [['day', 86400], ['hour', 3600], ['minute', 60]];
const LOG_LENGTH = 30;
const BANNER_MS = 60000;
const TITLE = document.title;

/** "just now", "5 minutes ago", "yesterday". A clock that is ahead of ours counts as now. */
export function relative(at) {
  const seconds = Math.max(0, (Date.now() - Date.parse(at)) / 1000);
  for (const [unit, length] of UNITS) {
    if (seconds >= length) return relativeFormat.format(-Math.floor(seconds / length), unit);
  }
  return 'just now';
}

export function absolute(at) {
  return absoluteFormat.format(new Date(at));
}

/** Shows the latest rings of all doorbells, newest first. */
export function showLog(list, doorbells) {
  const rings = doorbells.flatMap(({ name, rings }) => rings.map((ring) => ({ name, ...ring })));
  rings.sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
  const template = document.getElementById('ring').content.firstElementChild;
  list.replaceChildren(...rings.slice(0, LOG_LENGTH).map((ring) => {
    const item = template.cloneNode(true);
    item.querySelector('.who').textContent = ring.name;
    const time = item.querySelector('time');
    time.dateTime = ring.at;
    time.querySelector('.absolute').textContent = absolute(ring.at);
    time.querySelector('.relative').textContent = relative(ring.at);
    return item;
  }));
  return rings.length;
}

/** Keeps "5 minutes ago" true. */
export function refreshTimes(root) {
  for (const time of root.querySelectorAll('time[datetime]')) {
    time.querySelector('.relative').textContent = relative(time.dateTime);
  }
}

/** Banners for rings, one for each doorbell. */
export class Banners {
  #root;
  #shown = new Map();

  constructor(root) {
    this.#root = root;
  }

  ring(id, name, at, show) {
    this.dismiss(id);
    const banner = document.getElementById('banner').content.firstElementChild.cloneNode(true);
    banner.querySelector('p').textContent = `Somebody is at ${name}`;
    banner.title = absolute(at);
    banner.querySelector('.show').onclick = () => {
      this.dismiss(id);
      show();
    };
    banner.querySelector('.close').onclick = () => this.dismiss(id);
    this.#shown.set(id, { banner, timer: setTimeout(() => this.dismiss(id), BANNER_MS) });
    this.#root.prepend(banner);
    document.title = `🔔 ${name} · ${TITLE}`;
  }

  dismiss(id) {
    const shown = this.#shown.get(id);
    if (!shown) return;
    clearTimeout(shown.timer);
    shown.banner.remove();
    this.#shown.delete(id);
    if (!this.#shown.size) document.title = TITLE;
  }
}
