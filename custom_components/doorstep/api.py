"""Doorstep's HTTP API as a client (docs/http-api.md).

Everything here has an end in time and in size. An error's text is a sentence for the owner, the service's own where it
gave one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
import json
import re
import time
from typing import Any, Final

import aiohttp
from yarl import URL

DOORBELL_ID: Final = r"[a-z0-9_]{1,64}"
"""The id of a doorbell, as the service makes it."""
SESSION: Final = r"[0-9a-f]{16}"
"""The last part of a viewer's address."""
JSON: Final = "application/json"

_CALL_LOCATION: Final = re.compile(rf"({DOORBELL_ID})/({SESSION})")
_CANDIDATE: Final = re.compile(r"candidate:[\x20-\x7e]{1,512}")

# An answer to an offer waits for the camera, 10 s at the service; a still picture takes up to 30 s. What is said waits for
# up to four things before it, each with at most a minute of sound.
_SHORT: Final = aiohttp.ClientTimeout(total=10, connect=5)
_CALL: Final = aiohttp.ClientTimeout(total=20, connect=5)
_PICTURE: Final = aiohttp.ClientTimeout(total=35, connect=5)
_SAYING: Final = aiohttp.ClientTimeout(total=480, connect=5)
_CONNECT_S: Final = 10
_TEXT_LIMIT: Final = 2 * 1024 * 1024
_SDP_LIMIT: Final = 256 * 1024
_PICTURE_LIMIT: Final = 4 * 1024 * 1024
SOUND_LIMIT: Final = 10 * 1024 * 1024
"""The largest file of sound that the service takes."""
# The service closes its door for a minute after ten wrong tokens within one.
_TOKEN_REST_S: Final = 60.0


class DoorstepError(Exception):
    """Something did not work; the text is a whole sentence."""


class CannotConnect(DoorstepError):
    """Nobody answers, or not in time."""


class InvalidAuth(DoorstepError):
    """The token is not, or no longer, the right one."""


class NotDoorstep(DoorstepError):
    """Somebody answers who is not Doorstep."""


