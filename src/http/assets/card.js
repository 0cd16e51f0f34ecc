// One doorbell: its picture, its button to talk, what it can say by itself, its doors, and what is known of it.

import { Door } from './door.js';
import { request } from './house.js';
import { draw, fetchInTurn, fetchPicture } from './pictures.js';
import { Player, keepPicture } from './player.js';
import { absolute, relative } from './rings.js';
import { Say } from './say.js';
import { Talk } from './talk.js';
import { LINKS, setSentence, setText, setTone } from './text.js';

/** How long a card that went out of sight keeps playing, so that scrolling past does not stop the camera. */
const LINGER_MS = 3000;
/** How long a card stands out after a ring. */
const RING_MS = 30000;

/** A live picture that comes sooner needs none to stand in for it. */
const POSTER_AFTER_MS = 400;

const CODECS = { h264: 'H.264', h265: 'H.265', pcmu: 'G.711 µ-law', pcma: 'G.711 A-law', pcm: 'PCM', aac: 'AAC', opus: 'Opus' };

export class Card {
  element = document.getElementById('card').content.firstElementChild.cloneNode(true);

  #doorbell;
  #player;
  #talk;
  #say;
  #view;
  #lock;
  #garage;
  #video = this.#part('video');
  #inSight = false;
  #lingering = 0;
  #ringing = 0;
  #countdown = 0;
  #poster = 0;
  /** When the picture was taken that is shown, or that a live one has overtaken. */
  #posterAt = null;

  /** `view` shows pictures in large. */
  constructor(doorbell, view) {
    this.#doorbell = doorbell;
    this.#view = view;
    this.element.id = `doorbell-${doorbell.id}`;
    const title = this.#part('h2');
    title.id = `name-${doorbell.id}`;
    this.element.setAttribute('aria-labelledby', title.id);
    this.#player = new Player(this.#video, doorbell.whep, this.#can('talk'), request);
    this.#talk = new Talk(this.#part('.talk'), this.#player);
    this.#say = new Say(doorbell.id);
    this.#part('.doors').before(this.#say.element);
    this.#lock = new Door('lock', doorbell.id);
    this.#garage = new Door('garage', doorbell.id);
    this.#part('.doors').append(this.#lock.element, this.#garage.element);
    this.#player.addEventListener('change', () => this.#playerChanged());
    this.#player.addEventListener('ending', () => this.#keepPicture());
    this.#part('.again').onclick = () => this.#player.retry();
    this.#video.addEventListener('resize', () => this.#fit());
    this.#wireTools();
    this.#talk.addEventListener('note', ({ detail }) => this.#note(detail));
    this.#talk.addEventListener('change', () => this.element.classList.toggle('talking', this.#talk.state === 'talking'));
    this.#observer.observe(this.element);
    this.update(doorbell);
  }

