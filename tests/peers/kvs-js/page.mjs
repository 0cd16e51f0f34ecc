// A viewer as AWS's own example is one: its SDK finds the channel, signs the address and signals; the browser does the
// rest. Runs in a page; `viewer.mjs` bundles it.

import {
  DescribeSignalingChannelCommand, GetSignalingChannelEndpointCommand, KinesisVideoClient,
} from '@aws-sdk/client-kinesis-video';
import { GetIceServerConfigCommand, KinesisVideoSignalingClient } from '@aws-sdk/client-kinesis-video-signaling';
import 'amazon-kinesis-video-streams-webrtc/dist/kvs-webrtc.js';

const { Role, SignalingClient } = window.KVSWebRTC;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** The way to a channel: its ARN, where to signal, and ICE servers. */
async function find({ region, endpoint, keys, channel, clientId }) {
  const credentials = {
    accessKeyId: keys.access_key_id, secretAccessKey: keys.secret_access_key, sessionToken: keys.session_token,
  };
  const video = new KinesisVideoClient({ region, endpoint, credentials });
  const described = await video.send(new DescribeSignalingChannelCommand({ ChannelName: channel }));
  const channelARN = described.ChannelInfo.ChannelARN;
  const { ResourceEndpointList } = await video.send(new GetSignalingChannelEndpointCommand({
    ChannelARN: channelARN,
    SingleMasterChannelEndpointConfiguration: { Protocols: ['WSS', 'HTTPS'], Role: Role.VIEWER },
  }));
  const places = Object.fromEntries(ResourceEndpointList.map((each) => [each.Protocol, each.ResourceEndpoint]));
  const signaling = new KinesisVideoSignalingClient({ region, endpoint: places.HTTPS, credentials });
  const { IceServerList } = await signaling.send(new GetIceServerConfigCommand({ ChannelARN: channelARN, ClientId: clientId }));
  const iceServers = IceServerList.map(({ Uris, Username, Password }) => ({ urls: Uris, username: Username, credential: Password }));
  return { channelARN, channelEndpoint: places.WSS, credentials, iceServers, created: described.ChannelInfo.CreationTime };
}

/** Where the sound is loudest, in Hz; 0 while it is quiet. */
function listenTo(stream) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
  context.createMediaStreamSource(stream).connect(analyser);
  const levels = new Float32Array(analyser.frequencyBinCount);
  return () => {
    analyser.getFloatFrequencyData(levels);
    const loudest = levels.indexOf(Math.max(...levels));
    return levels[loudest] > -60 ? loudest * context.sampleRate / analyser.fftSize : 0;
  };
}

/** Which kind of address the browser itself is reached by. */
function way(stats) {
  const pair = stats.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
  return stats.find(({ id }) => id === pair?.localCandidateId)?.candidateType;
}

/** Calls, and tells of it in the end. */
async function call(account, { command, pictures, seconds, microphone, relay }) {
  const began = performance.now();
  const since = () => Math.round(performance.now() - began);
  const found = await find(account);
  const result = { found_ms: since(), channel: found.channelARN, ice_servers: found.iceServers.length, replies: [], tones: [] };
  const peer = new RTCPeerConnection({ iceServers: found.iceServers, iceTransportPolicy: relay ? 'relay' : 'all' });
  const video = Object.assign(document.createElement('video'), { autoplay: true, srcObject: new MediaStream() });
  document.body.append(video);
  let tone = () => 0;
  peer.ontrack = ({ track }) => {
    video.srcObject.addTrack(track);
    if (track.kind === 'audio') tone = listenTo(new MediaStream([track]));
  };
  video.onloadeddata = () => { result.first_picture_ms = since(); };
  peer.onconnectionstatechange = () => { if (peer.connectionState === 'connected') result.connected_ms = since(); };
  const channel = peer.createDataChannel('commands');
  channel.onmessage = ({ data }) => result.replies.push(data);

  const signaling = new SignalingClient({
    role: Role.VIEWER, region: account.region, clientId: account.clientId, credentials: found.credentials,
    channelARN: found.channelARN, channelEndpoint: found.channelEndpoint,
  });
  const trouble = new Promise((_, fail) => signaling.on('error', (error) => fail(new Error(`signaling: ${error?.message ?? error?.type}`))));
  signaling.on('statusResponse', (status) => { result.refused = status; });
  signaling.on('sdpAnswer', (answer) => peer.setRemoteDescription(answer));
  signaling.on('iceCandidate', (candidate) => { result.trickled = (result.trickled ?? 0) + 1; peer.addIceCandidate(candidate); });
  peer.onicecandidate = ({ candidate }) => { if (candidate) signaling.sendIceCandidate(candidate); };
  const opened = new Promise((done) => signaling.on('open', done));
  signaling.open();
  await Promise.race([opened, trouble]);
  if (microphone) {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true });
    media.getTracks().forEach((track) => peer.addTrack(track, media));
  }
  await peer.setLocalDescription(await peer.createOffer({ offerToReceiveAudio: true, offerToReceiveVideo: true }));
  result.offer_characters = btoa(JSON.stringify(peer.localDescription)).length;
  signaling.sendSdpOffer(peer.localDescription, undefined, 'the-offer');

  const enough = () => (result.pictures ?? 0) >= pictures && (!command || result.replies.length > 0)
    && (!microphone || result.spoken_packets >= 100) && result.tones.length > 0;
  while (!enough() && since() < seconds * 1000) {
    if (command && !result.commanded && channel.readyState === 'open') {
      channel.send(command);
      result.commanded = true;
    }
    await Promise.race([pause(50), trouble]);
    const heard = tone();
    if (heard) result.tones.push(Math.round(heard));
    const stats = [...(await peer.getStats()).values()];
    const of = (type, kind) => stats.find((entry) => entry.type === type && entry.kind === kind) ?? {};
    const codec = (entry) => stats.find(({ id }) => id === entry.codecId)?.mimeType;
    const [picture, sound, voice] = [of('inbound-rtp', 'video'), of('inbound-rtp', 'audio'), of('outbound-rtp', 'audio')];
    Object.assign(result, {
      pictures: picture.framesDecoded ?? 0, keyframes: picture.keyFramesDecoded ?? 0, freezes: picture.freezeCount ?? 0,
      lost: picture.packetsLost ?? 0, video: codec(picture), sound: codec(sound), voice: codec(voice),
      spoken_packets: voice.packetsSent ?? 0, way: way(stats),
    });
  }
  result.ok = enough();
  signaling.close();
  peer.close();
  return result;
}

window.call = call;
