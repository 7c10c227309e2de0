"""What a server fetches and uploads goes to the address that it was given and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema_jobs.errors import TransferFailed
from kinema_jobs.serve.settings import ServerSettings
from kinema_jobs.serve.transfer import Transfers, client_session
from stage.bad_stores import bad_store


@pytest.mark.parametrize("direction", ["fetch", "upload"])
async def test_a_redirect_of_a_store_is_never_followed(direction: str, tmp_path: Path) -> None:
    settings = ServerSettings(
        cache_dir=tmp_path / "cache", retry_initial_seconds=0.01, retry_max_seconds=0.02, transfer_patience_seconds=1
    )
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"secret clip")
    with bad_store("good") as elsewhere, bad_store("redirecting", target=elsewhere.endpoint) as store:
        async with client_session(settings) as session:
            transfers, address = Transfers(session, settings), f"{store.endpoint}/bucket/key?signature=s"
            refused: Exception | None = None
            try:
                if direction == "fetch":
                    await transfers.fetch("weights", address, tmp_path / "out", 1000)
                else:
                    await transfers.upload("clip.mp4", address, clip)
            except Exception as error:
                refused = error
        assert elsewhere.requests == [], "the request, with its body, went on to where the store pointed"
        assert isinstance(refused, TransferFailed)
        assert "redirect" in str(refused)
