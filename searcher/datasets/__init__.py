"""Image data sets: which files belong to which split (torch-free), and batches of them for training (torch)."""
