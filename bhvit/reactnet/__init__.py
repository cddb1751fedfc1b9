"""ReActNet (Liu et al., ECCV 2020, arXiv 2003.03488) on ResNet-18: the binary convolutional network to compare with."""
