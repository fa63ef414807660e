"""All weights of the ranking, in one place.

How they were chosen: on two collections of questions with known answers that have nothing in common but the ranking,
half a year of conversations between two people each, and the history of a large C project. Each weight was tried at a
few round values, and the one was kept that helped both or did not hurt the other, and that did so for each
conversation and each year by itself; none is more exact than its effect. What did not help both, or helped
only a little, is not here: pairs of adjacent words, the share of the question that is matched, recency.
See docs/recall.md.
"""

#: Words of a question beyond these weigh less and less, the n-th 8/n: what is asked stands at the beginning, and a
#: long question (an error with its trace, a commit message) must not outvote it by its details.
FULL_WORDS = 8

#: BM25 of the question's words in the event's text: the unit of all others.
WORDS = 1.0
#: BM25 of the question's words in the event's paths.
WORDS_IN_PATHS = 0.5
#: BM25 of the words of the question's paths in the event's paths: the same folder, a file of the same kind.
PATH_WORDS = 1.0
#: BM25 of the question's paths themselves: the same file, by how rarely it is touched.
SAME_PATH = 1.0

#: The words of the event before, and of the one before that: an answer often has none of the words of what it answers.
BEFORE = (0.5, 0.25)
#: The words of the event after, and of the one after that.
AFTER = (0.3, 0.2)
#: BM25 of the question's words in the whole session: what it was about.
SESSION = 1.0

#: The agent is named in the question; times the share of events that are not theirs, so that naming the only agent
#: says nothing.
AGENT = 10.0
#: Share of WORDS that an event loses if it ends with a question mark: it asks, where an answer is looked for.
ASKING = 0.3

#: The last event of the session that asks; the ones before it fall off evenly, to nothing after RECENT_EVENTS.
RECENT = 3.0
RECENT_EVENTS = 20

#: How near an event's vector is to the question's, where there are vectors: 1 for the same direction, 0 for the mean of
#: the group's events; and how many of the nearest events are looked at. Chosen with two small models only, so that a
#: weak one hardly hurts; larger ones could not be tried.
SIMILAR = 4.0
SIMILAR_EVENTS = 300
