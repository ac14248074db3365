"""What the Python tools take from their command lines alike, and how they end.

    parser = command_line.Parser(prog="cifar10", description=__doc__)
    ...
    if __name__ == "__main__":
        sys.exit(command_line.status_of(main))

Exit status as of the other programs: 0 done, 1 not all done, 2 refused, with a message that says what would be right.
"""

import argparse
import difflib
import os
import re
import sys


def user_path(path):
    """A path as typed: "~" expanded, relative to the folder in which the command was typed."""
    return os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", ""), os.path.expanduser(path))


class Parser(argparse.ArgumentParser):
    """Tells the nearest flag of one that there is not."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message):
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            for near in difflib.get_close_matches(unknown.group(1), flags, n=1):
                message += f"; did you mean {near}?"
        super().error(message)

    def print_help(self, file=None):
        (file or sys.stdout).write(self.format_help())  # argparse's own passes over errors


def status_of(main):
    """Calls main and returns its exit status, or 1 where what it printed could not be written, which it says."""
    try:
        try:
            status = main()
        except SystemExit as end:  # by the parser
            status = end.code or 0
        sys.stdout.flush()
        return status
    except OSError as error:
        if error.filename is not None:  # no error of printing
            raise
        sys.stderr.write(f"the standard output cannot be written: {error.strerror}; what was printed there is not whole\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else what is left would be tried again at the end
        return 1
