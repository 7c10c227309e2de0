"""A first frame as the pipeline takes it: pixels for the VAE, and states of CLIP where the network attends to them."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from kinema_model.codec.codec import Video
from kinema_model.errors import ShapeError
from kinema_model.open_weights.configs import ImageProcessorConfig


def check_image(image: Video) -> None:
    """Raise `ShapeError` unless the image is uint8 (H, W, 3)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ShapeError(f"An image is {image.dtype} {image.shape}. Give uint8 of shape (height, width, 3).")


def first_frame(image: Video, height: int, width: int) -> Tensor:
    """Float in [-1, 1] (3, 1, height, width) of an image uint8 (H, W, 3), stretched to that size as diffusers does."""
    check_image(image)
    if image.shape[:2] != (height, width):
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255.0)
    return (2.0 * pixels - 1.0).permute(2, 0, 1)[:, None].contiguous()


def encoder_pixels(image: Video, config: ImageProcessorConfig) -> Tensor:
    """(1, 3, H, W) for the image encoder: resized and cropped as the folder says, normalised per colour."""
    check_image(image)
    height, width = image.shape[:2]
    resized = Image.fromarray(image).resize(_resized(config, height, width), Image.Resampling(config.resample))
    pixels = np.asarray(resized, dtype=np.float32) / np.float32(255)
    if config.do_center_crop:
        rows, columns = config.crop
        top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
        pixels = pixels[top : top + rows, left : left + columns]
    mean, std = (np.asarray(each, dtype=np.float32) for each in (config.image_mean, config.image_std))
    normal = (pixels - mean) / std
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32))[None]


def _resized(config: ImageProcessorConfig, height: int, width: int) -> tuple[int, int]:
    """(width, height) that PIL is asked for."""
    edge = config.size.shortest_edge
    if edge is None:
        return config.size.width or width, config.size.height or height
    short, long = sorted((height, width))
    longer = int(edge * long / short)
    return (edge, longer) if width <= height else (longer, edge)


@torch.no_grad()
def image_states(encoder: nn.Module, pixels: Tensor) -> Tensor:
    """States (I, hidden_size) of the last layer but one, which Wan was trained on, for pixels (1, 3, H, W)."""
    states: Tensor = encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-2][0]
    return states
