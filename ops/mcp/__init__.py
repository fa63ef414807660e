"""The MCP server: a group's memory for any agent that speaks the Model Context Protocol."""
