"""Why a server that speaks OpenAI's protocol could not be used, in words, with what to do."""

from __future__ import annotations

import openai


def reason(error: openai.APIError, variables: str) -> str:
    """What is said of the server. Nothing of what it said itself, which may quote what it was asked.

    Args:
        variables: what the names of its settings begin with.
    """
    match error:
        case openai.APITimeoutError():
            return "gave no answer in time"
        case openai.APIConnectionError():
            return f"can't be reached: see {variables}_BASE_URL"
        case openai.RateLimitError():
            return "takes no more requests now (429)"
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return f"refuses the key ({error.status_code}): see {variables}_API_KEY"
        case openai.NotFoundError():
            return f"is not there (404): see {variables}_BASE_URL and {variables}_MODEL"
        case openai.APIStatusError():
            return f"failed ({error.status_code})"
    return "answered with something else than OpenAI's protocol"
