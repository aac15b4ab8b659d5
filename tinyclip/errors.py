"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in what was asked for. Its message is one sentence: what is wrong, where, what to do. `cli.main` prints it and exits with 2."""
