"""Whose turn it is, one poll of one transform, and the search for transforms."""
