#!/usr/bin/env python3
"""Draws and encodes the clip that every virtual camera plays: src/sim/assets/porch.{h264,h265,aac,jpg}.

A doorbell's view at dusk: a path, a street with a passing car, a moth round the porch lamp, and a
visitor who walks up, waits and leaves. A clock runs, and the ring button lights with each beep.
Pictures: 640x360, 20 a second, 10 s, one keyframe a second, one slice a picture, parameter sets
before each keyframe, no SEI and no access unit delimiters, H.264 baseline or H.265 main.
Sound: only the AAC form is stored, 125 frames of 1024 samples at 16 kHz mono: exactly 8 beeps.

Needs Python 3.9+, ffmpeg with libx264 and libx265, and the DejaVu fonts. Run from anywhere:
    tools/make-clip/make_clip.py
"""

import math
import os
import struct
import subprocess

WIDTH, HEIGHT, FPS, SECONDS = 640, 360, 20, 10
ASSETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "sim", "assets")
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf"
LABEL_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
LAMP = (596, 112)
BUTTON = (606, 322)
BEEP_SECONDS = 0.12


class Picture:
    """RGB pixels with anti-aliased shapes; a shape is a signed distance, negative inside."""

    def __init__(self, pixels=None):
        self.pixels = bytearray(pixels) if pixels else bytearray(WIDTH * HEIGHT * 3)
        self.columns = (0, WIDTH)

    def fill(self, distance, colour, box, alpha=1.0):
        """Paints `colour` (RGB, or a function of x, y giving it) where `distance(x, y)` is negative."""
        left, top, right, bottom = (int(v) for v in box)
        for y in range(max(top, 0), min(bottom + 1, HEIGHT)):
            for x in range(max(left, 0), min(right + 1, WIDTH)):
                cover = min(max(0.5 - distance(x + 0.5, y + 0.5), 0.0), 1.0) * alpha
                if cover > 0.0:
                    self.blend(x, y, colour(x, y) if callable(colour) else colour, cover)

    def blend(self, x, y, colour, cover):
        if not self.columns[0] <= x < self.columns[1]:
            return
        at = (y * WIDTH + x) * 3
        for c in range(3):
            old = self.pixels[at + c]
            self.pixels[at + c] = int(old + (colour[c] - old) * cover + 0.5)

    def circle(self, cx, cy, r, colour, alpha=1.0):
        self.fill(lambda x, y: math.hypot(x - cx, y - cy) - r, colour, (cx - r - 1, cy - r - 1, cx + r + 1, cy + r + 1), alpha)

    def box(self, x0, y0, x1, y1, colour, radius=0.0, alpha=1.0):
        cx, cy, hx, hy = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 - radius, (y1 - y0) / 2 - radius

        def distance(x, y):
            dx, dy = abs(x - cx) - hx, abs(y - cy) - hy
            return math.hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0) - radius

        self.fill(distance, colour, (x0 - 1, y0 - 1, x1 + 1, y1 + 1), alpha)

    def convex(self, points, colour, alpha=1.0):
        """A convex polygon, its corners given clockwise."""
        edges = []
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1]):
            length = math.hypot(x1 - x0, y1 - y0)
            edges.append(((y1 - y0) / length, -(x1 - x0) / length, x0, y0))
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        self.fill(
            lambda x, y: max(nx * (x - x0) + ny * (y - y0) for nx, ny, x0, y0 in edges),
            colour,
            (min(xs) - 1, min(ys) - 1, max(xs) + 1, max(ys) + 1),
            alpha,
        )

    def glow(self, cx, cy, r, colour, strength):
        for y in range(max(int(cy - r), 0), min(int(cy + r), HEIGHT)):
            for x in range(max(int(cx - r), 0), min(int(cx + r), WIDTH)):
                near = 1.0 - math.hypot(x - cx, y - cy) / r
                if near > 0.0:
                    self.blend(x, y, colour, near * near * strength)


def mix(a, b, t):
    t = min(max(t, 0.0), 1.0)
    return tuple(p + (q - p) * t for p, q in zip(a, b))


def smooth(t):
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def sky(x, y):
    top, middle, low = (28, 36, 84), (116, 84, 138), (247, 166, 122)
    return mix(top, middle, y / 95) if y < 95 else mix(middle, low, (y - 95) / 70)


