"""Gaussian expectations, one method per file, and which method serves which activation (`backends`)."""
