"""BinaryViT (Le & Li, CVPR Workshops 2023, arXiv 2306.16678): a pyramid of global attention with spatial reduction."""
