"""How tokens lie over the frames and pixels of a clip, by the strides of a codec and the patch of the network.

Whatever counts tokens, rows or multiples asks a `LatentGrid`, so that a codec with strides needs no change elsewhere.
Imports no torch, since the config of a model holds a grid.
"""

from dataclasses import dataclass
from math import prod
from typing import Final, Literal

from kinema_model.errors import ShapeError

Box = tuple[int, int, int]
PIXELS: Final[Box] = (1, 1, 1)
CodecName = Literal["pixel", "unshuffle", "world"]


@dataclass(frozen=True)
class CodecShape:
    """Channels of a codec's latents, its strides, and whether it is causal."""

    channels: int
    strides: Box = PIXELS
    causal: bool = False


CODECS: Final[dict[CodecName, CodecShape]] = {
    "pixel": CodecShape(3),
    # Lossless: each latent holds the 4 x 2 x 2 pixels of its cell.
    "unshuffle": CodecShape(48, (4, 2, 2)),
    # Learned, for pictures of the synthetic world.
    "world": CodecShape(16, (1, 8, 8)),
}


@dataclass(frozen=True)
class LatentGrid:
    """Strides of a codec (frames, rows and columns of pixels per latent) and the patch (latents per token).

    A causal codec encodes the first frame alone and `strides[0]` frames in each latent frame after it, as the VAE of
    Wan 2.1 does (arXiv:2503.20314, section 4.1), so a clip of 1 + k `strides[0]` frames has 1 + k latent frames.
    """

    patch: Box
    strides: Box = PIXELS
    causal: bool = False

    @property
    def cell(self) -> Box:
        """Frames, rows and columns of pixels of one token."""
        return (self.strides[0] * self.patch[0], self.strides[1] * self.patch[1], self.strides[2] * self.patch[2])

    # Time.

    def frames_of(self, rows: int) -> int:
        """Frames of so many token rows."""
        frames = rows * self.cell[0]
        return max(0, frames - self.strides[0] + 1) if self.causal else frames

    def rows_in(self, frames: int) -> int:
        """Token rows that so many first frames fill."""
        return (frames + self.strides[0] - 1 if self.causal else frames) // self.cell[0]

    def row_at(self, frame: int) -> int:
        """The token row whose first frame is nearest to this one, for a cut before `frame`."""
        return round((frame + self.strides[0] - 1 if self.causal and frame else frame) / self.cell[0])

    def rows_for(self, seconds: float, fps: float) -> int:
        """Token rows of a clip of about so many seconds: the nearest number, at least one."""
        frames = seconds * fps
        return max(1, round((frames + self.strides[0] - 1 if self.causal else frames) / self.cell[0]))

    def whole_frames(self, frames: int) -> int:
        """The least number of frames that fills whole token rows and is no less than `frames`."""
        rows = self.rows_in(frames)
        return frames if self.frames_of(rows) == frames and rows else self.frames_of(rows + 1)

    def pace(self, fps: float, reference_fps: float) -> float:
        """What a token row takes of the rotary time axis, whose unit is a token row at `reference_fps`."""
        return reference_fps / fps

    def position(self, frame: int, fps: float, reference_fps: float) -> float:
        """Where on the rotary time axis a clip begins whose first frame is `frame` of another."""
        return frame / fps * reference_fps / self.cell[0]

    # Shapes.

    def latent_box(self, frames: int, height: int, width: int) -> Box:
        """(T', H', W') latents of a clip of whole tokens.

        Raises:
            ShapeError: the clip is not whole tokens.
        """
        tokens = self.tokens_box(frames, height, width)
        if (self.frames_of(tokens[0]), tokens[1] * self.cell[1], tokens[2] * self.cell[2]) != (frames, height, width):
            raise ShapeError(
                f"A clip of {frames} frames of {width}x{height} px is not whole tokens. Use {self.describe()}."
            )
        return (tokens[0] * self.patch[0], tokens[1] * self.patch[1], tokens[2] * self.patch[2])

    def tokens_box(self, frames: int, height: int, width: int) -> Box:
        """(T, H, W) tokens of a clip, cropped to whole ones."""
        return self.rows_in(frames), height // self.cell[1], width // self.cell[2]

    def tokens(self, frames: int, height: int, width: int) -> int:
        """Tokens of a clip, cropped to whole ones.

        Raises:
            ShapeError: it is smaller than one token.
        """
        found = prod(self.tokens_box(frames, height, width))
        if not found:
            raise ShapeError(
                f"A clip of {frames} frames of {width}x{height} px is smaller than a token. Use {self.describe()}."
            )
        return found

    def whole_side(self, name: Literal["height", "width"], size: int, most: int) -> int:
        """`size` pixels if they are whole tokens and at most `most`.

        Raises:
            ShapeError: they are not; it names the nearest size that is.
        """
        multiple = self.cell[1 if name == "height" else 2]
        nearest = min(max(round(size / multiple), 1), most // multiple) * multiple
        if size == nearest:
            return size
        raise ShapeError(
            f"{name} {size} does not fit this model: it must be a multiple of {multiple} from {multiple} to "
            f"{most // multiple * multiple}. Use {nearest}."
        )

    def whole_length(self, frames: int, least_rows: int, most_rows: int) -> int:
        """`frames` if they are whole token rows, and as many as these bounds allow.

        Raises:
            ShapeError: they are not; it names the nearest length that is.
        """
        nearest = self.frames_of(min(max(self.row_at(frames), least_rows), most_rows))
        if frames == nearest:
            return frames
        more = f" plus {self.frames_of(1)}" if self.causal else ""
        raise ShapeError(
            f"frames {frames} does not fit this model: it must be a multiple of {self.cell[0]}{more} from "
            f"{self.frames_of(least_rows)} to {self.frames_of(most_rows)}. Use {nearest}."
        )

    def describe(self) -> str:
        """Which sizes are whole tokens, as part of a message."""
        frames, rows, columns = self.cell
        first = f"{self.frames_of(1)} plus " if self.causal else ""
        return f"{first}multiples of {frames} frames, {rows} rows and {columns} columns of pixels"
