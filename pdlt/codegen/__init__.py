"""Equations as array operations."""
