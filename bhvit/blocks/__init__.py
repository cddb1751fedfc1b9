"""The parts of the families: stem, token mixers, MLP, downsampling, head, and the block that joins them."""

from bhvit.blocks.block import Block
from bhvit.blocks.downsample import Downsample
from bhvit.blocks.global_attention import GlobalAttention
from bhvit.blocks.head import Head
from bhvit.blocks.mlp import Mlp
from bhvit.blocks.stem import Stem
from bhvit.blocks.token_mixer import TokenMixer
from bhvit.blocks.window_attention import WindowAttention

__all__ = [
    "Block",
    "Downsample",
    "GlobalAttention",
    "Head",
    "Mlp",
    "Stem",
    "TokenMixer",
    "WindowAttention",
]
