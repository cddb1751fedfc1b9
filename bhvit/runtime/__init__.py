"""Packed models: their files, and running them. Nothing here imports torch."""
