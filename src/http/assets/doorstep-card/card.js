// A doorbell on a dashboard: its picture, a button to talk, what can be said by one tap, who rang, and its doors.

import { available as microphoneAvailable } from '../microphone.js';
import { Player, keepPicture } from '../player.js';
import { backoff } from '../request.js';
import { Talk } from '../talk.js';
import { LINKS, setSentence, setText, setTone } from '../text.js';
import { Door } from './doors.js';
import { Entities, deviceOf, doorbells, nameOf } from './entities.js';
import { CARD, DOOR, REPLIES, REPLY, sheet, template } from './look.js';
import { Replies } from './replies.js';
import { read } from './settings.js';
import { findWay, keepToken } from './ways.js';
import { speaker } from './words.js';

/** How long a card that went out of sight keeps playing: scrolling past must not stop the camera. */
const LINGER_MS = 5000;
/** How long a ring is news. */
const BANNER_MS = 30000;
/** How long the replies stand open for whoever rang. */
const REPLIES_MS = 120000;
/** How often Doorstep is asked how the doorbell is, besides whenever Home Assistant tells of a change. */
const LOOK_MS = 10000;
/** The same while the button to talk is held, since Home Assistant does not tell whose voice is played. */
const LOOK_WHILE_TALKING_MS = 400;
const LOOK_WHILE_SAYING_MS = 1000;
/** After so many misses in a row the way is no more, and another one is looked for. */
const MISSES = 3;
const LONGEST_RETRY_MS = 60000;

const NO_HTTPS = 'To talk, open Home Assistant over https: browsers lend the microphone to secure pages only. Home Assistant Cloud will do, or a reverse proxy with a certificate.';
const WAY_NAMES = { integration: 'Integration', ingress: 'App (ingress)', direct: 'Direct' };
const TRIED = template('<li><strong></strong>: <span></span></li>');

export class DoorstepCard extends HTMLElement {
  static getConfigElement() {
    return document.createElement('doorstep-card-editor');
  }

  static getStubConfig(hass) {
    return { doorbell: doorbells(hass)[0]?.id ?? '' };
  }

  #root = this.attachShadow({ mode: 'open' });
  #config = null;
  #hass = null;
  #say = speaker('en');
  #entities = null;
  #doors = [];
  #replies;
  #video;

  #inSight = false;
  #lingering = 0;
  /** `{ way, request, close }` while there is one; `#search` is a mark of the search that is under way. */
  #way = null;
  #search = null;
  #trouble = null;
  #tries = 0;
  #misses = 0;
  #looks = 0;
  #timer = 0;
  #countdown = 0;

