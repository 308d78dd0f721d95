"""Procedural scenes with exact truth: what the embedded network learns depth from.

World axes are z up, in metres. A world is a list of textured triangles, made from meshes that are
placed as often as wanted; `raster` draws it, `lens` makes a photo of what was drawn, and `sample`
does all of it from one seed.
"""
