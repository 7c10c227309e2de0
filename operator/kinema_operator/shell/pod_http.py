"""HTTP to pods, which are not trusted: responses are not decompressed and have a maximum length.

A few compressed kilobytes can become megabytes in memory before a client can count them.
"""

from __future__ import annotations

import aiohttp


def session(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """A session for requests to pods. Callers must not follow redirects."""
    return aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False)


async def whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of a response, of at most `limit` bytes.

    Raises:
        aiohttp.ClientPayloadError: it is longer.
    """
    read = bytearray()
    async for chunk in response.content.iter_any():
        read += chunk
        if len(read) > limit:
            raise aiohttp.ClientPayloadError("the response is too long")
    return bytes(read)
