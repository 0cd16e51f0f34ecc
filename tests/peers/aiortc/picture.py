"""What the programs here show."""

import av
from aiortc import VideoStreamTrack


class Bars(VideoStreamTrack):
    """A grey that changes with every picture."""

    shown = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(320, 240, "yuv420p")
        for n, plane in enumerate(frame.planes):
            plane.update(bytes([(16 + 5 * self.shown) % 220 if n == 0 else 128]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        self.shown += 1
        return frame