class Refused(DoorstepError):
    """Doorstep said no, in its own words."""

    def __init__(self, status: int, sentence: str) -> None:
        """Keep the HTTP status beside the sentence."""
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Doorstep is, and what opens it."""

    host: str
    port: int
    ssl: bool = False
    token: str | None = field(default=None, repr=False)

    @property
    def url(self) -> URL:
        """The root of the service."""
        return URL.build(scheme="https" if self.ssl else "http", host=self.host, port=self.port)


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A doorbell as the service tells of it, as far as it matters here."""

    id: str
    name: str
    vendor: str
    model: str
    firmware: str | None
    capabilities: frozenset[str]
    link: str
    """`offline`, `ready`, `connecting`, `streaming` or `needs_attention`."""
    says: str | None = None
    """The name of the clip that is being said, or `text`, `url` or `file`."""

    @property
    def is_reachable(self) -> bool:
        """Whether something that is asked of it could be done."""
        return self.link in ("ready", "connecting", "streaming")

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> Doorbell:
        """Read one out of `GET /api/doorbells`; raises `NotDoorstep` for anything else."""
        try:
            doorbell = cls(
                id=view["id"],
                name=str(view["name"]),
                vendor=str(view["vendor"]),
                model=str(view["model"]),
                firmware=view.get("firmware"),
                capabilities=frozenset(view["capabilities"]),
                link=str(view["link"]),
                says=_says(view.get("speaking")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise NotDoorstep("The answer is not Doorstep's.") from error
        if not isinstance(doorbell.id, str) or not re.fullmatch(DOORBELL_ID, doorbell.id):
            raise NotDoorstep("The answer is not Doorstep's.")
        return doorbell


def _says(speaking: Mapping[str, Any] | None) -> str | None:
    return None if speaking is None else str(speaking.get("clip") or speaking.get("source"))


def doorbells_of(views: Any) -> dict[str, Doorbell]:
    """Read the whole list, by id."""
    if not isinstance(views, list):
        raise NotDoorstep("The answer is not Doorstep's.")
    return {doorbell.id: doorbell for doorbell in map(Doorbell.of, views)}


@dataclass(frozen=True, slots=True)
class Call:
    """A viewer that the service knows; its path is what takes candidates and ends it."""

    answer: str
    path: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, read whole."""

    status: int
    content_type: str
    location: str | None
    body: bytes


class Doorstep:
    """One running service."""

    def __init__(self, session: aiohttp.ClientSession, address: Address) -> None:
        """`session` stays its owner's."""
        self._session = session
        self.address = address
        self._rests_until = 0.0

    async def check(self) -> None:
        """Raise unless Doorstep is there and takes the token."""
        reply = await self.forward("GET", "health")
        match _json(reply):
            case {"error": str(sentence)}:
                raise Refused(reply.status, sentence)
            case {"status": _, "mqtt": _, "doorbells": _}:
                await self.doorbells()
            case _:
                raise NotDoorstep("Somebody else answers at this address.")

    async def doorbells(self) -> dict[str, Doorbell]:
        """All of them, by id."""
        return doorbells_of(_json(await self.ask("GET", "api/doorbells")))

    async def call(self, doorbell: str, offer: str) -> Call:
        """Become a viewer: the answer to an SDP offer, complete with the service's candidates."""
        path = f"whep/{doorbell}"
        reply = await self.ask(
            "POST", path, body=offer.encode(), content_type="application/sdp", timeout=_CALL, limit=_SDP_LIMIT
        )
        location = location_of(reply)
        if reply.status != 201 or location is None:
            raise NotDoorstep("The answer to the offer is not Doorstep's.")
        return Call(reply.body.decode(errors="replace"), f"whep/{location}")

    async def add_candidate(self, call: Call, candidate: str, mid: str | None) -> None:
        """Tell one of the viewer's own ICE candidates; what is none is passed over."""
        if not _CANDIDATE.fullmatch(candidate):
            return
        named = f"a=mid:{mid}\r\n" if mid is not None and re.fullmatch(r"[\w-]{1,32}", mid) else ""
        fragment = f"{named}a={candidate}\r\n"
        await self.ask("PATCH", call.path, body=fragment.encode(), content_type="application/trickle-ice-sdpfrag")

    async def hang_up(self, call: Call) -> None:
        """End a viewer."""
        await self.ask("DELETE", call.path)

    async def picture(self, doorbell: str) -> bytes | None:
        """The newest still picture that can be had without waking the camera, a JPEG; `None` where there is none."""
        path = f"api/doorbells/{doorbell}/snapshot.jpg"
        try:
            reply = await self.ask("GET", path, query={"wake": "false"}, timeout=_PICTURE, limit=_PICTURE_LIMIT)
        except Refused as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return reply.body

    async def say(self, doorbell: str, what: Mapping[str, Any]) -> dict[str, Any]:
        """Have `text`, `url` or `clip` said, at a `volume`; when it is over, how long each part of it took."""
        body = json.dumps(what).encode()
        return _outcome(await self.ask("POST", _say(doorbell), body=body, content_type=JSON, timeout=_SAYING))

    async def play(self, doorbell: str, sound: bytes, content_type: str, volume: float | None = None) -> dict[str, Any]:
        """The same with a file of sound."""
        query = {} if volume is None else {"volume": f"{volume:.3f}"}
        kind = content_type if content_type.startswith("audio/") else "audio/mpeg"
        return _outcome(
            await self.ask("POST", _say(doorbell), body=sound, content_type=kind, query=query, timeout=_SAYING)
        )

    async def stop_saying(self, doorbell: str) -> None:
        """End what is being said, and what waits for it."""
        await self.ask("DELETE", _say(doorbell))

    async def clips(self) -> list[str]:
        """The names of the clips that every doorbell can say."""
        listed = _json(await self.ask("GET", "api/clips"))
        try:
            return [str(clip["name"]) for clip in listed]
        except (KeyError, TypeError) as error:
            raise NotDoorstep("The answer is not Doorstep's.") from error

    async def card(self) -> bytes:
        """The dashboard card, an ES module."""
        return (await self.ask("GET", "card.js")).body

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str | None = None,
        query: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = _SHORT,
        limit: int = _TEXT_LIMIT,
    ) -> Reply:
        """Make one request, read the whole reply, and raise for every refusal."""
        reply = await self.forward(
            method, path, body=body, content_type=content_type, query=query, timeout=timeout, limit=limit
        )
        if reply.status >= 400:
            raise Refused(reply.status, _sentence(reply))
        return reply

    async def forward(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str | None = None,
        query: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = _CALL,
        limit: int = _TEXT_LIMIT,
    ) -> Reply:
        """Make one request and give its reply as it is; raises only when there is none, or for a wrong token."""
        self._rest()
        headers = self._authorization()
        if content_type is not None:
            headers["Content-Type"] = content_type
        try:
            url = (self.address.url / path).with_query(query)
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                self._notice(response.status)
                read = await _read(response, limit)
                location = response.headers.get("Location")
                return Reply(response.status, response.content_type, location, read)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._unreachable() from error

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Listen to what happens (`/api/events`); the first message tells everything. Ends when the service ends it."""
        self._rest()
        try:
            async with asyncio.timeout(_CONNECT_S):
                socket = await self._session.ws_connect(
                    self.address.url / "api/events",
                    headers=self._authorization(),
                    timeout=aiohttp.ClientWSTimeout(ws_close=5),
                    heartbeat=30,
                    max_msg_size=_TEXT_LIMIT,
                )
            async with socket:
                yield _messages(socket)
        except aiohttp.WSServerHandshakeError as error:
            self._notice(error.status)
            raise self._unreachable() from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._unreachable() from error

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.address.token}"} if self.address.token else {}

    def _rest(self) -> None:
        if time.monotonic() < self._rests_until:
            raise InvalidAuth("Doorstep does not take this token.")

    def _notice(self, status: int) -> None:
        """A wrong token is not tried again at once: the service would lock this whole machine out."""
        if status == 401:
            self._rests_until = time.monotonic() + _TOKEN_REST_S
            raise InvalidAuth("Doorstep does not take this token.")

    def _unreachable(self) -> CannotConnect:
        return CannotConnect(f"Doorstep cannot be reached at {self.address.host}:{self.address.port}.")


def _say(doorbell: str) -> str:
    return f"api/doorbells/{doorbell}/say"


def _outcome(reply: Reply) -> dict[str, Any]:
    """What came of something that was said."""
    outcome = _json(reply)
    if not isinstance(outcome, dict):
        raise NotDoorstep("The answer is not Doorstep's.")
    return outcome


def location_of(reply: Reply) -> str | None:
    """Where a new viewer is, relative to the address that was asked; `None` for anything but that."""
    fits = reply.location is not None and _CALL_LOCATION.fullmatch(reply.location)
    return reply.location if fits else None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    read = bytearray()
    async for piece in response.content.iter_chunked(64 * 1024):
        read += piece
        if len(read) > limit:
            raise NotDoorstep("The answer is larger than any of Doorstep's.")
    return bytes(read)


async def _messages(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue
        try:
            news = json.loads(message.data)
        except ValueError:
            continue
        if isinstance(news, dict):
            yield news


def _json(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except ValueError as error:
        raise NotDoorstep("Somebody else answers at this address.") from error


def _sentence(reply: Reply) -> str:
    """The refusal in the service's words: `{"error": …}`, or plain text for WHEP."""
    text = reply.body[:2000].decode(errors="replace").strip()
    if reply.content_type == JSON:
        try:
            text = str(json.loads(reply.body)["error"])
        except (ValueError, KeyError, TypeError):
            text = ""
    elif reply.content_type != "text/plain":
        text = ""
    return text or f"Doorstep answers with HTTP {reply.status}."
