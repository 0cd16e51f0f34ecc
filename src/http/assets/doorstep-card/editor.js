// The card's settings in the visual editor of dashboards.

import { setSentence } from '../text.js';
import { doorbells } from './entities.js';
import { sheet, template } from './look.js';
import { MOST_REPLIES } from './settings.js';
import { speaker } from './words.js';
import { WAYS } from './ways.js';

const OTHER = '';
const MARKUP = template(`
  <form class="editor" autocomplete="off">
    <label><span>Doorbell</span><select name="picked"></select></label>
    <label class="other"><span>Id of the doorbell</span><input name="doorbell" spellcheck="false" placeholder="wyze_d03f27a1b2c3"></label>
    <label><span>Name</span><input name="name"></label>
    <label><span>Quick replies, one a line</span><textarea name="replies" rows="4" spellcheck="false" aria-describedby="replies-hint"></textarea></label>
    <p id="replies-hint"></p>
    <label><span>Way to Doorstep</span><select name="way"></select></label>
    <label><span>Slug of the app (ingress)</span><input name="app" spellcheck="false" placeholder="local_doorstep"></label>
    <label><span>Address of Doorstep (direct)</span><input name="url" spellcheck="false" placeholder="https://doorstep.example"></label>
  </form>`);

export class DoorstepCardEditor extends HTMLElement {
  #form;
  #config = {};
  #hass;
  #known = '';

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    root.adoptedStyleSheets = [sheet];
    root.append(MARKUP.cloneNode(true));
    this.#form = root.querySelector('form');
    this.#form.onsubmit = (event) => event.preventDefault();
    this.#form.onchange = () => this.#changed();
    this.#form.oninput = ({ target }) => target.tagName !== 'SELECT' && this.#changed();
  }

  setConfig(config) {
    this.#config = config;
    this.#show();
  }

  set hass(hass) {
    this.#hass = hass;
    const known = [hass.language, ...doorbells(hass).map(({ id, name }) => `${id} ${name}`)].join();
    if (known === this.#known) return;
    this.#known = known;
    this.#show();
  }

  #show() {
    const say = speaker(this.#hass?.language);
    for (const label of this.#form.querySelectorAll('label span')) {
      label.dataset.sentence ??= label.textContent;
      label.textContent = say(label.dataset.sentence);
    }
    const { doorbell = '', way = 'auto' } = this.#config;
    const found = doorbells(this.#hass);
    const { picked } = this.#form.elements;
    picked.replaceChildren(...found.map(({ id, name }) => new Option(name || id, id)), new Option(say('Another one, by its id'), OTHER));
    picked.value = found.some(({ id }) => id === doorbell) ? doorbell : OTHER;
    this.#form.querySelector('.other').hidden = picked.value !== OTHER;
    const names = { auto: 'Automatic', integration: 'Integration', ingress: 'App (ingress)', direct: 'Direct' };
    this.#form.elements.way.replaceChildren(...['auto', ...WAYS].map((each) => new Option(say(names[each]), each, false, each === way)));
    setSentence(this.#form.querySelector('#replies-hint'), say('`clip`, `Name = clip`, or `Name: what is to be spoken`. Without any, the card offers the clips that there are.'));
    const values = { ...this.#config, replies: written(this.#config.replies) };
    for (const name of ['doorbell', 'name', 'replies', 'app', 'url']) {
      const input = this.#form.elements[name];
      // Not under the hands of whoever types.
      if (this.shadowRoot.activeElement !== input) input.value = values[name] ?? '';
    }
  }

  #changed() {
    const { picked, doorbell, way, replies, ...inputs } = Object.fromEntries(new FormData(this.#form));
    const config = { ...this.#config, doorbell: picked || doorbell.trim() };
    const lines = replies.split('\n').map(readReply).filter(Boolean);
    if (lines.length) config.replies = lines.slice(0, MOST_REPLIES);
    else delete config.replies;
    // What is as it is without being set is not written.
    for (const [name, value] of Object.entries({ ...inputs, way: way === 'auto' ? '' : way })) {
      if (value.trim()) config[name] = value.trim();
      else delete config[name];
    }
    if (!picked && this.#form.querySelector('.other').hidden) {
      config.doorbell = '';
      this.#form.querySelector('.other').hidden = false;
      this.#form.elements.doorbell.focus();
    }
    this.#config = config;
    this.dispatchEvent(new CustomEvent('config-changed', { detail: { config }, bubbles: true, composed: true }));
  }
}

/** Replies as lines; anything else as nothing, since only its owner's hand put it there. */
function written(replies) {
  if (!Array.isArray(replies)) return '';
  return replies.map(({ name, clip, message }) => (clip ? [name, clip].filter(Boolean).join(' = ') : `${name ?? message}: ${message}`)).join('\n');
}

/** One of those lines. */
function readReply(line) {
  const [, name, sign, said] = line.match(/^([^=:]*)([=:])(.*)$/)?.map((part) => part.trim()) ?? [, line.trim(), '', ''];
  if (!name) return null;
  if (sign && !said) return null;
  if (!sign) return { clip: name };
  return sign === '=' ? { name, clip: said } : { name, message: said };
}
