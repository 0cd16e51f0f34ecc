// AWS's JavaScript SDK for WebRTC on Kinesis Video Streams, unchanged, in headless Chromium.
//
//     node viewer.mjs ACCOUNT [WISH]
//
// ACCOUNT is JSON: `region`, `endpoint`, `keys`, `channel`. WISH is JSON too, see `wish` below. The page trusts the
// certificates of whatever it is sent to. Prints one JSON value, what each viewer got.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const account = JSON.parse(process.argv[2]);
const wish = {
  viewers: 1, pictures: 40, seconds: 15, microphone: false, relay: false, command: null,
  ...JSON.parse(process.argv[3] ?? '{}'),
};

/** A second of 440 Hz for the microphone, which plays it over and over: 48 kHz, 16 bits, one channel. */
function tone() {
  const [rate, header] = [48_000, Buffer.alloc(44)];
  const samples = Int16Array.from({ length: rate }, (_, n) => 12_000 * Math.sin(2 * Math.PI * 440 * n / rate));
  const sound = Buffer.from(samples.buffer);
  header.write('RIFF\0\0\0\0WAVEfmt ', 'latin1');
  header.writeUInt32LE(36 + sound.length, 4);
  [[16, 4], [1, 2], [1, 2], [rate, 4], [2 * rate, 4], [2, 2], [16, 2]].reduce((at, [value, size]) => header.writeUIntLE(value, at, size), 16);
  header.write('data', 36);
  header.writeUInt32LE(sound.length, 40);
  return Buffer.concat([header, sound]);
}

const page = await build({
  entryPoints: [new URL('page.mjs', import.meta.url).pathname], bundle: true, write: false, format: 'iife', logLevel: 'error',
});
const folder = mkdtempSync(join(tmpdir(), 'kvs-viewer-'));
const microphone = join(folder, 'microphone.wav');
writeFileSync(microphone, tone());
const server = createServer((_, reply) => reply.setHeader('content-type', 'text/html').end('<!doctype html><body>'));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', `--use-file-for-fake-audio-capture=${microphone}`,
    '--disable-features=WebRtcHideLocalIpsWithMdns', '--ignore-certificate-errors',
  ],
});

async function view(number) {
  const tab = await browser.newPage();
  const complaints = [];
  tab.on('console', (message) => message.type() === 'error' && complaints.push(message.text().slice(0, 300)));
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.addScriptTag({ content: page.outputFiles[0].text });
  const clientId = `viewer-js-${number}`;
  const called = tab.evaluate(([account, wish]) => window.call(account, wish), [{ ...account, clientId }, wish]);
  return called.catch((error) => ({ ok: false, error: String(error).slice(0, 600), complaints }));
}

try {
  console.log(JSON.stringify(await Promise.all(Array.from({ length: wish.viewers }, (_, number) => view(number + 1)))));
} finally {
  await browser.close();
  server.close();
  rmSync(folder, { recursive: true });
}
