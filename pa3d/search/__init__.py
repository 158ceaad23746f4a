"""Search: shapes by words, by another shape, and by their parts, in an index of many shapes.

    from pa3d.search import ShapeIndex
    index = ShapeIndex.load("models.safetensors")          # pa3d embed models/ -o models.safetensors
    index.search("office chair with arms", top=10)
    index.search_part("wheel")                              # shapes that have such a part
    index.like("chair.glb"), index.like("chair.glb", part="leg")

vectors.py says what an index keeps of a shape, index_file.py how it lies in the file, and embed.py makes it.
"""

from pa3d.search.embed import embed_files
from pa3d.search.index import FoundPart, Hit, ShapeIndex, parse_query
from pa3d.search.vectors import EmbedOptions, ShapeVectors

__all__ = ["EmbedOptions", "FoundPart", "Hit", "ShapeIndex", "ShapeVectors", "embed_files", "parse_query"]
