// Google's own database SDK at the database of a virtual Vivint account.
//
//     node client.mjs ANNOUNCEMENT ACTION
//
// ANNOUNCEMENT is the first line that `doorstep sim vivint --second-factor none` wrote. What the SDK says is printed
// as one JSON value. The SDK is used as it is; its tokens come from the account instead of from Google's login.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { _registerComponent, initializeApp } from '@firebase/app';
import { Component } from '@firebase/component';
import { get, getDatabase, goOffline, off, onDisconnect, onValue, ref, remove, serverTimestamp, set, update } from '@firebase/database';

const sim = JSON.parse(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Vivint's id token, as an app gets it (reference §2). */
async function logIn() {
  const verifier = randomBytes(40).toString('base64url').replace(/[^a-zA-Z0-9]/g, '');
  const query = new URLSearchParams({
    response_type: 'code', client_id: 'ios', scope: 'openid email devices email_verified', state: 's',
    redirect_uri: 'vivint://app/oauth_redirect', code_challenge_method: 'S256',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
  });
  const begun = await fetch(`${sim.url}/oauth2/auth?${query}`, { redirect: 'manual' });
  const cookie = begun.headers.getSetCookie().map((set) => set.split(';')[0]).join('; ');
  const body = JSON.stringify({ username: sim.username, password: sim.password });
  const { url } = await (await fetch(`${sim.url}/idp/api/submit?client_id=ios`, { method: 'POST', headers: { cookie }, body })).json();
  const ended = await fetch(sim.url + url, { headers: { cookie }, redirect: 'manual' });
  const code = new URLSearchParams(ended.headers.get('location').split('?')[1]).get('code');
  const form = new URLSearchParams({
    grant_type: 'authorization_code', client_id: 'ios', redirect_uri: 'vivint://app/oauth_redirect', code, code_verifier: verifier,
  });
  return (await (await fetch(`${sim.url}/oauth2/token`, { method: 'POST', body: form })).json()).id_token;
}

const idToken = await logIn();
let signIns = 0;

/** A token for the database, and where that is (reference §6). */
async function signIn() {
  signIns += 1;
  const exchanged = await fetch(`${sim.url}/?custom-token=true`, { headers: { authorization: `Bearer ${idToken}` } });
  const custom = (await exchanged.json())['custom-token'];
  const address = `${sim.url}/v1/accounts:signInWithCustomToken?key=${sim.firebase_api_key}`;
  const body = JSON.stringify({ token: custom, returnSecureToken: true });
  const signedIn = await fetch(address, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  const { claims } = JSON.parse(Buffer.from(custom.split('.')[1], 'base64url'));
  return { idToken: (await signedIn.json()).idToken, url: Object.values(claims.sig_server)[0] };
}

let current = await signIn();

/** What the SDK asks for tokens, in place of Google's login. */
const login = {
  getToken: async (renew) => {
    if (renew) current = await signIn();
    return { accessToken: current.idToken };
  },
  getUid: () => sim.uid,
  addAuthTokenListener: (listener) => listener(current.idToken),
  removeAuthTokenListener: () => {},
};

function open(name) {
  const app = initializeApp({ databaseURL: current.url }, name);
  _registerComponent(new Component('auth-internal', () => login, 'PRIVATE'));
  return getDatabase(app);
}

const node = (database, device) => ref(database, `groups/${sim.panel}/devices/${device}/msg`);

/** The values at a node, one after the other. */
function listen(reference) {
  const waiting = [], heard = [];
  onValue(reference, (snapshot) => {
    if (waiting.length) waiting.shift().resolve(snapshot.val());
    else heard.push(snapshot.val());
  }, (error) => waiting.forEach(({ reject }) => reject(error)));
  return () => heard.length ? Promise.resolve(heard.shift()) : new Promise((resolve, reject) => waiting.push({ resolve, reject }));
}

const actions = {
  async signal() {
    const [own, other] = [open('one'), open('two')];
    const told = listen(node(other, 'me'));
    const first = await told();
    await set(node(own, 'me'), { type: 'sdp', sdpType: 'offer', sdp: 'x' });
    const offered = await told();
    await update(node(own, 'me'), { sdpType: 'answer', _timestamp: serverTimestamp() });
    let answered = await told();
    // Told child by child, it is not whole at first.
    while (answered.sdpType !== 'answer' || typeof answered._timestamp !== 'number') answered = await told();
    const read = (await get(node(own, 'me'))).val();
    await remove(node(own, 'me'));
    return { first, offered, answered: answered.sdpType, time: typeof read._timestamp, last: await told() };
  },

  async long() {
    const [own, other] = [open('one'), open('two')];
    const told = listen(node(other, 'me'));
    await told();
    const sdp = 'ä\r\n'.repeat(20_000);
    await set(node(own, 'me'), { sdp });
    return { same: (await told()).sdp === sdp };
  },

  async farewell() {
    const [own, other] = [open('one'), open('two')];
    const told = listen(node(other, 'me'));
    await told();
    await set(node(own, 'me'), { calling: true });
    const calling = await told();
    await onDisconnect(node(own, 'me')).set({ calling: false });
    await onDisconnect(node(own, 'kept')).set(1);
    await onDisconnect(node(own, 'kept')).cancel();
    goOffline(own);
    return { calling, gone: await told(), kept: (await get(node(other, 'kept'))).val() };
  },

  async denied() {
    const database = open('one');
    const said = async (promise) => promise.then(() => 'done', (error) => error.code ?? error.message);
    return {
      write: await said(set(ref(database, 'groups/5/devices/me/msg'), 1)),
      read: await said(get(ref(database, 'devices/me/msg'))),
      listen: await said(listen(ref(database, 'groups'))()),
    };
  },

  // Takes {"offer": sdp}, prints {"answer": sdp}, and stays until the next line.
  async call() {
    const database = open('one');
    const told = listen(node(database, sim.uid));
    await told();
    const { offer } = JSON.parse((await lines.next()).value);
    const transactionUuid = randomUUID();
    const message = {
      type: 'sdp', sdpType: 'offer', sdp: offer, transactionUuid, from: sim.uid, videoSource: { type: 'nosource' },
      _timestamp: Date.now(),
    };
    await set(node(database, sim.devices.find((device) => device.rtsp).uuid), message);
    let answer = await told();
    while (answer?.transactionUuid !== transactionUuid) answer = await told();
    console.log(JSON.stringify({ answer: answer.sdp }));
    await lines.next();
    await remove(node(database, sim.uid));
    return 'hung up';
  },

  // One line of standard input after each trouble; the other client writes in between.
  async trouble() {
    const [own, other] = [open('one'), open('two')];
    const told = listen(node(own, 'me'));
    const heard = [await told()];
    await get(node(other, 'me'));
    for (let round = 1; round <= 2; round++) {
      console.log(JSON.stringify({ round }));
      await lines.next();
      await set(node(other, 'me'), { round });
      let value = await told();
      while (value?.round !== round) value = await told();
      heard.push(value);
    }
    off(node(own, 'me'));
    return { heard, signIns };
  },
};

console.log(JSON.stringify(await actions[process.argv[3]]()));
process.exit(0);
