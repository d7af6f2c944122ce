"""Text and picture embeddings of the catalogue."""

from training.embeddings.catalogue import CatalogueEmbeddings, EmbeddingSummary, embed_catalogue, open_embeddings
from training.embeddings.config import EmbedConfig

__all__ = ["CatalogueEmbeddings", "EmbedConfig", "EmbeddingSummary", "embed_catalogue", "open_embeddings"]
