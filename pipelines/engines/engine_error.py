"""The error that every engine raises."""

from ontime.refusal import Refusal


class EngineRefused(Refusal):
    """The engine cannot do the work: its packages or Java are missing, or its workers are lost again and again."""