def draw_background():
    picture = Picture()
    picture.box(-2, -2, WIDTH + 2, 186, sky)
    for x, y, r in ((70, 26, 1.1), (150, 52, 0.9), (236, 20, 1.2), (318, 44, 0.8), (402, 18, 1.0), (470, 58, 0.9), (520, 22, 1.2)):
        picture.circle(x, y, r, (255, 244, 226), 0.8)
    picture.glow(214, 168, 130, (255, 206, 142), 0.75)
    picture.circle(214, 168, 24, (255, 226, 168))
    for cx, r, colour in ((60, 190, (86, 66, 116)), (330, 260, (78, 60, 108)), (585, 200, (88, 68, 118))):
        picture.fill(lambda x, y: math.hypot((x - cx), (y - 182 - r * 0.78)) - r, colour, (0, 100, WIDTH, 185))
    draw_houses(picture)
    draw_ground(picture)
    draw_porch(picture)
    return picture


def draw_houses(picture):
    for left, width, wall, roof in ((86, 96, (70, 58, 88), (50, 42, 70)), (398, 112, (76, 60, 88), (54, 42, 70))):
        right, middle = left + width, left + width / 2
        picture.convex([(left - 10, 146), (middle, 112), (right + 10, 146)], roof)
        picture.box(left, 145, right, 186, wall)
        for window in (left + 14, right - 34):
            picture.glow(window + 10, 160, 24, (255, 196, 110), 0.35)
            picture.box(window, 152, window + 20, 170, (255, 208, 128), 1.5)
            picture.box(window + 9, 152, window + 11, 170, wall)
        picture.box(middle - 7, 158, middle + 7, 186, (46, 38, 62), 2)
    for x, y, r in ((36, 152, 22), (56, 162, 17), (262, 158, 17), (284, 150, 22), (306, 160, 16), (548, 152, 22), (566, 162, 16)):
        picture.box(x - 2, y, x + 2, 188, (46, 38, 56))
        picture.circle(x, y, r, (48, 62, 78))
        picture.circle(x - 5, y - 5, r * 0.6, (60, 76, 88))


def draw_ground(picture):
    picture.box(-2, 184, WIDTH + 2, 190, (126, 118, 132))
    picture.box(-2, 190, WIDTH + 2, 222, (62, 62, 80))
    for x in range(-10, WIDTH, 64):
        picture.box(x, 204.5, x + 34, 207, (212, 196, 160), 1)
    picture.box(-2, 222, WIDTH + 2, 229, (138, 130, 140))
    picture.box(-2, 229, WIDTH + 2, HEIGHT + 2, lambda x, y: mix((64, 96, 82), (42, 68, 62), (y - 229) / 110))
    picture.convex([(292, 229), (348, 229), (474, HEIGHT + 2), (166, HEIGHT + 2)], lambda x, y: mix((176, 160, 156), (140, 126, 128), (y - 229) / 130))
    for row, y in enumerate((236, 247, 263, 285, 315)):
        half = 28 + (y - 229) * 0.97
        picture.box(320 - half, y, 320 + half, y + 1 + row * 0.4, (118, 106, 112))
    for x, y, r in ((232, 246, 9), (214, 262, 12), (190, 286, 16), (404, 246, 9), (424, 264, 12), (450, 288, 16)):
        picture.circle(x, y, r, (44, 78, 66))
        picture.circle(x - r * 0.3, y - r * 0.35, r * 0.55, (62, 100, 80))
        for k in range(3):
            angle = k * 2.1 + x
            picture.circle(x + math.cos(angle) * r * 0.5, y + math.sin(angle) * r * 0.4, r * 0.14, (246, 160, 150))


def draw_porch(picture):
    picture.box(-2, -2, 44, HEIGHT + 2, lambda x, y: mix((58, 66, 92), (44, 50, 74), x / 44))
    picture.box(44, -2, 48, HEIGHT + 2, (34, 38, 58))
    for y in range(20, HEIGHT, 28):
        picture.box(-2, y, 44, y + 1.5, (38, 44, 66))
    picture.glow(*LAMP, 150, (255, 190, 110), 0.5)
    picture.box(568, -2, WIDTH + 2, HEIGHT + 2, (62, 70, 98))
    for y in range(20, HEIGHT, 28):
        picture.box(568, y, WIDTH + 2, y + 1.5, (46, 52, 76))
    picture.box(562, -2, 569, HEIGHT + 2, (232, 224, 214))
    picture.glow(*LAMP, 92, (255, 200, 120), 0.55)
    x, y = LAMP
    picture.box(x - 3, y - 34, x + 3, y - 20, (30, 30, 42), 2)
    picture.convex([(x - 13, y - 16), (x - 6, y - 24), (x + 6, y - 24), (x + 13, y - 16)], (30, 30, 42))
    picture.box(x - 11, y - 17, x + 11, y + 17, (255, 226, 160), 3)
    picture.circle(x, y, 7, (255, 248, 220))
    picture.box(x - 13, y + 16, x + 13, y + 20, (30, 30, 42), 2)
    bx, by = BUTTON
    picture.box(bx - 15, by - 26, bx + 15, by + 26, (28, 30, 44), 9)
    picture.circle(bx, by + 4, 10, (70, 78, 104))


