"""The clause that says what is wrong with an activation, before it is put into a full message."""


class Rejected(Exception):
    """A problem in a specification. `activation` turns it into a `PdltError` naming argument and value."""
