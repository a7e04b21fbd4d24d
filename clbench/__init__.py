"""clbench: which remedy to use when a fine-tuned model forgets."""

__version__ = "0.1.0"
