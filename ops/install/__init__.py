"""Making agents use Memlane: what `memlane install` does to their configuration."""
