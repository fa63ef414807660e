"""History for the command line and the MCP server: from the queue, from an OpenCode database, and plan files."""
