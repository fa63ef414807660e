"""Every option of Memlane, in one place, read from the environment.

Sources, first wins: `MEMLANE_*` variables, then `run/stack.json` in the home (written by `memlane up`),
then the defaults below. No secret has a default.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

#: Where `memlane up` tells other processes of this machine its addresses (mode 600).
STACK_FILE = Path("run") / "stack.json"


def _expanded(path: Path) -> Path:
    return path.expanduser().absolute()


class Settings(BaseSettings):
    """One process's settings. Field `x_y` is the variable `MEMLANE_X_Y`."""

    model_config = SettingsConfigDict(
        env_prefix="MEMLANE_", extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    home: Annotated[Path, AfterValidator(_expanded)] = Field(
        default=Path("~/.memlane"),
        validate_default=True,
        description="Data, and run/ with the addresses of a running stack.",
    )
    valkey_url: SecretStr | None = Field(
        default=None, description="redis://, rediss:// or unix:// address of the queue server, password included."
    )
    valkey_user: Literal["operator", "worker"] = Field(
        default="operator",
        description="As which of its users this process comes to the queue server of a running `memlane up`.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL of the ledger. Default: SQLite in the home."
    )
    graph_url: SecretStr | None = Field(default=None, description="FalkorDB: redis://host:port or unix:///path.")

    batch_size: int = Field(default=500, ge=1, le=10_000, description="Events a drain takes at once.")
    turn_seconds: float = Field(
        default=2.0, gt=0, description="How long one drain goes on before it lets other groups have a turn."
    )
    lease_seconds: float = Field(default=10.0, gt=0, description="A dead worker's groups are taken over after this.")
    sweep_seconds: float = Field(default=2.0, gt=0, description="How often lanes are compared with wake-ups.")
    task_time_limit: int = Field(default=120, gt=0, description="Seconds after which a hanging drain is killed.")
    rest_seconds: float = Field(
        default=3.0, gt=0, description="How long a stage waits after one of its dependencies was found to be down."
    )

    attempts: int = Field(
        default=3, ge=1, description="How often a stage tries an event that fails before it goes to the dead letters."
    )

    cache_ttl_seconds: int = Field(default=300, gt=0, description="How long an answer may be served from the cache.")
    recall_tokens: int = Field(default=1_500, gt=0, description="Default token budget of a recalled context.")

    context_yellow: float = Field(
        default=70, gt=0, le=100, description="Percentage of a context window from which on agents are advised."
    )
    context_red: float = Field(default=85, gt=0, le=100, description="From here on the advice is to compact soon.")
    context_critical: float = Field(default=92, gt=0, le=100, description="Above this, the advice is to compact now.")
    compact_percentage: float = Field(
        default=85.0,
        ge=0,
        le=100,
        description="A warning that a context is filled to this much makes a checkpoint. 0: it never does.",
    )
    compact_tokens: int = Field(
        default=0, ge=0, description="A warning of a context of this many tokens makes a checkpoint. 0: it never does."
    )
    compact_events: int = Field(
        default=0,
        ge=0,
        description="A warning makes a checkpoint if this many events came since the one before. 0: it never does.",
    )
    checkpoint_tokens: int = Field(default=1_500, ge=100, description="Token budget of a checkpoint, and of a brief.")
    brief_days: float = Field(default=14.0, gt=0, description="Days for which a session's brief is kept.")

    plans: Path = Field(
        default=Path(".opencode/plans"), description="Folder of plan files; one that is relative is the project's."
    )

    llm_base_url: str | None = Field(
        default=None, description="Of a server that speaks OpenAI's chat completions. Default: OpenAI's own."
    )
    llm_api_key: SecretStr | None = Field(default=None, description="Its key, where it wants one.")
    llm_model: str | None = Field(
        default=None,
        description="Model that writes checkpoints and finds facts in prose. Without it, or without both base URL and "
        "key, no model is asked for anything.",
    )
    llm_output: Literal["auto", "json_schema", "json_object"] = Field(
        default="auto", description="How the shape of an answer is asked for. auto: found out by asking."
    )
    llm_seconds: float = Field(default=60.0, gt=0, description="How long one answer may take, all tries included.")
    llm_tokens_a_day: int = Field(
        default=500_000, ge=0, description="Tokens that a group may use a day (UTC), in and out. 0: without limit."
    )
    llm_input_tokens: int = Field(
        default=12_000, ge=500, description="Most tokens of a session's events that a model is given for a checkpoint."
    )
    llm_away_seconds: float = Field(
        default=30.0, gt=0, description="How long nobody asks a model that failed three times in a row, at first."
    )

    embedding_base_url: str | None = Field(
        default=None, description="Of a server that speaks OpenAI's embeddings. Default: OpenAI's own."
    )
    embedding_api_key: SecretStr | None = Field(default=None, description="Its key, where it wants one.")
    embedding_model: str | None = Field(
        default=None,
        description="Model by whose vectors recall finds what says the same in other words. Without it, or without "
        "both base URL and key, recall goes by words alone. Another one: all vectors are made anew.",
    )
    embedding_dimensions: int | None = Field(
        default=None, ge=8, le=8_192, description="Asked of models that can shorten their vectors."
    )
    embedding_text_prefix: str = Field(
        default="", description="What the model wants before each text, such as `passage: `."
    )
    embedding_question_prefix: str = Field(
        default="", description="What the model wants before a question, such as `query: `."
    )
    embedding_question_ms: int = Field(
        default=250, gt=0, description="How long a question waits for its vector; then it is answered without."
    )
    embedding_seconds: float = Field(
        default=30.0, gt=0, description="How long the vectors of a batch of events may take, all tries included."
    )
    embedding_tokens_a_day: int = Field(
        default=5_000_000, ge=0, description="Tokens of events that a group may have embedded a day (UTC). 0: no limit."
    )
    embedding_away_seconds: float = Field(default=30.0, gt=0, description="As MEMLANE_LLM_AWAY_SECONDS, of this model.")

    datadog: bool = Field(
        default_factory=lambda: bool(os.environ.get("DD_AGENT_HOST") or os.environ.get("DD_DOGSTATSD_URL")),
        description="Send metrics and error events by DogStatsD. Default: if DD_AGENT_HOST or DD_DOGSTATSD_URL is set.",
    )
    datadog_error_text: bool = Field(
        default=True,
        description="Send the message of an error event along to Datadog: without secrets and private text, at most "
        "1,000 bytes. If not, only its name and severity.",
    )

    @field_validator("context_red", "context_critical")
    @classmethod
    def _not_below_the_one_before(cls, value: float, info: ValidationInfo) -> float:
        before = "context_yellow" if info.field_name == "context_red" else "context_red"
        if value < info.data.get(before, 0):
            raise PydanticCustomError("order", f"Input should not be below MEMLANE_{before.upper()}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _RunningStack(settings_cls)

    @property
    def llm(self) -> bool:
        """Whether there is a model that may be asked."""
        return bool(self.llm_model and (self.llm_base_url or self.llm_api_key))

    @property
    def embeddings(self) -> str:
        """Whose vectors are stored: a model, and what its vectors depend on besides. Empty: nobody's."""
        if not self.embedding_model or not (self.embedding_base_url or self.embedding_api_key):
            return ""
        parts = (self.embedding_model, self.embedding_dimensions, self.embedding_text_prefix)
        return " ".join(str(part) for part in parts if part)

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the ledger; holds a password where the database has one."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home / 'ledger.sqlite3'}"

    @property
    def valkey(self) -> str:
        """URL of the queue server.

        Raises:
            NotConfigured: neither the environment nor a running stack names one.
        """
        if self.valkey_url is None:
            raise NotConfigured(
                f"no queue server: start one with `memlane up` (home {self.home}), or set MEMLANE_VALKEY_URL"
            )
        return self.valkey_url.get_secret_value()

    @property
    def graph(self) -> str:
        """URL of the graph server.

        Raises:
            NotConfigured: neither the environment nor a running stack names one.
        """
        if self.graph_url is None:
            raise NotConfigured(
                f"no graph server: start one with `memlane up` (home {self.home}), or set MEMLANE_GRAPH_URL"
            )
        return self.graph_url.get_secret_value()


class SettingInvalid(ValueError):
    """An environment variable holds what its setting can't be."""


class NotConfigured(Exception):
    """A server's address is not known; the message says where it is looked for."""


#: Where a model is if only a key is given.
OPENAI = "https://api.openai.com/v1"
#: What other processes are told of a running stack.
_OF_STACK = (
    *("valkey_url", "database_url", "graph_url", "llm_base_url", "llm_model", "embedding_base_url", "embedding_model"),
)


class _RunningStack(PydanticBaseSettingsSource):
    """`run/stack.json` of the home that the sources before this one name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # only __call__ is used

    def __call__(self) -> dict[str, Any]:
        home = _expanded(Path(self.current_state.get("home") or "~/.memlane"))
        try:
            addresses: dict[str, Any] = json.loads((home / STACK_FILE).read_text())
        except (OSError, ValueError):
            return {}
        if self.current_state.get("valkey_user") == "worker" and addresses.get("worker_url"):
            addresses["valkey_url"] = addresses["worker_url"]
        return {name: addresses[name] for name in _OF_STACK if addresses.get(name)}


@cache
def settings() -> Settings:
    """This process's settings, read once.

    Raises:
        SettingInvalid: a variable can't be understood; the message names each, and not its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = (f"MEMLANE_{problem['loc'][0]}".upper() + f": {problem['msg']}" for problem in error.errors())
        raise SettingInvalid("; ".join(problems)) from None
