"""Mixed-precision layer search for binary hybrid vision transformers. Importing it loads neither torch nor optuna."""

__version__ = "0.1.0"
