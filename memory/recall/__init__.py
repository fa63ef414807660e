"""Recall: a question in, ranked context with its sources out.

question.py   what is asked, and by which limits
features.py   what speaks for each event, as a sum of a few weighted figures
weights.py    the weights, and how they were chosen
rank.py       the best events
packing.py    the context: near-duplicates merged, newest first where statements differ, within a token budget
likeness.py   which texts say the same
facts.py      one hop of the knowledge graph
answer.py     all of it, in order
"""

from memory.recall.answer import Answer, answer
from memory.recall.question import Question, QuestionInvalid, read

__all__ = ["Answer", "Question", "QuestionInvalid", "answer", "read"]
