"""How well recall finds, on a small invented project: a guard against changes that make the ranking worse."""

from __future__ import annotations

from bench.recall_quality import score
from memory.ledger import Ledger
from memory.ledger.search import search
from tests.remembered import GROUP, committed, found, remember, said, wrote

#: Two people and an agent build a ferry's booking service.
PROJECT = [
    said("Morning! Did the harbour master ever answer about the tide tables?", "tides", "Ines"),  # 1
    said("He did, they come as a PDF every Sunday.", "tides", "Tomasz"),
    said("Then we parse them by night and keep a month ahead.", "tides", "Ines"),
    said("I would rather type them in. The scans are crooked.", "tides", "Tomasz"),
    wrote("tides/scan.py", "reads crooked tables"),  # 5
    said("How are children charged on the night boat?", "fares", "Ines"),
    said("Half, until they are twelve. Dogs go free.", "fares", "Tomasz"),
    said("And bicycles?", "fares", "Ines"),
    said("Four euros, whatever the season.", "fares", "Tomasz"),
    wrote("fares/rules.py", "half price below twelve"),  # 10
    said("Payments time out whenever the island's link is down.", "pay", "Ines"),
    said("We should queue them on the boat and settle in port.", "pay", "Tomasz"),
    said("What does the bank say to that?", "pay", "Ines"),
    said("Fine with them, for at most a day.", "pay", "Tomasz"),
    {
        "type": "error",
        "session": "pay",
        "agent": "build",
        "data": {"message": "TimeoutError: settle() after 30 s"},
    },  # 15
    wrote("payments/offline_queue.py", "keeps payments for a day"),
    said("My sister got married in Gdynia last weekend.", "chat", "Tomasz"),
    said("Lovely! I stayed in and repaired my accordion.", "chat", "Ines"),
    said("Tickets carry a QR code now.", "tickets", "Ines"),
    said("The old gates can't read it; they need a bar code.", "tickets", "Tomasz"),  # 20
    said("Both then, side by side.", "tickets", "Ines"),
    committed("tickets: print a bar code beside the QR code\nOld gates read nothing else.", ["tickets/print.py"]),
    committed("fares: dogs go free", ["fares/rules.py", "fares/tests.py"], "tomasz"),
    committed("tides: keep a month ahead", ["tides/scan.py", "tides/store.py"], "ines"),
    committed("payments: settle in port", ["payments/settle.py", "payments/offline_queue.py"], "tomasz"),  # 25
    committed("docs: how to moor", ["README"], "ines"),
    committed("payments: refuse what is older than a day", ["payments/offline_queue.py"], "ines"),
    committed("build: pin all packages", ["requirements.txt"], "ines"),
]
#: A question, the files being edited, and the events that answer it, by their number.
QUESTIONS: list[tuple[str, tuple[str, ...], set[int]]] = [
    ("How do the tide tables arrive?", (), {2, 1}),
    ("Why did Tomasz not want to parse the tide tables?", (), {4}),
    ("What do bicycles cost?", (), {9, 8}),
    ("What does a child pay on the night boat?", (), {7, 6}),
    ("How long may payments wait before they are settled with the bank?", (), {14, 13}),
    ("Who got married?", (), {17}),
    ("What did Ines repair?", (), {18}),
    ("Which codes are on a ticket, and why two?", (), {19, 20, 21, 22}),
    ("fix settling twice after the link came back", ("payments/settle.py",), {25, 11}),
    ("fix price of dogs in summer", ("fares/rules.py",), {23, 10}),
    ("handle crooked scans", ("tides/scan.py",), {5, 4, 24}),
    ("offlineQueue loses entries", ("payments/offline_queue.py",), {16, 25, 27}),
]


def test_recall_finds_what_answers(ledger: Ledger) -> None:
    """Given questions with known answers, I expect a mean nDCG@10 of at least 0.80, and 0.1 more than words alone reach."""
    remember(ledger, PROJECT)
    ours, words_alone = [], []
    for question, paths, answers in QUESTIONS:
        wanted = [f"e{number}" for number in answers]
        ours.append(score(found(ledger, question, paths=paths), wanted)["nDCG@10"])
        with ledger.read() as connection:
            matches = search(ledger, connection, GROUP, question, 20)
        words_alone.append(score([match.id.removeprefix(f"{GROUP}-") for match in matches], wanted)["nDCG@10"])
    by_question = {question: round(one, 2) for (question, _, _), one in zip(QUESTIONS, ours, strict=True)}
    assert sum(ours) / len(ours) >= 0.80, by_question
    assert sum(ours) / len(ours) >= sum(words_alone) / len(words_alone) + 0.1, by_question
