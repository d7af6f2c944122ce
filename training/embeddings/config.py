"""Configuration of the text and picture encoders."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from contracts.config import StrictConfig

PACKAGED_MINILM: Final = "minilm-packaged"
STAND_IN: Final = "stand_in"


class PoolConfig(StrictConfig):
    """Actors that run one encoder."""

    pool_size: int = Field(default=1, ge=1)
    """Actors."""
    num_cpus: float = Field(default=1, gt=0)
    """Cores of one actor, and its torch threads."""
    num_gpus: float = Field(default=0, ge=0)
    """GPUs of one actor; 0 runs on the CPU."""
    batch_size: int = Field(default=32, ge=1)
    """Rows of one forward pass."""
    max_restarts: int = Field(default=0, ge=-1)
    """How often a lost actor is restarted, -1 = always, for clusters that lose machines. With 0 the job fails and
    the next run encodes what is missing; otherwise Ray prints an error line about constructor arguments at each start.
    """


class TextEncoderConfig(PoolConfig):
    """A sentence-transformers model."""

    pool_size: int = Field(default=2, ge=1)
    """Actors."""
    model: str = PACKAGED_MINILM
    """`minilm-packaged`, a hub id, a local folder or an s3:// prefix."""
    fields: tuple[Literal["title", "description", "category_l1", "category_l2"], ...] = Field(
        default=("title", "description"), min_length=1
    )
    """Item columns that make the text, joined in this order."""
    max_tokens: int = Field(default=128, ge=8)
    """Longer texts are cut."""
    precision: Literal["float32", "bfloat16", "native"] = "float32"
    """Number format of the weights; `native` is bfloat16 if the hardware multiplies it, otherwise float32."""


class ImageEncoderConfig(PoolConfig):
    """The vision tower of an open_clip model."""

    batch_size: int = Field(default=64, ge=1)
    """Rows of one forward pass."""
    model: str = STAND_IN
    """`stand_in` (small, untrained) or the name of an open_clip architecture, for example ViT-B-32."""
    pretrained: str | None = None
    """Weights: an open_clip tag, a local file or an s3:// object; null leaves the model untrained."""
    max_bytes: int = Field(default=50_000_000, ge=1)
    """Larger picture files are not read."""
    max_side: int = Field(default=16_384, ge=1)
    """Most pixels of a picture's longer side; larger pictures are refused by their header, before decoding."""
    max_pixels: int = Field(default=50_000_000, ge=1, le=170_000_000)
    """Most pixels of a picture, checked like `max_side`; decoding takes about 8 bytes a pixel."""

    @model_validator(mode="after")
    def _stand_in_is_untrained(self) -> ImageEncoderConfig:
        if self.model == STAND_IN and self.pretrained is not None:
            raise ValueError(
                f"model {STAND_IN} has no pretrained weights, but pretrained is {self.pretrained!r}; "
                "name an open_clip architecture, for example model: ViT-B-32"
            )
        return self


class EmbedConfig(StrictConfig):
    """Content embeddings of the catalogue."""

    text: TextEncoderConfig = TextEncoderConfig()
    """Titles and descriptions."""
    image: ImageEncoderConfig = ImageEncoderConfig()
    """Product pictures."""
    dim: int = Field(default=64, ge=1)
    """Components after the PCA."""
    seed: int = Field(default=0, ge=0)
    """Draws the weights of an untrained picture encoder."""
