"""Asking a language model: any that speaks OpenAI's chat completions. What it costs is counted, what it answers is
checked, and where it is away nobody waits for it."""
