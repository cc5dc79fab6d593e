"""Sessions of browsers: a random token in a cookie stands for a key, so that no browser has to store the key itself.

Sessions are in memory: a restart of the broker ends them, and so does the end of their key. A cookie counts only in a
request that a page of the broker made, which the browser and a header of the page confirm, so no other site can use it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

#: Duration of a session.
SESSION_S = 12 * 3600

#: Sessions above which the oldest one ends.
MAX_SESSIONS = 1000

#: Scheme of the value that stands for a session where other requests have an ``Authorization`` header.
SCHEME = "Session "


class Sessions:
    """Sessions by the hash of their token."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._sessions: dict[bytes, tuple[str, float]] = {}

    def begin(self, key_id: str) -> str:
        """Begin a session of a key, and return its token."""
        token = secrets.token_urlsafe(32)
        self._sessions[_hash(token)] = key_id, self._now_s() + SESSION_S
        while len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return token

    def key_id_of(self, token: str) -> str | None:
        """Return the id of a session's key, or None if there is no such session any more."""
        key_id, end_s = self._sessions.get(_hash(token), ("", 0.0))
        return key_id if self._now_s() < end_s else None

    def end(self, token: str) -> None:
        """End a session, if there is one with this token."""
        self._sessions.pop(_hash(token), None)


def cookie_name(host: str, *, is_secure: bool) -> str:
    """Return the name of the cookie for the broker at this host.

    Browsers send a cookie to all ports of a host, so brokers beside each other need different names.
    """
    port = host.rpartition(":")[2]
    name = f"wonderq-{port}" if port.isdigit() else "wonderq"
    return f"__Host-{name}" if is_secure else name


def credential(header: Callable[[str], str | None]) -> str | None:
    """Return what stands for the session of a request instead of an `Authorization` header, or None.

    ``header`` returns a header by its name in upper case with ``_`` for ``-``.
    """
    if header("X_WONDERQ_UI") != "1" or header("SEC_FETCH_SITE") != "same-origin":
        return None
    cookies = header("COOKIE")
    if not cookies:
        return None
    try:
        found = SimpleCookie(cookies)
    except CookieError:
        return None
    names = [cookie_name(header("HOST") or "", is_secure=is_secure) for is_secure in (True, False)]
    return next((SCHEME + found[name].value for name in names if name in found), None)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
