#!/usr/bin/env node
// Plays a WHEP address in headless Chromium and prints one line of JSON. See README.md.
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const usage = 'usage: play.mjs WHEP_URL [--pictures N] [--microphone] [--speech FILE.wav] [--seconds N] [--token T] [--keep-mdns]';

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        pictures: { type: 'string', default: '60' },
        seconds: { type: 'string', default: '20' },
        microphone: { type: 'boolean', default: false },
        speech: { type: 'string' },
        token: { type: 'string' },
        'keep-mdns': { type: 'boolean', default: false },
      },
    });
    return { url: new URL(positionals[0]).href, ...values };
  } catch {
    console.error(usage);
    process.exit(2);
  }
}

const { url, token, speech, ...wanted } = options();
const microphone = wanted.microphone || speech !== undefined;

function browserArguments() {
  const list = [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
  ];
  if (speech) list.push(`--use-file-for-fake-audio-capture=${speech}`);
  if (!wanted['keep-mdns']) list.push('--disable-features=WebRtcHideLocalIpsWithMdns');
  return list;
}

// The offer is posted from here, not by the page: whether other pages may do so is not what is looked at.
async function request(method, address, body) {
  const headers = { 'content-type': 'application/sdp', ...(token && { authorization: `Bearer ${token}` }) };
  const reply = await fetch(address, { method, body, headers });
  return { status: reply.status, location: reply.headers.get('location'), text: await reply.text() };
}

// Runs in the page.
async function play({ pictures, seconds, microphone }) {
  const peer = new RTCPeerConnection();
  const video = Object.assign(document.createElement('video'), { autoplay: true });
  video.srcObject = new MediaStream();
  document.body.append(video);
  peer.ontrack = ({ track }) => video.srcObject.addTrack(track);
  peer.addTransceiver('video', { direction: 'recvonly' });
  if (microphone) {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true });
    peer.addTransceiver(media.getAudioTracks()[0], { direction: 'sendrecv' });
  } else {
    peer.addTransceiver('audio', { direction: 'recvonly' });
  }
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 10));

  const start = performance.now();
  const since = () => Math.round(performance.now() - start);
  const result = { ok: false };
  video.onloadeddata = () => { result.first_picture_ms = since(); };
  peer.onconnectionstatechange = () => { if (peer.connectionState === 'connected') result.connected_ms = since(); };
  const answer = await window.request('POST', peer.localDescription.sdp);
  result.status = answer.status;
  if (answer.status !== 201) return { ...result, refusal: answer.text };
  result.location = answer.location;
  await peer.setRemoteDescription({ type: 'answer', sdp: answer.text });

  while (!result.ok && since() < seconds * 1000) {
    await new Promise((done) => setTimeout(done, 100));
    const stats = [...(await peer.getStats()).values()];
    const of = (type, kind) => stats.find((entry) => entry.type === type && entry.kind === kind) ?? {};
    const codec = (entry) => stats.find(({ id }) => id === entry.codecId)?.mimeType;
    const [picture, sound, voice] = [of('inbound-rtp', 'video'), of('inbound-rtp', 'audio'), of('outbound-rtp', 'audio')];
    Object.assign(result, {
      pictures: picture.framesDecoded ?? 0, keyframes: picture.keyFramesDecoded ?? 0, freezes: picture.freezeCount ?? 0,
      width: picture.frameWidth, height: picture.frameHeight, lost: picture.packetsLost ?? 0,
      nacks: picture.nackCount ?? 0, keyframe_requests: picture.pliCount ?? 0, video: codec(picture),
      sound_packets: sound.packetsReceived ?? 0, sound_energy: sound.totalAudioEnergy ?? 0, sound: codec(sound),
      spoken_packets: voice.packetsSent ?? 0, voice: codec(voice),
    });
    result.ok = result.pictures >= pictures && (!microphone || result.spoken_packets >= 50);
  }
  return result;
}

const server = createServer((_, reply) => reply.setHeader('content-type', 'text/html').end('<!doctype html><body>'));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: browserArguments(),
});
let result;
try {
  const page = await browser.newPage();
  await page.exposeFunction('request', (method, body) => request(method, url, body));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  result = await page.evaluate(play, { pictures: +wanted.pictures, seconds: +wanted.seconds, microphone });
  if (result.location) result.deleted = (await request('DELETE', new URL(result.location, url).href)).status;
} catch (error) {
  result = { ok: false, error: String(error).slice(0, 600) };
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(result));
process.exit(result.ok ? 0 : 1);
