"""What the Python tools share in reading their command lines, and in how they end.

    parser = command_line.Parser(prog="cifar10", description=__doc__)
    ...
    if __name__ == "__main__":
        sys.exit(command_line.status_of(main))

The exit status is the same as for the other programs: 0 done, 1 not all done, 2 refused, with a message that says what
would be right.
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
    """Suggests the most similar flag for an unknown one."""

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
        (file or sys.stdout).write(self.format_help())  # argparse's own method ignores errors


def status_of(main):
    """Calls main and returns its exit status; if the output could not be written, prints an error and returns 1."""
    try:
        try:
            status = main()
        except SystemExit as end:  # raised by the parser
            status = end.code or 0
        sys.stdout.flush()
        return status
    except OSError as error:
        if error.filename is not None:  # not an error of printing
            raise
        sys.stderr.write(f"standard output cannot be written: {error.strerror}; what was printed is incomplete\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise Python would try to write the rest again at exit
        return 1
