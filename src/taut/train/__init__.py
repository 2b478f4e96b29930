"""Training: one readable loop a file. torch, transformers and TRL are imported only by these, and only when asked."""
