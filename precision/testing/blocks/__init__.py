"""Checks of quantizers and dequantizers with scales."""
