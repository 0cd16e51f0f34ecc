// AWS IoT Device SDK v1 for JavaScript (Apache-2.0), over a signed WebSocket, as web viewers of these doorbells use it.
//
//     NODE_EXTRA_CA_CERTS=AUTHORITY node sdk1.mjs PLACE
//
// PLACE, what is printed and what is read are those of `sdk2.py`.
import { createInterface } from 'node:readline';
import sdk from 'aws-iot-device-sdk';

const place = JSON.parse(process.argv[2]);
const tell = (what) => console.log(JSON.stringify(what));

const device = sdk.device({
  protocol: 'wss', host: place.host, port: place.port, region: place.region, clientId: place.client_id,
  accessKeyId: place.keys.access_key_id, secretKey: place.keys.secret_access_key, sessionToken: place.keys.session_token,
});
device.on('connect', () => {
  tell({ connected: true });
  device.subscribe(place.filter, { qos: 1 }, (error, granted) => tell(error ? { not_granted: String(error) } : { granted: granted[0].qos }));
});
device.on('message', (topic, payload, { dup, qos, retain }) => tell({ message: payload.toString(), topic, dup, qos, retain }));
device.on('error', (error) => tell({ refused: String(error.message ?? error) }));
device.on('offline', () => tell({ interrupted: 'offline' }));

for await (const line of createInterface({ input: process.stdin })) {
  const { topic, payload, qos } = JSON.parse(line);
  device.publish(topic, payload, { qos }, (error) => tell(error ? { not_published: String(error) } : { published: true }));
}
device.end(true);
process.exit(0);
