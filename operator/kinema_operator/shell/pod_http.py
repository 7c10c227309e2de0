"""HTTP to pods, which may be anybody's by now: an answer is taken as it comes, undecoded, and has a longest length.

A few kilobytes of compressed zeros are as many megabytes once a client unpacks them, before it can count them.
"""

from __future__ import annotations

import aiohttp


def session(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """A session for questions to pods. Whoever asks follows no redirect."""
    return aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False)


async def whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """An answer's body of at most `limit` bytes, in however many pieces it comes.

    Raises:
        aiohttp.ClientPayloadError: it is longer.
    """
    read = bytearray()
    async for chunk in response.content.iter_any():
        read += chunk
        if len(read) > limit:
            raise aiohttp.ClientPayloadError("the response is too long")
    return bytes(read)
