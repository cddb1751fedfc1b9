"""Measuring exported models where they run: time, memory, size and accuracy, in onnxruntime and in our runtime.

No torch, no rich; the runtimes are imported where a file of theirs is opened.
"""
