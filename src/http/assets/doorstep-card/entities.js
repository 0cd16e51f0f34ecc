// What Home Assistant has of a doorbell: its device, and the entities that MQTT discovery made for it.

/** What an entity can be for; as in the `unique_id` that Doorstep gives it. */
export const KEYS = ['ring', 'lock', 'open_door', 'garage', 'talk', 'link', 'clip', 'say', 'stop_saying', 'snapshot', 'ring_picture'];

const PREFIX = 'doorstep_';

/** The doorbells whose devices Home Assistant knows, as `{ id, name }`. */
export function doorbells(hass) {
  const found = Object.values(hass?.devices ?? {}).map((device) => ({ id: doorbellOf(device), name: nameOf(device) }));
  return found.filter(({ id }) => id).sort((a, b) => a.name.localeCompare(b.name));
}

export function deviceOf(hass, id) {
  return Object.values(hass?.devices ?? {}).find((device) => doorbellOf(device) === id);
}

/** The doorbell that an entity belongs to. */
export function doorbellOfEntity(hass, entity) {
  return doorbellOf(hass?.devices?.[hass.entities?.[entity]?.device_id]);
}

export function nameOf(device) {
  return device.name_by_user || device.name || '';
}

/** The id in a device's identifier; none for the bridge, which is the maker's own device. */
function doorbellOf(device) {
  const mine = device?.identifiers?.find(([domain, name]) => domain === 'mqtt' && name.startsWith(PREFIX));
  return mine && device.manufacturer !== 'Doorstep' ? mine[1].slice(PREFIX.length) : null;
}

/** Follows the entities of one doorbell. */
export class Entities {
  #doorbell;
  #given;
  #found = {};
  #candidates = '';
  #registry = null;
  #states = {};

  /** `given` names entities by key, in place of those that are found. */
  constructor(doorbell, given = {}) {
    this.#doorbell = doorbell;
    this.#given = given;
  }

  /** The entity that is for this; undefined without one. */
  id(key) {
    return this.#given[key] ?? this.#found[key];
  }

  /** Whether the user has named this entity. */
  isGiven(key) {
    return key in this.#given;
  }

  state(key) {
    return this.#states[key];
  }

  /** Whether any of the states is another one than before. Cheap: Home Assistant calls it for everything in the house. */
  follow(hass) {
    let changed = false;
    for (const key of KEYS) {
      const state = hass.states[this.id(key)];
      if (state !== this.#states[key]) changed = true;
      this.#states[key] = state;
    }
    return changed;
  }

  /** Looks for the entities when the registry has changed. Whether there are others than before. */
  async find(hass) {
    if (this.#registry === hass.entities) return false;
    this.#registry = hass.entities;
    const device = deviceOf(hass, this.#doorbell)?.id;
    const ids = Object.values(hass.entities ?? {}).filter((entity) => device && entity.device_id === device).map((entity) => entity.entity_id);
    if (this.#candidates === ids.join()) return false;
    this.#candidates = ids.join();
    // The list that every page has is without the unique ids, by which alone an entity can be told for sure.
    const entries = await hass.callWS({ type: 'config/entity_registry/get_entries', entity_ids: ids }).catch(() => null);
    if (!entries) {
      this.#candidates = '';
      return false;
    }
    const prefix = `${PREFIX}${this.#doorbell}_`;
    this.#found = {};
    for (const [id, entry] of Object.entries(entries)) {
      if (entry?.unique_id?.startsWith(prefix)) this.#found[entry.unique_id.slice(prefix.length)] = id;
    }
    return true;
  }
}
