// A dashboard as Home Assistant's frontend makes one: a `hass` that is never changed but replaced, and a card.
// Entity ids are such as owners choose: nothing of a doorbell can be read from them.

import '/local/doorstep-card.js';

const query = new URLSearchParams(location.search);
const doorbell = query.get('doorbell');
const REGISTRY = {
  'event.klingel': 'ring',
  'switch.sprechen': 'talk',
  'sensor.verbindung': 'link',
  'camera.bild': 'snapshot',
  'button.bild_machen': 'take_snapshot',
  'lock.haustuer': 'lock',
  'button.summer': 'open_door',
  'cover.tor': 'garage',
  'select.ansage': 'clip',
  'notify.sagen': 'say',
  'button.ruhe': 'stop_saying',
  'image.besuch': 'ring_picture',
};

/** What Home Assistant was asked to do. */
window.services = [];
/** What its WebSocket was asked. */
window.commands = [];

const device = {
  id: 'd1', name: query.get('name') ?? 'Front Door', name_by_user: null, manufacturer: 'Wyze',
  identifiers: [['mqtt', `doorstep_${doorbell}`]], configuration_url: query.get('page'),
};
const bridge = { id: 'd2', name: 'Doorstep', manufacturer: 'Doorstep', identifiers: [['mqtt', 'doorstep_bridge']] };
const lamp = { id: 'd3', name: 'Lamp', manufacturer: 'Acme', identifiers: [['hue', '1']] };

let hass = {
  language: query.get('language') ?? 'en',
  themes: { darkMode: matchMedia('(prefers-color-scheme: dark)').matches },
  user: { is_admin: false },
  panels: { lovelace: { url_path: 'lovelace', config: { mode: 'storage' } } },
  devices: Object.fromEntries([device, bridge, lamp].map((each) => [each.id, each])),
  entities: {
    'light.lamp': { entity_id: 'light.lamp', device_id: 'd3', platform: 'hue' },
  },
  states: { 'light.lamp': { entity_id: 'light.lamp', state: 'on', attributes: {} } },
  connected: true,
  async callWS(command) {
    window.commands.push(command.type);
    if (command.type === 'config/entity_registry/get_entries') {
      return Object.fromEntries(command.entity_ids.map((id) => [id, { unique_id: `doorstep_${doorbell}_${REGISTRY[id]}` }]));
    }
    const reply = await (await fetch('/ws', { method: 'POST', body: JSON.stringify(command) })).json();
    if (reply.error) throw reply.error;
    return reply.result;
  },
  async fetchWithAuth(path, init = {}) {
    return fetch(path, { ...init, headers: { ...init.headers, authorization: 'Bearer of-the-frontend' } });
  },
  async callService(domain, service, data, target) {
    window.services.push([`${domain}.${service} ${target.entity_id}`, ...Object.values(data)].join(' '));
    if (window.refusal) throw { code: 'home_assistant_error', message: window.refusal };
  },
};

function replace(change) {
  hass = { ...hass, ...change };
  for (const card of document.querySelectorAll('doorstep-card, doorstep-card-editor')) card.hass = hass;
}

/** An entity has this state now; one that was not there before comes into the registry. */
window.change = (id, state, attributes = {}) => {
  const states = { ...hass.states, [id]: { entity_id: id, state, attributes } };
  const isNew = !hass.entities[id];
  const entities = isNew ? { ...hass.entities, [id]: { entity_id: id, device_id: 'd1', platform: 'mqtt' } } : hass.entities;
  replace({ states, entities });
};

/** The newest. */
window.hassNow = () => hass;

window.speak = (language) => replace({ language });

/** Puts a card, or another of our elements, onto the dashboard. */
window.put = (config, element = 'doorstep-card') => {
  const card = document.createElement(element);
  card.setConfig({ type: 'custom:doorstep-card', doorbell, ...config });
  card.hass = hass;
  document.getElementById('view').append(card);
  return card;
};

/** A part of the card. */
window.part = (selector) => document.querySelector('doorstep-card').shadowRoot.querySelector(selector);
window.ready = true;
