// The service as the page sees it: where it is, the token, requests and events.
// Every address is relative to this file, so the page works below any path prefix.

import { Refusal, answer, backoff } from './request.js';

const BASE = new URL('../', import.meta.url);
const TOKEN_KEY = 'doorstep-token';

export function token() {
  return sessionStorage.getItem(TOKEN_KEY);
}

export function keepToken(value) {
  sessionStorage.setItem(TOKEN_KEY, value);
}

export function forgetToken() {
  sessionStorage.removeItem(TOKEN_KEY);
}

/**
 * Sends a request to `path`, relative to the service.
 * Throws a Refusal for a status that is no success; its status is 0 when nobody answered.
 */
export function request(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.authorization = `Bearer ${token()}`;
  return answer(() => fetch(new URL(path, BASE), { ...options, headers }));
}

/**
 * Puts a file of sound to `path`; `told` hears the share of it that has left, from 0 to 1. What `fetch` does not tell
 * is why this is another way.
 */
export function upload(path, file, told) {
  return new Promise((done, failed) => {
    const sending = new XMLHttpRequest();
    sending.open('PUT', new URL(path, BASE));
    sending.setRequestHeader('content-type', file.type.startsWith('audio/') ? file.type : 'application/octet-stream');
    if (token()) sending.setRequestHeader('authorization', `Bearer ${token()}`);
    sending.upload.onprogress = ({ loaded, total }) => told(loaded / total);
    sending.onload = () => answer(async () => new Response(sending.response || null, { status: sending.status })).then(done, failed);
    sending.onerror = sending.onabort = () => failed(new Refusal(0, 'Doorstep does not answer, or it did not take the whole file.'));
    sending.send(file);
  });
}

/**
 * Everything that happens, until the page is closed. Dispatches `snapshot`, `state`, `accounts`, `ring`, `motion`,
 * `picture`, `clips` and `mqtt` (detail: the message), `lost` and `found` for the connection itself, and `locked` when the token is asked for.
 */
export class Events extends EventTarget {
  #wanted = false;
  #socket = null;
  #tries = 0;

  open() {
    this.#wanted = true;
    const address = new URL('api/events', BASE);
    address.protocol = address.protocol.replace('http', 'ws');
    const socket = new WebSocket(address, token() ? ['doorstep', `bearer.${base64url(token())}`] : []);
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#tries = 0;
      this.#tell('found');
    };
    socket.onmessage = (message) => {
      const news = JSON.parse(message.data);
      this.#tell(news.type, news);
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#again(opened);
    };
  }

  close() {
    this.#wanted = false;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  async #again(opened) {
    this.#socket = null;
    this.#tell('lost');
    // A WebSocket does not say why it was refused; a plain request does.
    const locked = !opened && (await refusedForToken());
    if (!this.#wanted) return;
    if (locked) return this.#tell('locked');
    setTimeout(() => this.#wanted && (this.#socket ?? this.open()), backoff(this.#tries++));
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

async function refusedForToken() {
  try {
    await request('api/doorbells');
    return false;
  } catch (refusal) {
    return refusal.status === 401;
  }
}

function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
