"""DeiT (Touvron et al., ICML 2021, arXiv 2012.12877): the full-precision transformer to compare with."""