  /** As Doorstep told it last. */
  #doorbell = null;
  #player = null;
  #talk = null;
  /** The last ring by its time: 0 for none yet, null for not known. */
  #rangAt = null;
  #banner = 0;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [sheet];
    this.#root.append(CARD.cloneNode(true));
    this.#video = this.#part('video');
    // The attribute of a clone does not count, and browsers play by themselves only what is silent.
    this.#video.muted = true;
    this.#video.addEventListener('resize', () => this.#fit());
    this.#wire();
    const host = {
      entities: () => this.#entities,
      say: (...said) => this.#say(...said),
      name: () => this.#name,
      call: (domain, service, entity, data = {}) => this.#hass.callService(domain, service, data, { entity_id: entity }, false),
      speaking: () => this.#way && this.#doorbell?.speaking,
    };
    this.#doors = ['lock', 'open_door', 'garage'].map((key) => new Door(key, DOOR, host));
    this.#part('.doors').append(...this.#doors.map(({ element }) => element));
    this.#replies = new Replies(REPLIES, REPLY, host);
    this.#part('.answers').append(this.#replies.element);
    this.#speak();
  }

  setConfig(config) {
    const before = this.#config;
    this.#config = read(config);
    const moved = ['doorbell', 'way', 'url', 'app'].some((key) => before?.[key] !== this.#config[key]);
    this.#entities = new Entities(this.#config.doorbell, this.#config.entities);
    this.#replies.give(this.#config.replies);
    this.#rangAt = null;
    if (moved) this.#forget();
    this.#show();
    if (this.#hass) this.hass = this.#hass;
    this.#play();
  }

  /** Called for every change in the house. */
  set hass(hass) {
    const language = this.#hass?.language;
    this.#hass = hass;
    if (hass.language !== language) this.#speak();
    const dark = String(Boolean(hass.themes?.darkMode));
    if (hass.themes && this.dataset.dark !== dark) this.dataset.dark = dark;
    if (!this.#entities) return;
    const entities = this.#entities;
    entities.find(hass).then((others) => others && entities === this.#entities && entities.follow(this.#hass) && this.#followed());
    if (entities.follow(hass)) this.#followed();
    if (!this.#way && !this.#search) this.#play();
  }

  getCardSize() {
    return 7;
  }

  getGridOptions() {
    return { columns: 12, min_columns: 6 };
  }

  connectedCallback() {
    this.#observer.observe(this);
    document.addEventListener('visibilitychange', this.#turned);
    window.addEventListener('pagehide', this.#left);
    window.addEventListener('pageshow', this.#turned);
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    document.removeEventListener('visibilitychange', this.#turned);
    window.removeEventListener('pagehide', this.#left);
    window.removeEventListener('pageshow', this.#turned);
    this.#inSight = false;
    this.#stop();
  }

  #observer = new IntersectionObserver((entries) => {
    this.#inSight = entries.at(-1).isIntersecting;
    this.#play();
  }, { threshold: 0.2 });

  #turned = () => {
    // Whoever turns away or locks the phone with the button held does not know that the door still listens.
    if (document.hidden) this.#talk?.release();
    this.#play();
  };

  #left = () => this.#stop();

  // Whether there is anything to do.

  /** Plays while somebody can see it, so that cameras and batteries rest otherwise. */
  #play() {
    const wanted = this.#inSight && !document.hidden && this.#config && this.#hass;
    if (wanted) {
      clearTimeout(this.#lingering);
      this.#lingering = 0;
      if (!this.#way && !this.#search) this.#find();
    } else if ((this.#way || this.#search) && !this.#lingering) {
      this.#lingering = setTimeout(() => this.#stop(), LINGER_MS);
    }
  }

  /** Ends everything at once; `#play` brings it back. */
  #stop() {
    this.#talk?.release();
    this.#player?.stop();
    this.#way?.close();
    this.#way = null;
    this.#search = null;
    this.#looks += 1;
    clearTimeout(this.#lingering);
    clearTimeout(this.#timer);
    this.#lingering = 0;
    this.#showVeil();
  }

  /** Another doorbell is shown, or another way was chosen. */
  #forget() {
    this.#stop();
    this.#dismiss();
    [this.#doorbell, this.#player, this.#talk, this.#trouble] = [null, null, null, null];
    this.#tries = 0;
    this.#part('.still').width = 0;
    this.#part('.poster').hidden = true;
  }

  // The way, and what comes by it.

  async #find() {
    const search = {};
    this.#search = search;
    this.#showVeil();
    const [hass, config] = [() => this.#hass, this.#config];
    try {
      const found = await findWay({ config, hass, device: deviceOf(this.#hass, config.doorbell), say: this.#say });
      // Stopped, or begun anew, while the answer was on its way.
      if (this.#search !== search) return found.close();
      [this.#way, this.#search, this.#trouble, this.#tries, this.#misses] = [found, null, null, 0, 0];
      this.#told(found.doorbell);
      this.#lookIn(LOOK_MS);
    } catch (trouble) {
      if (this.#search !== search) return;
      this.#trouble = trouble;
      this.#timer = setTimeout(() => this.#find(), backoff(this.#tries++, LONGEST_RETRY_MS));
      this.#showVeil();
    }
  }

  /** At once, whenever the next try would be. */
  #findNow() {
    clearTimeout(this.#timer);
    this.#trouble = null;
    this.#find();
  }

  #lookIn(wait) {
    if (!this.#way) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  /** Asks how the doorbell is. An answer that another one has overtaken is passed over. */
  async #look() {
    const way = this.#way;
    const look = ++this.#looks;
    let doorbell = null;
    try {
      doorbell = await (await way.request(`api/doorbells/${this.#config.doorbell}`)).json();
      this.#misses = 0;
    } catch {
      this.#misses += 1;
    }
    if (look !== this.#looks) return;
    if (this.#misses >= MISSES) {
      this.#stop();
      return this.#play();
    }
    if (doorbell) this.#told(doorbell);
    this.#lookIn(this.#talk?.holding ? LOOK_WHILE_TALKING_MS : this.#replies.busy ? LOOK_WHILE_SAYING_MS : LOOK_MS);
  }

  #told(doorbell) {
    const before = this.#doorbell?.link;
    this.#doorbell = doorbell;
    if (!this.#player) this.#meet();
    const playable = this.#can('stream') && doorbell.link !== 'needs_attention';
    if (playable) this.#player.start();
    else this.#player.stop();
    // A doorbell that came back need not wait for the next try.
    if (before !== doorbell.link && ['ready', 'streaming'].includes(doorbell.link)) this.#player.retry();
    this.#show();
  }

  /** The first word of this doorbell: now it is known what it can do. */
  #meet() {
    this.#player = new Player(this.#video, this.#doorbell.whep, this.#can('talk'), (path, options) => this.#way.request(path, options));
    this.#player.addEventListener('ending', () => keepPicture(this.#video, this.#part('.still')));
    this.#talk = new Talk(this.#part('.talk'), this.#player, (...said) => this.#say(...said));
    this.#talk.addEventListener('note', ({ detail }) => setSentence(this.#part('.body > .note'), detail));
    this.#talk.addEventListener('change', () => {
      this.#lookIn(0);
      this.#announce();
    });
    this.#player.addEventListener('change', () => {
      // Why, and whether there is still such a doorbell here, it is soon told.
      if (this.#player.phase === 'refused') this.#lookIn(0);
      this.#showVeil();
    });
  }

  #can(capability) {
    return Boolean(this.#doorbell?.capabilities.includes(capability));
  }

  // What Home Assistant tells.

  #followed() {
    this.#doors.forEach((door) => door.update());
    this.#replies.update();
    this.#followRing();
    this.#showPoster();
    this.#lookIn(0);
  }

  #followRing() {
    const state = this.#entities.state('ring')?.state;
    const at = state === 'unknown' ? 0 : Date.parse(state);
    if (Number.isNaN(at) || at <= this.#rangAt) return;
    // People open the dashboard because of a ring: one that this card has missed by a little is news as well.
    const age = this.#rangAt === null ? Math.max(0, Date.now() - at) : 0;
    this.#rangAt = at;
    if (at && age < BANNER_MS) this.#ring(at, BANNER_MS - age);
    if (at && age < REPLIES_MS) this.#replies.rang(REPLIES_MS - age);
  }

  #ring(at, stays) {
    const banner = this.#part('.banner');
    setText(banner.querySelector('strong'), this.#say('Somebody is at the door: {name}', { name: this.#name }));
    const time = banner.querySelector('time');
    time.dateTime = new Date(at).toISOString();
    setText(time, new Date(at).toLocaleTimeString(this.#hass.language, { timeStyle: 'short' }));
    banner.hidden = false;
    clearTimeout(this.#banner);
    this.#banner = setTimeout(() => this.#dismiss(), stays);
  }

  #dismiss() {
    clearTimeout(this.#banner);
    this.#part('.banner').hidden = true;
  }

  #answer() {
    this.#dismiss();
    this.#mute(false);
    this.#player?.retry();
    this.#part('.talk').focus();
  }

  // What is seen.

  get #name() {
    const device = this.#hass && deviceOf(this.#hass, this.#config.doorbell);
    return this.#config?.name || this.#doorbell?.name || (device && nameOf(device)) || this.#config?.doorbell || '';
  }

  #wire() {
    const on = (selector, action) => (this.#part(selector).onclick = action);
    on('.answer', () => this.#answer());
    on('.dismiss', () => this.#dismiss());
    on('.again', () => (this.#trouble ? this.#findNow() : this.#player.retry()));
    on('.sound', () => this.#mute(!this.#video.muted));
    this.#part('.token').onsubmit = (event) => {
      event.preventDefault();
      const input = this.#part('.token input');
      keepToken(this.#config.url, input.value.trim());
      input.value = '';
      this.#findNow();
    };
  }

  #mute(muted) {
    this.#video.muted = muted;
    this.#part('.sound').setAttribute('aria-pressed', String(!muted));
  }

  /** Everything that stands on the card whatever happens, in the language of whoever looks at it. */
  #speak() {
    this.#say = speaker(this.#hass?.language);
    const say = this.#say;
    setText(this.#part('.answer'), say('Answer'));
    this.#part('.dismiss').setAttribute('aria-label', say('Dismiss'));
    setText(this.#part('.again'), say('Try now'));
    this.#part('.sound').setAttribute('aria-label', say('Sound'));
    setText(this.#part('.token span'), say('Token of Doorstep, kept in this browser'));
    setText(this.#part('.token button'), say('Open'));
    if (this.#config) this.#show();
  }

  #show() {
    setText(this.#part('h2'), this.#name);
    this.#part('ha-card').setAttribute('aria-label', this.#name);
    this.#video.setAttribute('aria-label', this.#say('Live picture: {name}', { name: this.#name }));
    this.#doors.forEach((door) => door.update());
    this.#replies.update();
    this.#part('.talk').hidden = !this.#can('talk');
    const obstacle = this.#doorbell?.talk_obstacle ?? (this.#can('talk') && !microphoneAvailable() ? this.#say(NO_HTTPS) : null);
    this.#part('.obstacle').hidden = !obstacle;
    setSentence(this.#part('.obstacle'), obstacle ?? '');
    this.#talk?.update({ ...this.#doorbell, name: this.#name, talk_obstacle: obstacle });
    this.#showVeil();
  }

  #showVeil() {
    if (!this.#config) return;
    const { title, reason = '', mood } = this.#veil();
    const trouble = mood === 'lost' ? this.#trouble : null;
    this.#part('.stage').dataset.mood = mood;
    setText(this.#part('.title'), title);
    setSentence(this.#part('.reason'), reason);
    this.#part('.again').hidden = !['waiting', 'refused', 'lost'].includes(mood);
    this.#part('.token').hidden = !trouble?.locked;
    this.#part('.tried').replaceChildren(...(trouble?.tried ?? []).map(({ way, why }) => {
      const line = TRIED.cloneNode(true);
      setText(line.querySelector('strong'), this.#say(WAY_NAMES[way]));
      setSentence(line.querySelector('span'), why);
      return line;
    }));
    clearTimeout(this.#countdown);
    this.#showPoster();
    if (mood === 'waiting') this.#countdown = setTimeout(() => this.#showVeil(), 1000);
    setTone(this.#part('.link'), ...this.#badge(mood));
    this.#announce();
  }

  /** The newest picture that Home Assistant has, while there is no live one. */
  #showPoster() {
    if (!this.#hass || !this.#inSight || this.#part('.stage').dataset.mood === 'live') return;
    const poster = this.#part('.poster');
    poster.alt = this.#say('Last picture: {name}', { name: this.#name });
    // The camera has every picture, and the image those of rings.
    const [camera, image] = ['snapshot', 'ring_picture'].map((key) => this.#entities.state(key));
    const path = (camera ?? image)?.attributes.entity_picture;
    const age = [this.#doorbell?.picture_at, image?.state].join();
    const address = path && `${this.#hass.hassUrl?.(path) ?? path}&at=${encodeURIComponent(age)}`;
    if (!address) poster.hidden = true;
    if (!address || poster.getAttribute('src') === address) return;
    // What was seen last stands before it, until there is a newer one.
    const newer = poster.dataset.age !== undefined && poster.dataset.age !== age;
    poster.dataset.age = age;
    poster.onload = () => {
      poster.hidden = false;
      if (newer) this.#part('.still').width = 0;
    };
    poster.onerror = () => (poster.hidden = true);
    poster.src = address;
  }

  /** What covers the picture; mood `live` covers nothing. */
  #veil() {
    const say = this.#say;
    if (this.#trouble) return { title: say('No way to Doorstep'), mood: 'lost' };
    if (!this.#way) return this.#search ? { title: say('Looking for Doorstep …'), mood: 'connecting' } : { title: say('Paused'), mood: 'still' };
    const { link, why } = this.#doorbell;
    const { phase, reason, retryAt } = this.#player;
    if (!this.#can('stream')) return { title: say('This doorbell has no picture'), mood: 'still' };
    if (link === 'needs_attention') return { title: say('Needs attention'), reason: why ?? '', mood: 'trouble' };
    switch (phase) {
      case 'live':
        return { title: '', mood: 'live' };
      case 'waiting': {
        const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
        const again = say('Trying again in {seconds} s.', { seconds });
        return { title: say(link === 'offline' ? 'Offline' : 'No picture'), reason: `${say(reason)} ${again}`, mood: 'waiting' };
      }
      case 'refused':
        return { title: say('No picture'), reason: say(reason), mood: 'refused' };
      default:
        return { title: say(link === 'offline' ? 'Offline' : 'Connecting …'), reason: link === 'offline' ? why ?? '' : '', mood: 'connecting' };
    }
  }

  #badge(mood) {
    if (mood === 'live') return ['live', this.#say('Live')];
    if (!this.#way) return mood === 'lost' ? ['bad', this.#say('Unreachable')] : ['quiet', this.#part('.title').textContent];
    const [word, tone] = LINKS[this.#doorbell.link];
    return [tone, this.#say(word)];
  }

  /** Tells those who do not see it, once for each change. */
  #announce() {
    const taken = this.#doorbell?.speaking ? 'The doorbell is speaking' : 'Someone else is talking';
    const talks = { talking: 'You are talking', taken }[this.#talk?.state];
    const state = talks ? this.#say(talks) : this.#part('.title').textContent || this.#say('Live');
    setText(this.#part('.spoken'), `${this.#name}: ${state}`);
  }

  /** Doorbells look down at the mat as often as across the street: the frame takes the picture's shape. */
  #fit() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth) return;
    const shape = Math.min(16 / 9, Math.max(4 / 5, videoWidth / videoHeight));
    this.#part('.stage').style.setProperty('--shape', shape);
  }

  #part(selector) {
    return this.#root.querySelector(selector);
  }
}
