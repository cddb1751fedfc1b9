"""From a trained torch model to files that run elsewhere."""
