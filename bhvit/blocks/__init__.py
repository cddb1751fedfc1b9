"""The parts of BHViT: stem, token mixer, attention, MLP, downsampling, head, and the block that joins them."""

from bhvit.blocks.attention import Attention
from bhvit.blocks.block import Block
from bhvit.blocks.downsample import Downsample
from bhvit.blocks.head import Head
from bhvit.blocks.mlp import Mlp
from bhvit.blocks.stem import Stem
from bhvit.blocks.token_mixer import TokenMixer

__all__ = ["Attention", "Block", "Downsample", "Head", "Mlp", "Stem", "TokenMixer"]
