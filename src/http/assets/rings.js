// Who rang and what moved: the log, and the banner when somebody rings.

import { Thumbnails } from './pictures.js';

const relativeFormat = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const absoluteFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const UNITS = [['day', 86400], ['hour', 3600], ['minute', 60]];
const LOG_LENGTH = 30;
/** A busy street must not push the rings out of the log. */
const MOTIONS = 10;
/** A ring that was known later than this was no ring in time, and the page says so. */
const LATE_MS = 10000;
const KINDS = {
  motion: 'Motion',
  person: 'A person',
  face: 'A face',
  vehicle: 'A vehicle',
  pet: 'A pet',
  package: 'A parcel',
  sound: 'A sound',
};
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

/** The latest motions that this page heard of, newest last. The service keeps none. */
export class Motions {
  latest = [];

  keep({ id, event_id: eventId, at, kind }) {
    this.latest = [...this.latest.filter((known) => known.id !== id || known.eventId !== eventId), { id, eventId, at, kind }].slice(-MOTIONS);
  }
}

/** The latest rings and motions of all doorbells, newest first, with the pictures that belong to rings. */
export class Log {
  #list;
  #thumbnails;
  #shown = '';

  constructor(list, view) {
    this.#list = list;
    this.#thumbnails = new Thumbnails(view);
  }

  /** How many there are. */
  show(doorbells, motions) {
    const events = latest(doorbells, motions);
    const shown = JSON.stringify(events);
    if (this.#shown === shown) return events.length;
    this.#shown = shown;
    const held = this.#list.contains(document.activeElement) ? document.activeElement : null;
    this.#list.replaceChildren(...events.map((event) => this.#item(event)));
    this.#thumbnails.keep(new Set(events.map(({ picture }) => picture)));
    if (held?.isConnected) held.focus({ preventScroll: true });
    return events.length;
  }

  #item({ name, at, what, ring, picture }) {
    const item = document.getElementById('ring').content.firstElementChild.cloneNode(true);
    item.classList.toggle('motion', !ring);
    item.querySelector('.who').textContent = name;
    item.querySelector('.what').textContent = what;
    const time = item.querySelector('time');
    time.dateTime = at;
    time.querySelector('.absolute').textContent = absolute(at);
    time.querySelector('.relative').textContent = relative(at);
    if (picture) item.append(this.#thumbnails.of(picture, `${name}, ${absolute(at)}`));
    return item;
  }
}

function latest(doorbells, motions) {
  const names = new Map(doorbells.map(({ id, name }) => [id, name]));
  const events = [
    ...doorbells.flatMap(({ name, rings }) => rings.map((ring) => ({ name, at: ring.at, what: rung(ring), ring: true, picture: ring.picture }))),
    ...motions.latest.filter(({ id }) => names.has(id)).map(({ id, at, kind }) => ({ name: names.get(id), at, what: KINDS[kind] ?? kind })),
  ];
  return events.sort((a, b) => Date.parse(b.at) - Date.parse(a.at)).slice(0, LOG_LENGTH);
}

function rung({ latency_ms: latency }) {
  return latency > LATE_MS ? `Rang, known ${Math.round(latency / 1000)} s late` : 'Rang';
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
