// What a dashboard says of the card.

import { KEYS } from './entities.js';
import { WAYS } from './ways.js';

const KNOWN = ['type', 'doorbell', 'name', 'way', 'url', 'app', 'entities', 'replies'];
/** As many as fit under a thumb. */
export const MOST_REPLIES = 6;
/** Keys that Home Assistant and wide-spread additions to it write into every card. */
const FOREIGN = ['view_layout', 'layout_options', 'grid_options', 'visibility', 'disabled', 'card_mod'];

/** The settings, checked. Throws an Error with a sentence for whoever wrote them. */
export function read(config) {
  const unknown = Object.keys(config).filter((key) => !KNOWN.includes(key) && !FOREIGN.includes(key));
  if (unknown.length) throw new Error(`The card does not know ${unknown.map((key) => `\`${key}\``).join(', ')}. It knows ${KNOWN.join(', ')}.`);
  const { doorbell, way = 'auto', entities = {} } = config;
  if (!doorbell) throw new Error('Say which doorbell to show: `doorbell:` with its id, as in `doorbell: wyze_d03f27a1b2c3`.');
  if (typeof doorbell !== 'string' || !/^[a-z0-9_]+$/.test(doorbell)) throw new Error('`doorbell` is an id of small letters, digits and `_`, as Doorstep’s page shows it under Details.');
  for (const key of ['name', 'url', 'app']) {
    if (key in config && typeof config[key] !== 'string') throw new Error(`\`${key}\` is a text.`);
  }
  if (way !== 'auto' && !WAYS.includes(way)) throw new Error(`\`way\` is auto, ${WAYS.join(', ')}; not \`${way}\`.`);
  if (way === 'direct' && !config.url) throw new Error('`way: direct` needs `url:`, the address of Doorstep.');
  if (config.url && !isAddress(config.url)) throw new Error('`url` is an address with http:// or https://, without user and password.');
  if (entities === null || typeof entities !== 'object' || Array.isArray(entities)) throw new Error('`entities` has a name and an entity on each line, as in `lock: lock.front_door`.');
  for (const [key, entity] of Object.entries(entities)) {
    if (!KEYS.includes(key)) throw new Error(`\`entities\` does not know \`${key}\`. It knows ${KEYS.join(', ')}.`);
    if (!/^[a-z_]+\.[a-z0-9_]+$/.test(entity)) throw new Error(`\`entities.${key}\` is an entity’s id, as in \`lock.front_door\`.`);
  }
  if (config.replies !== undefined) checkReplies(config.replies);
  return { ...config, way, entities };
}

function checkReplies(replies) {
  const isText = (text) => typeof text === 'string' && text.trim() !== '';
  const isClip = (clip) => typeof clip === 'string' && /^[a-z0-9_]{1,40}$/.test(clip);
  const fits = (reply) => {
    const { name, clip, message, ...other } = reply ?? {};
    return (name === undefined || isText(name)) && (clip === undefined ? isText(message) : isClip(clip) && message === undefined) && !Object.keys(other).length;
  };
  if (!Array.isArray(replies) || !replies.every(fits)) throw new Error('`replies` is a list, each with a `name` and either a `clip` or a `message`, as in `- {name: Back door, clip: back_door}`.');
  if (replies.length > MOST_REPLIES) throw new Error(`\`replies\` has at most ${MOST_REPLIES}.`);
}

function isAddress(url) {
  try {
    const { protocol, username, password } = new URL(url, location.href);
    return /^https?:$/.test(protocol) && !username && !password;
  } catch {
    return false;
  }
}