def draw_car(picture, t):
    x = -120 + (t - 0.8) / 3.4 * (WIDTH + 240)
    if not -110 < x < WIDTH + 110:
        return
    picture.columns = (48, 562)  # between the walls of the porch
    picture.glow(x + 60, 206, 46, (255, 232, 170), 0.5)
    picture.box(x - 46, 194, x + 46, 210, (206, 82, 86), 6)
    picture.convex([(x - 32, 196), (x - 20, 182), (x + 16, 182), (x + 30, 196)], (186, 70, 78))
    picture.convex([(x - 25, 195), (x - 17, 185), (x - 3, 185), (x - 3, 195)], (250, 214, 170))
    picture.convex([(x + 1, 195), (x + 1, 185), (x + 13, 185), (x + 22, 195)], (250, 214, 170))
    picture.box(x + 41, 198, x + 47, 203, (255, 244, 206), 2)
    for wheel in (x - 26, x + 26):
        picture.circle(wheel, 210, 8, (30, 30, 42))
        picture.circle(wheel, 210, 3.4, (170, 170, 182))
    picture.columns = (0, WIDTH)


def visitor_nearness(t):
    """0 at the street, 1 at the door: walks up in 3 s, waits, walks back."""
    return smooth((t - 1.2) / 3.0) - smooth((t - 6.4) / 3.0)


def draw_visitor(picture, t):
    near = visitor_nearness(t)
    if near <= 0.0:
        return
    scale, ground = 0.22 + 0.78 * near, 226 + 110 * near
    walking = 1.2 < t < 4.2 or 6.4 < t < 9.4
    swing = math.sin(t * 9) if walking else 0.0
    sway, bob = 2.5 * swing * scale, abs(swing) * 4 * scale
    x, feet = 320 + sway, ground - bob

    def at(dx, dy):
        return x + dx * scale, feet + dy * scale

    def box(x0, y0, x1, y1, colour, radius):
        picture.box(*at(x0, y0), *at(x1, y1), colour, radius * scale)

    picture.fill(lambda px, py: math.hypot((px - 320) / 2.6, py - ground) - 13 * scale, (40, 44, 56), (320 - 40 * scale, ground - 15 * scale, 320 + 40 * scale, ground + 15 * scale), 0.4)
    box(-19, -66 + 5 * swing, -4, 0 + 5 * swing, (44, 48, 78), 6)
    box(4, -66 - 5 * swing, 19, 0 - 5 * swing, (44, 48, 78), 6)
    box(-39, -136, -25, -66 - 6 * swing, (206, 132, 66), 7)
    box(-29, -146, 29, -54, (236, 158, 84), 18)
    box(-2, -140, 2, -58, (206, 132, 66), 1)
    greeting = smooth((t - 4.5) / 0.4) - smooth((t - 6.0) / 0.4)
    if greeting > 0.5:
        wave = math.sin(t * 11) * 7
        box(25, -136, 39, -96, (206, 132, 66), 7)
        picture.convex([at(26, -128), at(44 + wave, -184), at(57 + wave, -180), at(40, -122)], (206, 132, 66))
        picture.circle(*at(51 + wave, -188), 9 * scale, (244, 206, 176))
    else:
        box(25, -136, 39, -66 + 6 * swing, (206, 132, 66), 7)
    box(-7, -156, 7, -138, (226, 184, 152), 5)
    picture.circle(*at(0, -172), 23 * scale, (244, 206, 176))
    picture.fill(lambda px, py: max(math.hypot(px - x, py - feet + 174 * scale) - 25 * scale, py - feet + 178 * scale), (72, 48, 52), (x - 27 * scale, feet - 202 * scale, x + 27 * scale, feet - 174 * scale))
    if t < 6.6:
        picture.circle(*at(-8, -171), 2.4 * scale, (52, 40, 46))
        picture.circle(*at(8, -171), 2.4 * scale, (52, 40, 46))
        picture.box(*at(-6, -162), *at(6, -159), (190, 110, 100), 1.4 * scale)
    else:
        picture.circle(*at(0, -174), 23 * scale, (72, 48, 52))


def draw_moth(picture, t):
    angle = t / SECONDS * 2 * math.pi
    x = LAMP[0] + 24 * math.cos(5 * angle) + 6 * math.sin(13 * angle)
    y = LAMP[1] + 19 * math.sin(4 * angle) + 5 * math.cos(11 * angle)
    wing = 2.5 + 2 * abs(math.sin(t * 21))
    picture.box(x - wing, y - 1.2, x + wing, y + 1.2, (92, 74, 62), 1.2)


