"""The one kind of error a person can cause: bad input. The command line prints it and exits with code 2."""


class InputError(ValueError):
    """Says where, what was got, what is allowed and what to do."""
