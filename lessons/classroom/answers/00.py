"""Lesson 00: from a sentence to words."""

import difflib
import re
import string

from lessons.classroom.answers import right, wrong
from tinyclip.errors import UserError
from tinyclip.tokenizer import split_words

AROUND = ".,;:!?\"'()[]“”‘’"


@wrong("0.1", "are 'Red' and 'red' two words now? A capital makes no other word")
def split_words_with_capitals(sentence):
    return [word for word in (piece.strip(AROUND) for piece in sentence.split()) if word]


@wrong("0.1", "did you split at single spaces? A tab or a new line separates words too")
def split_words_at_single_spaces(sentence):
    return [word for word in (piece.strip(AROUND) for piece in sentence.lower().split(" ")) if word]


@wrong("0.1", "is the punctuation still stuck to the words?")
def split_words_with_punctuation(sentence):
    return sentence.lower().split()


@wrong("0.1", "did you strip the whole sentence? Every word can have punctuation around it")
def split_words_of_a_stripped_sentence(sentence):
    return sentence.lower().strip(AROUND).split()


@wrong("0.1", "did you clean only the ends of words? A quotation mark or a bracket stands before one")
def split_words_stripped_at_the_right(sentence):
    return [word for word in (piece.rstrip(AROUND) for piece in sentence.lower().split()) if word]


@wrong("0.1", "did you take only runs of letters? The apostrophe and the hyphens inside a word belong to it")
def split_words_into_runs_of_letters(sentence):
    return re.findall(r"\w+", sentence.lower())


@wrong("0.1", "did you delete punctuation everywhere? Inside a word, as in \"it's\", it stays")
def split_words_without_any_punctuation(sentence):
    return "".join(char for char in sentence.lower() if char not in AROUND + "-").split()


@wrong("0.1", "does string.punctuation hold all of it? “Curly” quotation marks are not in it")
def split_words_of_ascii(sentence):
    return [word for word in (piece.strip(string.punctuation) for piece in sentence.lower().split()) if word]


@wrong("0.1", "what is left of a piece that is only punctuation? It should be no word, and not an empty one")
def split_words_with_empty_ones(sentence):
    return [piece.strip(AROUND) for piece in sentence.lower().split()]


@right("0.1")
def split_words_in_a_loop(sentence):
    words = []
    for piece in re.split(r"\s+", sentence):
        start, stop = 0, len(piece)
        while start < stop and piece[start] in AROUND:
            start += 1
        while stop > start and piece[stop - 1] in AROUND:
            stop -= 1
        if stop > start:
            words.append(piece[start:stop].casefold())
    return words


@wrong("0.2", "what if the sentence holds no word at all? That is an error too")
def known_words_of_nothing(sentence, vocabulary, complaint):
    words = split_words(sentence)
    for word in words:
        if word not in vocabulary:
            near = difflib.get_close_matches(word, vocabulary)
            raise UserError(f"{complaint} the word {word!r}: did you mean {near}?")
    return words


@wrong("0.2", "did you leave the unknown word out without a word? Whoever typed it should be told")
def known_words_without_the_unknown(sentence, vocabulary, complaint):
    words = [word for word in split_words(sentence) if word in vocabulary]
    if not words:
        raise UserError(f"{complaint} any word of {sentence!r}.")
    return words


@wrong("0.2", "do you return inside the loop, after the first word? The later ones must be known as well")
def known_words_after_one(sentence, vocabulary, complaint):
    for word in split_words(sentence):
        if word not in vocabulary:
            near = difflib.get_close_matches(word, vocabulary)
            raise UserError(f"{complaint} the word {word!r}: did you mean {near}?")
        return split_words(sentence)
    raise UserError("the sentence is empty.")


@wrong("0.2", "did you look up the raw pieces of the sentence? split_words has taken capitals and punctuation off")
def known_words_of_raw_pieces(sentence, vocabulary, complaint):
    words = sentence.split()
    if not words:
        raise UserError("the sentence is empty.")
    for word in words:
        if word not in vocabulary:
            near = difflib.get_close_matches(word, vocabulary)
            raise UserError(f"{complaint} the word {word!r}: did you mean {near}?")
    return words


@wrong("0.2", "what if no known word is near? Then there is no first one to suggest")
def known_words_with_always_a_suggestion(sentence, vocabulary, complaint):
    words = split_words(sentence)
    if not words:
        raise UserError("the sentence is empty.")
    for word in words:
        if word not in vocabulary:
            near = difflib.get_close_matches(word, vocabulary)[0]
            raise UserError(f"{complaint} the word {word!r}: did you mean {near!r}?")
    return words


@wrong("0.2", "does the error say which known words are near?")
def known_words_without_a_suggestion(sentence, vocabulary, complaint):
    words = split_words(sentence)
    if not words:
        raise UserError("the sentence is empty.")
    for word in words:
        if word not in vocabulary:
            raise UserError(f"{complaint} the word {word!r}.")
    return words


@wrong("0.2", "did you list the whole vocabulary? Somebody who mistyped one word wants the nearest few")
def known_words_with_the_whole_vocabulary(sentence, vocabulary, complaint):
    words = split_words(sentence)
    if not words:
        raise UserError("the sentence is empty.")
    for word in words:
        if word not in vocabulary:
            raise UserError(f"{complaint} the word {word!r}: use some of {', '.join(vocabulary)}.")
    return words


@wrong("0.2", "did you write the complaint yourself? It is an argument: each caller says it in its own way")
def known_words_with_a_complaint_of_its_own(sentence, vocabulary, complaint):
    words = split_words(sentence)
    if not words:
        raise UserError("the sentence is empty.")
    for word in words:
        if word not in vocabulary:
            raise UserError(f"unknown word {word!r}: did you mean {difflib.get_close_matches(word, vocabulary)}?")
    return words


@wrong("0.2", "is it a ValueError? A UserError is what a user can mend, and what the command line shows as one sentence")
def known_words_with_a_value_error(sentence, vocabulary, complaint):
    words = split_words(sentence)
    if not words:
        raise ValueError("the sentence is empty.")
    for word in words:
        if word not in vocabulary:
            near = difflib.get_close_matches(word, vocabulary)
            raise ValueError(f"{complaint} the word {word!r}: did you mean {near}?")
    return words


@wrong("0.2", "did you name the last unknown word? The first one should be named")
def known_words_from_the_end(sentence, vocabulary, complaint):
    words = split_words(sentence)
    unknown = [word for word in words if word not in vocabulary]
    if not words:
        raise UserError("the sentence is empty.")
    if unknown:
        raise UserError(f"{complaint} the word {unknown[-1]!r}: did you mean {difflib.get_close_matches(unknown[-1], vocabulary)}?")
    return words


@right("0.2")
def known_words_with_next(sentence, vocabulary, complaint):
    words = list(split_words(sentence))
    if len(words) == 0:
        raise UserError("say something.")
    first = next((word for word in words if word not in set(vocabulary)), None)
    if first is None:
        return words
    alike = sorted(vocabulary, key=lambda known: likeness(first, known), reverse=True)[:1]
    raise UserError(f"{complaint}: {first}. Like it is {', '.join(alike)}.")


def likeness(a, b):
    return difflib.SequenceMatcher(None, a, b).ratio()