  #observer = new IntersectionObserver((entries) => {
    this.#inSight = entries.at(-1).isIntersecting;
    this.#play();
    this.#showVeil();
  }, { threshold: 0.2 });

  update(doorbell) {
    const before = this.#doorbell.link;
    this.#doorbell = doorbell;
    this.#part('h2').textContent = doorbell.name;
    this.#video.setAttribute('aria-label', `Live picture: ${doorbell.name}`);
    this.#part('.talk').hidden = !this.#can('talk');
    this.#part('.take').hidden = !this.#can('snapshot');
    const { door, garage } = doorbell;
    this.#lock.update(door && { ...door, state: door.lock }, doorbell.name);
    this.#garage.update(garage, doorbell.name);
    this.#part('.obstacle').hidden = !doorbell.talk_obstacle;
    setSentence(this.#part('.obstacle'), doorbell.talk_obstacle ?? '');
    this.refreshTimes();
    this.#showLink();
    this.#showDetails();
    this.#talk.update(doorbell);
    this.#say.update(doorbell);
    // A doorbell that came back need not wait for the next try.
    if (before !== doorbell.link && ['ready', 'streaming'].includes(doorbell.link)) this.#player.retry();
    this.#play();
    this.#showVeil();
  }

  /** The clips that there are. */
  offer(clips) {
    this.#say.offer(clips);
  }

  /** Stands out for a while. */
  ring() {
    clearTimeout(this.#ringing);
    this.element.classList.add('ringing');
    this.#ringing = setTimeout(() => this.element.classList.remove('ringing'), RING_MS);
  }

  show() {
    this.element.scrollIntoView({ block: 'center' });
    this.element.focus({ preventScroll: true });
  }

  refreshTimes() {
    const ring = this.#doorbell.last_ring;
    const line = this.#part('.last-ring');
    line.textContent = ring ? `Rang ${relative(ring.at)}` : 'No ring yet';
    line.title = ring ? absolute(ring.at) : '';
  }

  /** The page comes to the front or goes away. */
  pageChanged() {
    // Whoever turns away or locks the phone with the button held does not know that the door still listens.
    if (document.hidden) this.#letGo();
    this.#play();
  }

  /** Ends everything at once; `pageChanged` brings it back. */
  stop() {
    this.#letGo();
    clearTimeout(this.#lingering);
    this.#lingering = 0;
    this.#player.stop();
  }

  /** Of every button. */
  #letGo() {
    this.#talk.release();
    this.#lock.release();
    this.#garage.release();
  }

  remove() {
    this.#observer.disconnect();
    clearTimeout(this.#ringing);
    clearTimeout(this.#poster);
    this.stop();
    this.element.remove();
  }

  // The picture.

  /** Plays while somebody can see it, so that cameras and batteries rest otherwise. */
  #play() {
    const wanted = this.#inSight && !document.hidden && this.#can('stream') && this.#doorbell.link !== 'needs_attention';
    if (wanted) {
      clearTimeout(this.#lingering);
      this.#lingering = 0;
      this.#player.start();
    } else if (this.#player.wanted && !this.#lingering) {
      this.#lingering = setTimeout(() => this.stop(), LINGER_MS);
    }
  }

  #playerChanged() {
    this.#showLink();
    this.#showVeil();
  }

  /** What was seen last stays, blurred, behind whatever is said instead of a picture. */
  #keepPicture() {
    const still = this.#part('.still');
    if (!keepPicture(this.#video, still)) return;
    still.classList.remove('taken');
    this.#part('.still-time').hidden = true;
    this.#posterAt = this.#doorbell.picture_at;
  }

  /** Where no live picture is, the newest that there is stands in for it. No camera is woken for that. */
  #awaitPoster(mood) {
    const { picture_at: at } = this.#doorbell;
    if (mood === 'live' || !at || at === this.#posterAt || !this.#inSight || document.hidden) {
      clearTimeout(this.#poster);
      this.#poster = 0;
    } else {
      this.#poster ||= setTimeout(() => this.#showPoster(), POSTER_AFTER_MS);
    }
  }

  async #showPoster() {
    const { picture_at: at } = this.#doorbell;
    this.#poster = 0;
    this.#posterAt = at;
    try {
      const still = this.#part('.still');
      await draw(still, await fetchInTurn(`api/doorbells/${this.#doorbell.id}/snapshot.jpg?wake=false`));
      still.classList.add('taken');
      const time = this.#part('.still-time');
      setText(time, `Picture of ${absolute(at)}`);
      time.hidden = false;
    } catch {
      // Why there is no live picture is said already, and an older one is as good.
    }
  }

  /** Takes a picture now, and shows it. */
  async #takePicture() {
    const button = this.#part('.take');
    if (button.ariaBusy === 'true') return;
    button.ariaBusy = 'true';
    this.#note('');
    try {
      const picture = await fetchPicture(`api/doorbells/${this.#doorbell.id}/snapshot.jpg`);
      this.#view.open(`${this.#doorbell.name}, ${absolute(Date.now())}`, () => picture);
    } catch (refusal) {
      this.#note(refusal.message);
    }
    button.ariaBusy = 'false';
  }

  #showLink() {
    const live = this.#player.phase === 'live';
    this.#part('.sound').disabled = !live;
    const [word, tone] = live ? ['Live', 'live'] : LINKS[this.#doorbell.link];
    setTone(this.#part('.link'), tone, word);
    const { viewers } = this.#doorbell;
    this.#part('.viewers').hidden = viewers === 0;
    setText(this.#part('.viewers .text'), viewers);
    this.#part('.viewers').title = viewers === 1 ? '1 viewer' : `${viewers} viewers`;
  }

  #showVeil() {
    const [title, reason, mood] = this.#veil();
    this.#part('.stage').dataset.mood = mood;
    setText(this.#part('.veil-title'), title);
    setSentence(this.#part('.veil-reason'), reason);
    this.#part('.again').hidden = !['waiting', 'refused'].includes(mood);
    clearTimeout(this.#countdown);
    this.#awaitPoster(mood);
    if (mood === 'waiting') this.#countdown = setTimeout(() => this.#showVeil(), 1000);
  }

  /** Title, reason and mood of what covers the picture; mood `live` covers nothing. */
  #veil() {
    const { link, why } = this.#doorbell;
    const { phase, reason, retryAt } = this.#player;
    if (!this.#can('stream')) return ['This doorbell has no picture', '', 'still'];
    if (link === 'needs_attention') return ['Needs attention', why ?? '', 'trouble'];
    switch (phase) {
      case 'live':
        return ['', '', 'live'];
      case 'connecting':
        return link === 'offline' && why ? ['Offline', `${why} Trying to reach it …`, 'connecting'] : ['Connecting …', '', 'connecting'];
      case 'waiting': {
        const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
        return [link === 'offline' ? 'Offline' : 'No picture', `${reason} Trying again in ${seconds} s.`, 'waiting'];
      }
      case 'refused':
        return ['No picture', reason, 'refused'];
      default:
        return ['Paused', '', 'still'];
    }
  }

  /** Doorbells look down at the mat as often as across the street: the frame takes the picture's shape. */
  #fit() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth) return;
    const shape = Math.min(16 / 9, Math.max(4 / 5, videoWidth / videoHeight));
    this.#part('.stage').style.setProperty('--shape', shape);
    this.#showDetails();
  }

  #wireTools() {
    const sound = this.#part('.sound');
    sound.onclick = () => {
      this.#video.muted = !this.#video.muted;
      sound.setAttribute('aria-pressed', String(!this.#video.muted));
      setText(sound.querySelector('.text'), this.#video.muted ? 'Listen' : 'Mute');
    };
    const wide = this.#part('.wide');
    wide.hidden = !document.fullscreenEnabled;
    wide.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : this.#part('.stage').requestFullscreen());
    this.#part('.take').onclick = () => this.#takePicture();
  }

  #note(sentence) {
    setSentence(this.#part('.note'), sentence);
  }

  // What is known.

  #showDetails() {
    const { id, model, vendor, firmware, link, transport, codecs, viewers, why } = this.#doorbell;
    const { videoWidth, videoHeight } = this.#video;
    const size = videoWidth ? ` ${videoWidth} × ${videoHeight}` : '';
    const audio = codecs.audio;
    const rows = [
      ['Link', why ? `${LINKS[link][0]}: ${why}` : LINKS[link][0]],
      ['Transport', transport],
      ['Picture', codecs.video && CODECS[codecs.video] + size],
      ['Sound', audio && `${CODECS[audio.codec]}, ${audio.rate_hz / 1000} kHz`],
      ['Viewers', viewers],
      ['Model', `${vendor} ${model}`],
      ['Firmware', firmware],
      ['Id', id],
    ];
    this.#part('dl').replaceChildren(...rows.filter(([, value]) => value !== null && value !== undefined).flatMap(([term, value]) => {
      const [dt, dd] = [document.createElement('dt'), document.createElement('dd')];
      dt.textContent = term;
      dd.textContent = value;
      return [dt, dd];
    }));
  }

  #can(capability) {
    return this.#doorbell.capabilities.includes(capability);
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }
}
