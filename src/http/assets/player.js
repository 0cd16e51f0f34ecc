// One live picture over WHEP, with a way back for the microphone.

import { Refusal, backoff } from './request.js';

const GATHERING_MS = 300;
/** Without a first picture for so long after the answer, the connection is tried anew. */
const FIRST_PICTURE_MS = 15000;
/** Without a new picture for so long, likewise. */
const STALLED_MS = 8000;
const WATCH_MS = 1000;
const LONGEST_RETRY_MS = 30000;

/**
 * Plays the doorbell's picture in `video`. Dispatches `ending` while the last picture can still be read, and
 * `change` whenever `phase` or `reason` does: `stopped`, `connecting`, `live`, `waiting` (tries again at `retryAt`) or
 * `refused` (only a person can help).
 */
export class Player extends EventTarget {
  phase = 'stopped';
  reason = '';
  retryAt = 0;

  #video;
  #path;
  #talks;
  #request;
  #tries = 0;
  #timer = 0;
  /** What the present attempt holds; replaced by the next one and released by `#drop`. */
  #session = null;

  /** `request` sends a request to an address, relative to the service or from its `Location`. */
  constructor(video, path, talks, request) {
    super();
    this.#video = video;
    this.#path = path;
    this.#talks = talks;
    this.#request = request;
  }

  /** Whether the service's name for a viewer, the end of its session, means this one. */
  is(viewer) {
    return viewer !== null && Boolean(this.#session?.resource?.pathname.endsWith(viewer));
  }

  get wanted() {
    return this.phase !== 'stopped';
  }

  start() {
    if (this.wanted) return;
    this.#tries = 0;
    this.#connect();
  }

  /** Tries at once, however long the next try is away. */
  retry() {
    if (this.phase !== 'waiting' && this.phase !== 'refused') return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#become('stopped');
  }

  /** Sends this track as talk; `null` ends it, and then nothing at all is sent. */
  async speak(track) {
    await this.#session?.voice.sender.replaceTrack(track);
  }

  async #connect() {
    this.#drop();
    this.#become('connecting');
    const session = this.#open();
    this.#session = session;
    try {
      await this.#negotiate(session);
    } catch (error) {
      if (this.#session === session) this.#failed(error);
    }
  }

  #open() {
    const peer = new RTCPeerConnection();
    peer.addTransceiver('video', { direction: 'recvonly' });
    // Sendrecv from the start, with nothing to send: talking later needs no second negotiation,
    // and watching does not ask for the microphone.
    const voice = peer.addTransceiver('audio', { direction: this.#talks ? 'sendrecv' : 'recvonly' });
    const session = { peer, voice, resource: null, abort: new AbortController(), stream: new MediaStream(), watch: 0 };
    peer.ontrack = ({ track }) => session.stream.addTrack(track);
    peer.onconnectionstatechange = () => {
      if (this.#session === session && peer.connectionState === 'failed') this.#failed(new Error('The connection broke.'));
    };
    return session;
  }

  async #negotiate(session) {
    const { peer, abort } = session;
    await peer.setLocalDescription();
    await gathered(peer);
    const response = await this.#request(this.#path, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp' },
      body: peer.localDescription.sdp,
      signal: abort.signal,
    });
    const location = response.headers.get('location');
    if (location) session.resource = new URL(location, response.url);
    const sdp = await response.text();
    // Stopped while the answer was on its way: the viewer it made must not linger.
    if (this.#session !== session) return this.#release(session);
    await peer.setRemoteDescription({ type: 'answer', sdp });
    this.#video.srcObject = session.stream;
    this.#video.play().catch(() => {});
    this.#watch(session);
  }

  /** Calls the picture live when pictures come, and tries anew when they cease. */
  #watch(session) {
    let pictures = this.#pictures();
    let since = performance.now();
    session.watch = setInterval(() => {
      const now = performance.now();
      if (document.hidden) {
        since = now;
      } else if (this.#pictures() !== pictures) {
        pictures = this.#pictures();
        since = now;
        this.#live();
      } else if (now - since > (this.phase === 'live' ? STALLED_MS : FIRST_PICTURE_MS)) {
        this.#failed(new Error(this.phase === 'live' ? 'The picture has stopped.' : 'No picture has come.'));
      }
    }, WATCH_MS);
    // Quicker than the next tick, where the browser can tell.
    this.#video.requestVideoFrameCallback?.(() => this.#session === session && this.#live());
  }

  #pictures() {
    return this.#video.getVideoPlaybackQuality?.().totalVideoFrames ?? this.#video.currentTime;
  }

  #live() {
    if (this.phase === 'live') return;
    this.#tries = 0;
    this.#become('live');
  }

  #failed(error) {
    this.#drop();
    const final = error instanceof Refusal && [400, 401, 404, 406, 415].includes(error.status);
    if (final) return this.#become('refused', error.message);
    const wait = backoff(this.#tries++, LONGEST_RETRY_MS);
    this.retryAt = Date.now() + wait;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#become('waiting', error.message);
  }

  /** Ends the present attempt. */
  #drop() {
    const session = this.#session;
    if (!session) return;
    if (this.phase === 'live') this.dispatchEvent(new Event('ending'));
    this.#session = null;
    this.#release(session);
  }

  #release(session) {
    clearInterval(session.watch);
    session.abort.abort();
    const { peer, voice, resource } = session;
    session.resource = null;
    if (!resource) return peer.close();
    voice.sender.replaceTrack(null).catch(() => {});
    // The peer goes last: by its farewell the service would end the session, and find none to delete. Also while the
    // page is being left, hence `keepalive`. A viewer that is not told goes by itself later.
    this.#request(resource, { method: 'DELETE', keepalive: true }).catch(() => {}).finally(() => peer.close());
  }

  #become(phase, reason = '') {
    if (this.phase === phase && this.reason === reason) return;
    this.phase = phase;
    this.reason = reason;
    this.dispatchEvent(new Event('change'));
  }
}

/** All candidates are known, or enough time has passed: the service learns the rest from the checks themselves. */
function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === 'complete') return resolve();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
    setTimeout(resolve, GATHERING_MS);
  });
}

/** What was seen last stays, blurred, on the canvas `still` behind whatever is said instead. False if nothing was. */
export function keepPicture(video, still) {
  const { videoWidth, videoHeight } = video;
  if (!videoWidth) return false;
  still.width = 160;
  still.height = Math.round((160 * videoHeight) / videoWidth);
  still.getContext('2d').drawImage(video, 0, 0, still.width, still.height);
  return true;
}
