"""The knowledge graph: what structured events say (`facts`), and its way into FalkorDB (`writer`)."""
