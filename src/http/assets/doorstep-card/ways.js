// The ways from a dashboard to Doorstep: by the companion integration, by the app's ingress, or directly.

import { Refusal, answer } from '../request.js';

/** In the order in which they are tried. */
export const WAYS = ['integration', 'ingress', 'direct'];

const VALIDATE_MS = 60000;
const TOKEN_KEY = 'doorstep-token';

/** No way leads to the doorbell. `tried` says of each which it was and why it did not. */
export class NoWay extends Error {
  constructor(tried) {
    super(tried.map(({ way, why }) => `${way}: ${why}`).join(' '));
    this.tried = tried;
  }

  /** Whether a token would help. */
  get locked() {
    return this.tried.some(({ locked }) => locked);
  }
}

/**
 * The first way that leads to the doorbell: `{ way, request, close, doorbell }`, the last as it is told now.
 * `place` is `{ config, hass, device, say }`, where `hass()` is Home Assistant as it is at that moment.
 * Throws NoWay.
 */
export async function findWay(place) {
  const { way: wanted = 'auto' } = place.config;
  const tried = [];
  for (const way of wanted === 'auto' ? WAYS : [wanted]) {
    try {
      return { way, ...(await OPEN[way](place)) };
    } catch (error) {
      tried.push({ way, why: error.message, locked: way === 'direct' && error.status === 401 });
    }
  }
  throw new NoWay(tried);
}

export function keepToken(url, token) {
  localStorage.setItem(`${TOKEN_KEY} ${url}`, token);
}

const OPEN = { integration, ingress, direct };

async function integration({ config, hass, say }) {
  const instances = await hass().callWS({ type: 'doorstep/instances' }).catch((error) => {
    throw new Error(isUnknown(error) ? say('The integration is not set up. Add “Doorstep” in Home Assistant under Settings, Devices & services.') : error.message);
  });
  if (!instances.length) throw new Error(say('The integration has no Doorstep yet. Add it under Settings, Devices & services.'));
  let refusal;
  for (const { id } of instances) {
    const base = new URL(`/api/doorstep/${id}/`, location.origin);
    const request = (path, options) => answer(() => {
      const { pathname, search } = new URL(path, base);
      return hass().fetchWithAuth(pathname + search, options);
    });
    try {
      return { request, close() {}, doorbell: await look(request, config, say) };
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}

async function ingress({ config, hass, device, say }) {
  const slug = config.app ?? slugOf(device) ?? slugInSidebar(hass());
  if (!slug) throw new Error(say('The app was not found. Install the Doorstep app, or write its slug as `app`.'));
  session.join(hass, slug);
  try {
    const base = new URL(await ingressUrl(hass(), slug, say), location.origin);
    await session.open();
    const request = async (path, options) => {
      const send = () => answer(() => fetch(new URL(path, base), options));
      try {
        return await send();
      } catch (refusal) {
        // Home Assistant's own refusal: the cookie is no longer good, or another page has replaced it.
        if (refusal.status !== 401) throw refusal;
        await session.renew();
        return send();
      }
    };
    return { request, close: () => session.leave(), doorbell: await look(request, config, say) };
  } catch (error) {
    session.leave();
    throw error;
  }
}

async function direct({ config, say }) {
  if (!config.url) throw new Error(say('No `url` is set.'));
  const base = new URL(config.url.replace(/\/?$/, '/'), location.href);
  if (location.protocol === 'https:' && base.protocol === 'http:') {
    throw new Error(say('This page came over https, and browsers let it reach {url} over https only. Use another way, or give Doorstep a certificate.', { url: base.href }));
  }
  const request = (path, options = {}) => {
    const headers = { ...options.headers };
    const token = localStorage.getItem(`${TOKEN_KEY} ${config.url}`);
    if (token) headers.authorization = `Bearer ${token}`;
    return answer(() => fetch(new URL(path, base), { ...options, headers }));
  };
  try {
    return { request, close() {}, doorbell: await look(request, config, say) };
  } catch (error) {
    if (error.status !== 0) throw error;
    throw new Error(say('{url} does not answer, or does not let this page in: write {origin} into `http.origins` of its configuration.', { url: base.href, origin: location.origin }));
  }
}

/** The doorbell as it is now. */
async function look(request, { doorbell }, say) {
  try {
    return await (await request(`api/doorbells/${encodeURIComponent(doorbell)}`)).json();
  } catch (error) {
    if (error.status !== 404) throw error;
    throw new Refusal(404, say('There is no doorbell `{doorbell}`. Choose another one in the card’s settings.', { doorbell }));
  }
}

/** The app links its devices to its own page. */
function slugOf(device) {
  return device?.configuration_url?.match(/^homeassistant:\/\/hassio\/ingress\/([\w.-]+)/)?.[1];
}

function slugInSidebar(hass) {
  const slugs = Object.values(hass.panels ?? {}).map(({ config }) => config?.addon ?? config?.ingress);
  return slugs.find((slug) => /(^|_)doorstep$/.test(slug ?? ''));
}

async function ingressUrl(hass, slug, say) {
  const old = { endpoint: `/addons/${slug}/info`, method: 'get' };
  const { ingress_url: url, state } = await supervisor(hass, { type: 'supervisor/ingress/info', slug }, old).catch((error) => {
    throw new Error(isUnknown(error) ? say('This Home Assistant has no apps.') : say('The app `{slug}` could not be asked for: {why}', { slug, why: error.message }));
  });
  if (state && state !== 'started') throw new Error(say('The app is not running. Start it under Settings, Apps.'));
  return url;
}

/** A command to the Supervisor; older versions of Home Assistant only pass on what the Supervisor itself is asked. */
async function supervisor(hass, command, old) {
  try {
    return await hass.callWS(command);
  } catch (error) {
    if (!isUnknown(error)) throw error;
    return hass.callWS({ type: 'supervisor/api', ...old });
  }
}

function isUnknown(error) {
  return error.code === 'unknown_command';
}

/** The ingress session of this page. There is one cookie for it, so all cards share one session. */
class Session {
  #hass;
  #slug;
  #users = 0;
  #timer = 0;
  #opening = null;

  join(hass, slug) {
    this.#hass = hass;
    this.#slug = slug;
    this.#users += 1;
    this.#timer ||= setInterval(() => this.#validate(), VALIDATE_MS);
  }

  leave() {
    this.#users -= 1;
    if (this.#users) return;
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#opening = null;
  }

  open() {
    this.#opening ??= this.#create().catch((error) => {
      this.#opening = null;
      throw error;
    });
    return this.#opening;
  }

  renew() {
    this.#opening = null;
    return this.open();
  }

  async #create() {
    const old = { endpoint: '/ingress/session', method: 'post' };
    const { session } = await supervisor(this.#hass(), { type: 'supervisor/ingress/session', slug: this.#slug }, old);
    const secure = location.protocol === 'https:' ? ';Secure' : '';
    document.cookie = `ingress_session=${session};path=/api/hassio_ingress/;SameSite=Strict${secure}`;
    return session;
  }

  /** A session ends after 15 minutes, unless it is used or validated. */
  async #validate() {
    const session = await this.open().catch(() => null);
    if (!session) return;
    const old = { endpoint: '/ingress/validate_session', method: 'post', data: { session } };
    const command = { type: 'supervisor/ingress/validate_session', session };
    await supervisor(this.#hass(), command, old).catch(() => this.renew().catch(() => {}));
  }
}

const session = new Session();
