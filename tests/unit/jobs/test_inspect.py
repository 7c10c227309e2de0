"""`kinema inspect` says of a file what holds, with an exit code for each verdict, and refuses what it cannot read."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from kinema_cli.inspect import EXIT_CODES
from kinema_cli.main import main
from kinema_jobs.clip.decoding.errors import Refused
from kinema_jobs.clip.media import write_mp4
from kinema_jobs.inspect.inspecting import inspected
from kinema_jobs.inspect.verdict import report, verdict
from kinema_safety.errors import SafetyError
from kinema_safety.provenance.chain import load
from kinema_safety.provenance.claim import Claim
from kinema_safety.provenance.reading import Provenance
from kinema_safety.provenance.signing import sign
from kinema_safety.provenance.trial import trial_chain
from kinema_safety.watermark.embedding import embed
from kinema_safety.watermark.pattern import PatternKey
from kinema_safety.watermark.payload import payload_of
from kinema_safety.watermark.reading import Reading
from kinema_safety.watermark.synchronisation import Lock
from unit.safety.moving_clips import textured

NOW = datetime.now(UTC)
TRIAL = trial_chain("Studio", NOW)
MAC, OLD = b"the code's key..", PatternKey("old", b"an old pattern..")
CLIP_ID = 0xFEED_F00D


FILES = (("keys", "keys.json"), ("anchors", "anchors.pem"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    clip = textured(1)
    write_mp4(clip, 24, folder / "plain.mp4")
    write_mp4(embed(clip, 24, payload_of(CLIP_ID, MAC), OLD), 24, folder / "marked.mp4")
    claim = Claim("video.mp4", "sha256:" + "5" * 64, NOW, "0.1.0", CLIP_ID)
    sign(folder / "marked.mp4", folder / "signed.mp4", claim, load(TRIAL.certificates, TRIAL.key, NOW))
    file = bytearray((folder / "signed.mp4").read_bytes())
    file[-50] ^= 1
    (folder / "changed.mp4").write_bytes(file)
    Image.fromarray(clip[0]).save(folder / "still.png")
    (folder / "anchors.pem").write_bytes(TRIAL.root)
    entries = [(name, name.encode() * 8, b"another code key") for name in ("new", "mid")] + [("old", OLD.secret, MAC)]
    keys = [
        {"id": name, **{field: base64.b64encode(key).decode() for field, key in (("pattern", pattern), ("mac", mac))}}
        for name, pattern, mac in entries
    ]
    (folder / "keys.json").write_text(json.dumps({"keys": keys}))
    return folder


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("signed.mp4", ("anchors", "keys"), "signed"),
        ("signed.mp4", ("anchors",), "signed"),
        ("signed.mp4", (), "untrusted"),
        ("changed.mp4", ("anchors", "keys"), "changed"),
        ("marked.mp4", ("anchors", "keys"), "watermarked"),
        ("marked.mp4", ("anchors",), "unknown"),
        ("plain.mp4", ("anchors", "keys"), "unknown"),
        ("still.png", ("anchors", "keys"), "unknown"),
    ],
)
def test_a_file_is_told_what_it_is(folder: Path, name: str, options: tuple[str, ...], said: str) -> None:
    keys, anchors = (folder / file if one in options else None for one, file in FILES)
    document = inspected(folder / name, keys, anchors)
    assert document["verdict"] == said
    marked = "keys" in options and name in ("signed.mp4", "changed.mp4", "marked.mp4")
    assert document["watermark"]["id"] == ("00feedf00d" if marked else None)
    assert document["watermark"]["key"] == ("old" if marked else None)
    assert document["watermark"]["agrees"] == (True if marked and said == "signed" else None)
    assert document["provenance"]["watermark_id"] == ("00feedf00d" if said in ("signed", "untrusted") else None)


@pytest.mark.slow
def test_people_get_sentences_and_programs_exit_codes(folder: Path) -> None:
    options = [f"--{one}={folder / file}" for one, file in FILES]
    answer = CliRunner().invoke(main, ["inspect", str(folder / "signed.mp4"), *options])
    assert answer.exit_code == 0
    assert "signed: signed by a signer whom you trust, and not changed since" in answer.output
    for line in ("signer: Studio", "made by AI: yes", "model: sha256:555", "watermark: 00feedf00d (key old)"):
        assert line in answer.output
    answer = CliRunner().invoke(main, ["inspect", "--json", str(folder / "changed.mp4")])
    assert answer.exit_code == EXIT_CODES["changed"]
    assert json.loads(answer.output)["verdict"] == "changed"


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"junk")
    answer = CliRunner().invoke(main, ["inspect", str(tmp_path / "x.mp4")])
    assert answer.exit_code == 2
    assert answer.output.splitlines()[-1].startswith(
        "error: The file cannot be read (its format is unknown). Give an MP4"
    )
    assert "Traceback" not in answer.output


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.mp4", b"junk" * 100, "The file cannot be read (its format is unknown)"),
        ("x.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "The file cannot be read (its format is unknown)"),
        ("x.html", b"<!doctype html><script>1</script>", "The file cannot be read (its format is unknown)"),
        ("x.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "The file cannot be read (its format is unknown)"),
        ("x.mp4", b"#EXTM3U\nfile:///etc/passwd\n", "The file cannot be read (its format is unknown)"),
        ("x.png", b"GIF89a" + b"\0" * 50, "The file is a GIF, which is not supported"),
        ("x.mp4", b"\0\0\0\x18ftypmp42\0\0", "x.mp4: it cannot be taken apart"),
        ("x.mp4", b"", "The file cannot be read (its format is unknown)"),
    ],
    ids=["junk", "svg", "html", "ffconcat", "hls", "gif", "cut off", "empty"],
)
def test_hostile_and_broken_files_end_in_a_sentence(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((Refused, SafetyError), match=re.escape(why)):
        inspected(tmp_path / name, None, None)


@pytest.mark.parametrize(
    ("option", "why"), [("keys", "keys: it is not JSON"), ("anchors", "--anchors: no certificates")]
)
def test_a_bad_file_of_keys_or_anchors_is_named(folder: Path, tmp_path: Path, option: str, why: str) -> None:
    (tmp_path / "bad").write_text("neither")
    files = {"keys": None, "anchors": None, option: tmp_path / "bad"}
    with pytest.raises(SafetyError, match=why):
        inspected(folder / "plain.mp4", files["keys"], files["anchors"])


def test_a_signed_clip_whose_frames_are_not_decoded_says_so(folder: Path, tmp_path: Path) -> None:
    file = (folder / "marked.mp4").read_bytes()
    (tmp_path / "odd.mp4").write_bytes(file.replace(b"avc1", b"xvc1"))
    document = inspected(tmp_path / "odd.mp4", folder / "keys.json", None)
    assert document["verdict"] == "unknown"
    assert document["watermark"]["looked"].startswith("no: The video ")


def test_a_mark_that_the_signature_does_not_name_is_told() -> None:
    mark = Reading(payload_of(7, MAC), 7, "old", 0.9, Lock(4, 0, 0, 100))
    signed = Provenance("intact", trusted=True, watermark_id=8)
    assert report(signed, mark, "yes")["watermark"]["agrees"] is False
    assert report(Provenance("unsigned"), mark, "yes")["watermark"]["agrees"] is None
    assert verdict(Provenance("changed"), mark) == "changed"
    assert verdict(Provenance("unsigned"), mark) == "watermarked"
    assert verdict(Provenance("unsigned"), None) == "unknown"


def test_each_verdict_has_its_own_exit_code_apart_from_those_of_other_commands() -> None:
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert not {1, 2, 3, 4, 5}.intersection(EXIT_CODES.values())
