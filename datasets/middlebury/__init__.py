"""Middlebury flow benchmark, the "other" scenes with a true middle frame."""
