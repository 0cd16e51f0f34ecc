// The page: puts the house's doorbells, rings and news where they belong.

import { Access } from './access.js';
import { Accounts } from './accounts.js';
import { Card } from './card.js';
import { Clips } from './clips.js';
import { Events, forgetToken, keepToken, request } from './house.js';
import { PictureView } from './pictures.js';
import { Banners, Log, Motions, refreshTimes } from './rings.js';
import { Setup } from './setup.js';
import { setSentence, setText, setTone } from './text.js';

const BROKER = {
  connected: ['good', 'Broker connected'],
  waiting: ['bad', 'Waiting for a broker'],
  disconnected: ['bad', 'Broker disconnected'],
  off: ['quiet', 'No broker'],
};
const REFRESH_MS = 15000;
/** A ring that this page missed by so little is announced all the same: people open the page because of it. */
const FRESH_RING_MS = 45000;
/** How long a broken connection is worth no word. */
const LOST_MS = 1500;

const part = (id) => document.getElementById(id);
const doorbells = new Map();
const cards = new Map();
const announced = new Set();
const access = new Access(part('access'));
const setup = new Setup(part('setup'));
const clips = new Clips(part('clips'));
const view = new PictureView(part('picture'));
const accounts = new Accounts(part('accounts'), (account) => setup.correct(account));
const banners = new Banners(part('banners'));
const motions = new Motions();
const log = new Log(part('rings'), view);
const events = new Events();
let lostTimer = 0;
/** The clips that every doorbell can play. */
let offered = [];

// As a panel of Home Assistant.
document.documentElement.classList.toggle('framed', window.parent !== window);

function showOnly(id) {
  for (const section of ['house', 'empty', 'sign-in', 'loading']) part(section).hidden = section !== id;
}

function showAll(list) {
  const ids = new Set(list.map(({ id }) => id));
  for (const [id, card] of cards) {
    if (ids.has(id)) continue;
    card.remove();
    cards.delete(id);
    doorbells.delete(id);
  }
  list.forEach(showOne);
  showOnly(list.length ? 'house' : 'empty');
  part('doorbells').dataset.count = list.length;
}

function showOne(doorbell) {
  doorbells.set(doorbell.id, doorbell);
  const card = cards.get(doorbell.id);
  if (card) {
    card.update(doorbell);
  } else {
    const created = new Card(doorbell, view);
    created.offer(offered);
    cards.set(doorbell.id, created);
    part('doorbells').append(created.element);
  }
  showRings();
}

function showRings() {
  const count = log.show([...doorbells.values()], motions);
  part('no-rings').hidden = count > 0;
}

function rang({ id, event_id: eventId, at }) {
  const card = cards.get(id);
  // One button may ring two doors, under one id.
  const ring = `${id} ${eventId}`;
  if (!card || announced.has(ring)) return;
  announced.add(ring);
  card.ring();
  banners.ring(id, doorbells.get(id).name, at, () => card.show());
}

function moved(motion) {
  motions.keep(motion);
  showRings();
}

/** There is a new picture: of a ring, if it names one, or one that somebody took. */
function pictured({ id, at, ring: eventId }) {
  const doorbell = doorbells.get(id);
  if (!doorbell) return;
  const picture = `api/doorbells/${id}/rings/${spelt(eventId)}.jpg`;
  const rings = doorbell.rings.map((ring) => (ring.event_id === eventId ? { ...ring, picture } : ring));
  showOne({ ...doorbell, picture_at: at, rings });
}

/** As the service spells it in an address, so that both are the same picture. */
function spelt(text) {
  return encodeURIComponent(text).replace(/[.!*'()]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}

function showClips(all) {
  offered = all;
  clips.show(all);
  cards.forEach((card) => card.offer(all));
}

function showBroker(state) {
  part('broker').hidden = false;
  setTone(part('broker'), ...BROKER[state]);
}

function showAccounts(all) {
  accounts.show(all);
  setup.update(all);
  part('open-setup').hidden = false;
  setText(part('first-step'), all.length ? 'Its accounts have none, or are not logged in yet.' : 'Add the account that your doorbell belongs to.');
}

function askForToken(message = '') {
  cards.forEach((card) => card.stop());
  events.close();
  forgetToken();
  showOnly('sign-in');
  access.clear();
  clips.clear();
  view.close();
  accounts.clear();
  setup.close();
  part('open-setup').hidden = true;
  part('broker').hidden = true;
  setSentence(part('sign-in-error'), message);
  part('token').focus();
}

/** Shows the house as it is, then listens to what happens. */
async function enter() {
  try {
    showAll(await (await request('api/doorbells')).json());
  } catch (refusal) {
    if (refusal.status === 401) return askForToken();
    if (refusal.status === 429) return askForToken(refusal.message);
    // Nobody is there yet: the events find out when that changes.
  }
  events.open();
}

part('open-setup').onclick = () => setup.open();
part('add-first').onclick = () => setup.add();

part('sign-in-form').onsubmit = async (event) => {
  event.preventDefault();
  keepToken(part('token').value.trim());
  try {
    await request('api/doorbells');
  } catch (refusal) {
    return askForToken(refusal.message);
  }
  part('token').value = '';
  enter();
};

events.addEventListener('snapshot', ({ detail }) => {
  showAll(detail.doorbells);
  for (const { id, last_ring: ring } of detail.doorbells) {
    if (ring && Date.now() - Date.parse(ring.at) < FRESH_RING_MS) rang({ id, ...ring });
  }
  showBroker(detail.mqtt);
  showAccounts(detail.accounts);
  showClips(detail.clips);
  access.refresh();
  part('demo').hidden = !detail.demo_hint;
  setSentence(part('demo'), detail.demo_hint ?? '');
  part('footer').textContent = `Doorstep ${detail.version}`;
});
events.addEventListener('state', ({ detail }) => showOne(detail.doorbell));
events.addEventListener('accounts', ({ detail }) => showAccounts(detail.accounts));
events.addEventListener('motion', ({ detail }) => moved(detail));
events.addEventListener('picture', ({ detail }) => pictured(detail));
events.addEventListener('clips', ({ detail }) => showClips(detail.clips));
events.addEventListener('ring', ({ detail }) => rang(detail));
events.addEventListener('mqtt', ({ detail }) => showBroker(detail.mqtt));
events.addEventListener('locked', () => askForToken('The token is no longer right.'));
events.addEventListener('found', () => {
  clearTimeout(lostTimer);
  lostTimer = 0;
  part('lost').hidden = true;
});
events.addEventListener('lost', () => {
  lostTimer ||= setTimeout(() => {
    part('lost').hidden = false;
    part('broker').hidden = true;
  }, LOST_MS);
});

document.addEventListener('visibilitychange', () => cards.forEach((card) => card.pageChanged()));
window.addEventListener('pagehide', () => cards.forEach((card) => card.stop()));
window.addEventListener('pageshow', ({ persisted }) => persisted && cards.forEach((card) => card.pageChanged()));
setInterval(() => {
  refreshTimes(part('rings'));
  cards.forEach((card) => card.refreshTimes());
}, REFRESH_MS);

enter();
