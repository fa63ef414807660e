"""Secrets made up by chance, and texts to hide them in.

All are put together when a test runs, lest this repository be taken for one that leaks.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from typing import Any

UPPER, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
ALNUM = UPPER + LOWER + DIGITS
HEX = DIGITS + "abcdef"
BASE64 = ALNUM + "+/"
URL64 = ALNUM + "-_"

#: A planted secret: the text around it as it must stand for the rule, and the part that must not survive.
Planted = tuple[str, str]
Kind = Callable[[random.Random], Planted]


def drawn(rng: random.Random, alphabet: str, length: int) -> str:
    """Random characters, as a generator of tokens makes them: some letter and some digit is among them."""
    while True:
        found = "".join(rng.choices(alphabet, k=length))
        if length < 8 or (any(map(str.isdigit, found)) and any(map(str.isalpha, found))):
            return found


def token(prefix: str, alphabet: str, length: int, suffix: str = "") -> Kind:
    def make(rng: random.Random) -> Planted:
        secret = prefix + drawn(rng, alphabet, length) + suffix
        return secret, secret

    return make


def beside(before: str, alphabet: str, length: int, after: str = "") -> Kind:
    def make(rng: random.Random) -> Planted:
        secret = drawn(rng, alphabet, length)
        return before + secret + after, secret

    return make


def block(kind: str, ended: bool = True) -> Kind:
    def make(rng: random.Random) -> Planted:
        lines = [drawn(rng, BASE64, 64) for _ in range(6)]
        text = f"-----BEGIN {kind}-----\n" + "\n".join(lines)
        return text + (f"\n-----END {kind}-----\n" if ended else ""), lines[rng.randrange(6)]

    return make


def jwt(rng: random.Random) -> Planted:
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    payload = base64.urlsafe_b64encode(b'{"sub":"%d","iat":1795238087}' % rng.randrange(10**9)).decode().rstrip("=")
    secret = f"{header}.{payload}.{drawn(rng, URL64, 43)}"
    return secret, secret


def basic(rng: random.Random) -> Planted:
    secret = base64.b64encode(f"deploy:{drawn(rng, ALNUM, 15)}".encode()).decode()
    return f"Authorization: Basic {secret}", secret


def discord(rng: random.Random) -> Planted:
    name = base64.b64encode(str(rng.randrange(10**17, 10**18)).encode()).decode()
    secret = f"{name}.{drawn(rng, URL64, 6)}.{drawn(rng, URL64, 38)}"
    return secret, secret


def card(rng: random.Random) -> Planted:
    prefix = rng.choice(["4", "51", "55", "2221", "6011", "34", "37", "3528"])
    length = 15 if prefix in ("34", "37") else 16
    digits = prefix + "".join(rng.choices(DIGITS, k=length - len(prefix) - 1))
    total = sum(sum(divmod(int(d) * (2 if n % 2 == 0 else 1), 10)) for n, d in enumerate(reversed(digits)))
    digits += str(-total % 10)
    if len(digits) == 15:
        groups = [digits[:4], digits[4:10], digits[10:]]
    else:
        groups = [digits[n : n + 4] for n in range(0, 16, 4)]
    secret = rng.choice(["", " ", "-"]).join(groups)
    return secret, secret


def service_account(rng: random.Random) -> Planted:
    body = drawn(rng, BASE64, 64)
    text = json.dumps(
        {
            "type": "service_account",
            "private_key_id": drawn(rng, HEX, 40),
            "private_key": f"-----BEGIN PRIVATE KEY-----\n{body}\n{drawn(rng, BASE64, 64)}\n-----END PRIVATE KEY-----\n",
        },
        indent=2,
    )
    return text, body


def telegram(rng: random.Random) -> Planted:
    secret = "AA" + drawn(rng, URL64, 33)
    return f"{rng.randrange(10**9, 10**10)}:{secret}", secret


def docker_login(rng: random.Random) -> Planted:
    secret = base64.b64encode(f"deploy:{drawn(rng, ALNUM, 15)}".encode()).decode()
    return json.dumps({"auths": {"registry.example.org": {"auth": secret}}}), secret


def putty(rng: random.Random) -> Planted:
    line = drawn(rng, BASE64, 64)
    return f"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{line}\nPrivate-MAC: {drawn(rng, HEX, 64)}\n", line


#: The end of a Teams webhook.
TEAMS = "/0b7f3c1e-2d4a-4c6b-8e9f-a1b2c3d4e5f6"

#: Kinds of secrets, each with the label it must get.
KINDS: dict[str, tuple[str, Kind]] = {
    "aws access key": ("aws-access-key", token("AKIA", UPPER + "234567", 16)),
    "aws temporary access key": ("aws-access-key", token("ASIA", UPPER + "234567", 16)),
    "aws secret key": ("aws-secret-key", beside("aws_secret_access_key = ", BASE64, 40)),
    "aws secret key, json": ("aws-secret-key", beside('"SecretAccessKey": "', BASE64, 40, '"')),
    "gcp api key": ("gcp-api-key", token("AIza", URL64, 35)),
    "gcp service account": ("private-key", service_account),
    "gcp service account key id": ("gcp-service-account", beside('"private_key_id": "', HEX, 40, '"')),
    "google oauth secret": ("google-oauth-secret", token("GOCSPX-", URL64, 28)),
    "google oauth token": ("google-oauth-token", token("ya29.", URL64, 120)),
    "azure storage key": ("azure-storage-key", beside("AccountName=shop;AccountKey=", BASE64, 86, "==;")),
    "azure service bus": ("azure-storage-key", beside("SharedAccessKeyName=Root;SharedAccessKey=", BASE64, 43, "=")),
    "azure sas": ("azure-sas-signature", beside("?sv=2024-11-04&sig=", ALNUM, 44, "%3D&se=2026")),
    "azure client secret": ("azure-client-secret", token("x7z8Q~", URL64, 34)),
    "github classic": ("github-token", token("ghp_", ALNUM, 36)),
    "github oauth": ("github-token", token("gho_", ALNUM, 36)),
    "github app": ("github-token", token("ghs_", ALNUM, 36)),
    "github fine-grained": ("github-fine-grained-token", token("github_pat_11", ALNUM, 80)),
    "gitlab": ("gitlab-token", token("glpat-", URL64, 20)),
    "gitlab deploy": ("gitlab-token", token("gldt-", URL64, 20)),
    "npm": ("npm-token", token("npm_", ALNUM, 36)),
    "npmrc": ("npmrc-token", beside("//registry.npmjs.org/:_authToken=", HEX, 32)),
    "pypi": ("pypi-token", token("pypi-AgEIcHlwaS5vcmc", URL64, 120)),
    "openai": ("openai-key", token("sk-proj-", URL64, 120)),
    "openai legacy": ("openai-key", token("sk-", ALNUM, 48)),
    "anthropic": ("anthropic-key", token("sk-ant-api03-", URL64, 93, "AA")),
    "openrouter": ("openrouter-key", token("sk-or-v1-", HEX, 64)),
    "hugging face": ("huggingface-token", token("hf_", ALNUM, 34)),
    "slack bot": ("slack-token", token("xoxb-123456789012-1234567890123-", ALNUM, 24)),
    "slack app": ("slack-token", token("xapp-1-A0123456789-", HEX, 64)),
    "slack webhook": ("slack-webhook", beside("https://hooks.slack.com/services/T01234567/B01234567/", ALNUM, 24)),
    "stripe live": ("stripe-key", token("sk_live_", ALNUM, 24)),
    "stripe restricted": ("stripe-key", token("rk_test_", ALNUM, 99)),
    "stripe webhook": ("stripe-webhook-secret", token("whsec_", BASE64, 32)),
    "twilio": ("twilio-key", token("SK", HEX, 32)),
    "twilio auth token": ("token", beside("TWILIO_AUTH_TOKEN=", HEX, 32)),
    "sendgrid": ("sendgrid-key", lambda rng: (s := f"SG.{drawn(rng, URL64, 22)}.{drawn(rng, URL64, 43)}", s)),
    "telegram": ("telegram-bot-token", telegram),
    "discord": ("discord-bot-token", discord),
    "discord webhook": ("discord-webhook", beside("https://discord.com/api/webhooks/1234567890123456789/", URL64, 68)),
    "jwt": ("jwt", jwt),
    "rsa key": ("private-key", block("RSA PRIVATE KEY")),
    "pkcs8 key": ("private-key", block("PRIVATE KEY")),
    "openssh key": ("openssh-private-key", block("OPENSSH PRIVATE KEY")),
    "pgp key": ("pgp-private-key", block("PGP PRIVATE KEY BLOCK")),
    "url": ("url-password", beside("postgresql://shop:", ALNUM, 14, "@db.internal:5432/shop")),
    "url without a user": ("url-password", beside("redis://:", ALNUM, 24, "@127.0.0.1:6380/0")),
    "basic": ("basic-auth", basic),
    "bearer": ("bearer-token", beside("Authorization: Bearer ", URL64, 40)),
    "curl": ("curl-password", beside("curl -s -u deploy:", ALNUM, 14, " https://example.org/x")),
    "connection string": ("connection-string", beside("Server=db;Database=shop;User Id=sa;Password=", ALNUM, 12, ";")),
    "env password": ("password", beside("export DB_PASSWORD=", ALNUM + "!#%^*", 12)),
    "env secret": ("secret", beside("SESSION_SECRET=", HEX, 64)),
    "env key": ("api-key", beside("MAILER_API_KEY=", ALNUM, 32)),
    "password in code": ("password", beside('password = "', ALNUM + "!$%&", 12, '"')),
    "password in json": ("password", beside('{"user": "sa", "password": "', ALNUM, 10, '"}')),
    "password in yaml": ("password", beside("  password: ", ALNUM, 16)),
    "password in prose": ("password", beside("the password is ", ALNUM, 16)),
    "secret in code": ("secret", beside("clientSecret: '", URL64, 40, "'")),
    "token in code": ("token", beside('auth_token := "', ALNUM, 32, '"')),
    "api key in prose": ("api-key", beside("my API key is ", ALNUM, 32)),
    "api key in a header": ("api-key", beside("X-Api-Key: ", ALNUM, 32)),
    "card": ("card-number", card),
    "digitalocean": ("digitalocean-token", token("dop_v1_", HEX, 64)),
    "databricks": ("databricks-token", token("dapi", HEX, 32)),
    "vault": ("vault-token", token("hvs.", URL64, 95)),
    "terraform": ("terraform-token", lambda rng: (s := f"{drawn(rng, ALNUM, 14)}.atlasv1.{drawn(rng, ALNUM, 64)}", s)),
    "grafana": ("grafana-token", token("glsa_", ALNUM, 32, "_0a1b2c3d")),
    "linear": ("linear-key", token("lin_api_", ALNUM, 40)),
    "notion": ("notion-token", token("ntn_", ALNUM, 46)),
    "shopify": ("shopify-token", token("shpat_", HEX, 32)),
    "mailgun": ("mailgun-key", token("key-", HEX, 32)),
    "mailchimp": ("mailchimp-key", token("", HEX, 32, "-us12")),
    "age": ("age-secret-key", token("AGE-SECRET-KEY-1", UPPER + DIGITS, 58)),
    "aws bedrock": ("aws-bedrock-key", token("ABSKQmVkcm9ja0FQSUtleS", BASE64, 100)),
    "putty": ("putty-private-key", putty),
    "postman": ("postman-key", lambda rng: (s := f"PMAK-{drawn(rng, HEX, 24)}-{drawn(rng, HEX, 34)}", s)),
    "new relic": ("newrelic-key", token("NRAK-", UPPER + DIGITS, 27)),
    "sentry": ("sentry-token", token("sntryu_", HEX, 64)),
    "square": ("square-token", token("sq0atp-", URL64, 22)),
    "perplexity": ("perplexity-key", token("pplx-", ALNUM, 48)),
    "groq": ("groq-key", token("gsk_", ALNUM, 52)),
    "xai": ("xai-key", token("xai-", ALNUM, 80)),
    "replicate": ("replicate-token", token("r8_", ALNUM, 37)),
    "supabase": ("supabase-token", token("sbp_", HEX, 40)),
    "figma": ("figma-token", token("figd_", URL64, 40)),
    "atlassian": ("atlassian-token", token("ATATT3", URL64, 180)),
    "doppler": ("doppler-token", token("dp.pt.", ALNUM, 43)),
    "rubygems": ("rubygems-key", token("rubygems_", HEX, 48)),
    "planetscale": ("planetscale-token", token("pscale_tkn_", URL64, 43)),
    "teams": ("teams-webhook", beside("https://shop.webhook.office.com/webhookb2/x/IncomingWebhook/", HEX, 32, TEAMS)),
    "docker login": ("docker-auth", docker_login),
    "netrc": ("netrc-password", beside("machine api.example.org login deploy password ", ALNUM, 14)),
    "command line": ("password", beside("mysql --user=sa --password=", ALNUM, 12)),
    "token on a command line": ("token", beside("deploy --token ", ALNUM, 24)),
    "password in a query": ("password", beside("https://example.org/login?user=sa&password=", ALNUM, 10, "&next=1")),
    "password in xml": ("password", beside("<password>", ALNUM, 12, "</password>")),
    "authorization": ("authorization", beside("Authorization: ", ALNUM, 32)),
    "docker": ("docker-token", token("dckr_pat_", URL64, 27)),
}

PROSE = (
    "The retry loop waits for the lane to drain, then asks again; see the notes of last week for why. "
    "We agreed to keep the password form as it is and to rename the token counter. "
)
CODE = '''\
def connect(url: str, *, timeout: float = 2.0) -> Client:
    """Open a connection; the token is read from the environment."""
    password = os.environ["DB_PASSWORD"]
    return Client(url, password=password, timeout=timeout)
'''
DIFF = """\
diff --git a/src/cart.py b/src/cart.py
index 3f2a1b4..9c8d7e6 100644
--- a/src/cart.py
+++ b/src/cart.py
@@ -1,3 +1,4 @@
 import os
"""


def in_prose(text: str) -> str:
    return f"{PROSE}Use {text} for it. {PROSE}"


def in_code(text: str) -> str:
    return f"{CODE}\n# {text}\n{CODE}"


def in_diff(text: str) -> str:
    return DIFF + "".join(f"+{line}\n" for line in text.splitlines()) + " import sys\n-import re\n"


def in_log(text: str) -> str:
    return f"2026-11-21T10:00:00.123Z INFO worker started pid=4711\n2026-11-21T10:00:01Z WARN sent {text}\nok\n"


def in_escaped_json(text: str) -> str:
    return json.dumps({"output": f"first line\n{text}\nlast line", "exit": 0})


def in_fences(text: str) -> str:
    return f"Here it is:\n```\n{text}\n```\nDone."


SURROUNDINGS = (str, in_prose, in_code, in_diff, in_log, in_escaped_json, in_fences)


def nested(rng: random.Random, value: Any) -> Any:
    around: list[Any] = [
        {"text": value, "path": "src/cart.py"},
        [PROSE, value, 7],
        {"a": {"b": value}, "tokens": {"input": 3}},
    ]
    return rng.choice(around)