def draw_button(picture, t):
    lit = t % 1.0 < BEEP_SECONDS
    x, y = BUTTON
    if lit:
        picture.glow(x, y + 4, 34, (110, 214, 255), 0.8)
    picture.circle(x, y + 4, 7, (150, 232, 255) if lit else (92, 150, 190))


def draw_picture(background, t):
    picture = Picture(background.pixels)
    draw_car(picture, t)
    draw_visitor(picture, t)
    draw_moth(picture, t)
    draw_button(picture, t)
    return picture.pixels


def caption():
    """The running clock and the name of the scene, as an ffmpeg filter."""
    clock = r"%{eif\:trunc(t/60)\:d\:2}\:%{eif\:mod(trunc(t)\,60)\:d\:2}.%{eif\:trunc(mod(t\,1)*10+0.001)\:d\:1}"
    return ",".join(
        [
            "drawbox=x=58:y=12:w=132:h=34:color=0x12142A@0.72:t=fill",
            f"drawtext=fontfile={FONT}:text='{clock}':x=68:y=20:fontsize=24:fontcolor=white",
            "drawbox=x=58:y=324:w=222:h=24:color=0x12142A@0.72:t=fill",
            f"drawtext=fontfile={LABEL_FONT}:text='Doorstep virtual camera':x=68:y=330:fontsize=14:fontcolor=0xF4E3D2",
        ]
    )


def encode(pictures, name, arguments):
    raw = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-"]
    colours = ["-vf", caption() + ",scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"]
    tags = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    subprocess.run(raw + colours + tags + arguments + [os.path.join(ASSETS, name)], input=b"".join(pictures), check=True)


def encode_video(pictures):
    common = ["-bf", "0", "-threads", "1"]
    h264 = ["-c:v", "libx264", "-preset", "veryslow", "-crf", "26", "-profile:v", "baseline", "-level", "3.0"]
    h264 += ["-x264-params", f"keyint={FPS}:min-keyint={FPS}:scenecut=0:slices=1:repeat-headers=1:aud=0"]
    encode(pictures, "porch.h264", common + h264 + ["-bsf:v", "filter_units=remove_types=6|9", "-f", "h264"])
    h265 = ["-c:v", "libx265", "-preset", "slow", "-crf", "28", "-profile:v", "main"]
    h265 += ["-x265-params", f"keyint={FPS}:min-keyint={FPS}:scenecut=0:slices=1:repeat-headers=1:aud=0:info=0:open-gop=0:bframes=0:log-level=error:pools=none:frame-threads=1"]
    encode(pictures, "porch.h265", common + h265 + ["-bsf:v", "filter_units=remove_types=35|39|40", "-f", "hevc"])


def beep(second, rate):
    """One sample of the 1 kHz beep, with 5 ms ramps so that it does not click; -1..1."""
    if second >= BEEP_SECONDS:
        return 0.0
    ramp = min(second / 0.005, (BEEP_SECONDS - second) / 0.005, 1.0)
    return 0.35 * ramp * math.sin(2 * math.pi * 1000 * second)


def encode_audio():
    """Encodes 24 s and keeps the 125 frames that begin at 8 s: both ends meet without a click."""
    rate, kept = 16_000, 125
    samples = [int(beep((n % rate) / rate, rate) * 32767) for n in range(rate * 24)]
    arguments = ["ffmpeg", "-v", "error", "-f", "s16le", "-ar", str(rate), "-ac", "1", "-i", "-"]
    arguments += ["-c:a", "aac", "-b:a", "32k", "-f", "adts", "-"]
    adts = subprocess.run(arguments, input=struct.pack(f"<{len(samples)}h", *samples), capture_output=True, check=True).stdout
    frames, at = [], 0
    while at < len(adts):
        length = (adts[at + 3] & 3) << 11 | adts[at + 4] << 3 | adts[at + 5] >> 5
        frames.append(adts[at : at + length])
        at += length
    # The encoder's first frame is priming: frame n holds the samples from (n - 1) * 1024.
    with open(os.path.join(ASSETS, "porch.aac"), "wb") as file:
        file.write(b"".join(frames[kept + 1 : kept * 2 + 1]))


def encode_still():
    """The still picture: the clip's first picture at half its size."""
    source = ["ffmpeg", "-v", "error", "-y", "-i", os.path.join(ASSETS, "porch.h264")]
    picture = ["-vf", "scale=320:180", "-frames:v", "1", "-q:v", "12", "-bitexact", "-map_metadata", "-1"]
    subprocess.run(source + picture + [os.path.join(ASSETS, "porch.jpg")], check=True)


def main():
    os.makedirs(ASSETS, exist_ok=True)
    background = draw_background()
    encode_video([bytes(draw_picture(background, n / FPS)) for n in range(FPS * SECONDS)])
    encode_audio()
    encode_still()


if __name__ == "__main__":
    main()
