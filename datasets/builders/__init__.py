"""Vimeo-90K: triplets and septuplets."""
