"""Extraction: what a model finds in prose, as entities and facts of the graph beside those that events state."""
