// A doorbell made of a browser tab: answers WHEP offers with a moving picture, and counts the sound it gets.
(() => {
  const canvas = document.createElement('canvas');
  canvas.width = 320;
  canvas.height = 180;
  const context = canvas.getContext('2d');
  setInterval(() => {
    context.fillStyle = `hsl(${(Date.now() / 10) % 360} 70% 50%)`;
    context.fillRect(0, 0, 320, 180);
  }, 50);
  const picture = canvas.captureStream(20).getVideoTracks()[0];
  const peers = [];
  window.answer = async (sdp) => {
    const peer = new RTCPeerConnection();
    peers.push(peer);
    await peer.setRemoteDescription({ type: 'offer', sdp });
    for (const transceiver of peer.getTransceivers()) {
      const video = transceiver.receiver.track.kind === 'video';
      if (video) await transceiver.sender.replaceTrack(picture);
      transceiver.direction = video ? 'sendonly' : 'recvonly';
    }
    const gathered = new Promise((resolve) => {
      peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
    });
    await peer.setLocalDescription();
    await gathered;
    return peer.localDescription.sdp;
  };
  window.heard = async () => {
    let packets = 0;
    for (const peer of peers) {
      for (const stats of (await peer.getStats()).values()) {
        if (stats.type === 'inbound-rtp' && stats.kind === 'audio') packets += stats.packetsReceived;
      }
    }
    return packets;
  };
})();
