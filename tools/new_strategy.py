#!/usr/bin/env python3
"""Begins a pruning strategy: writes files that build at once and leaves one function to its author.

    bazel run //tools:new_strategy -- oscillation [--message=Oscillation]

writes ml/pruning/oscillation.proto and oscillation.cc, and adds a pruning_strategy() to ml/pruning/BUILD.bazel. What
is left to write is the function of the scores in oscillation.cc: see docs/adding_a_strategy.md.

--message names the parameters' message where the name in CamelCase is not how it is written, as in snap --message=SNAP.

Exit status 2, and nothing written, for a name that is not snake_case or is taken.
"""

import os
import pathlib
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from command_line import status_of  # noqa: E402

PACKAGE = "ml/pruning"

PROTO = """\
syntax = "proto2";

package prunelab;

import "ml/base/method.proto";
import "ml/network/layer_selection.proto";
import "ml/pruning/ranking.proto";

// How the method works, and in what it differs from its paper.
message @Message@ {
  option (method) = {
    summary: "what it does, in a line"
    paper: "Author et al. 2020, CONFERENCE"
    masks: "filters"
    when: "every 4 steps"
    gradient: "straight-through"
    needs: "gradients"
  };

  optional double rate = 1 [default = 0.6];  // fraction of filters masked, in [0, 1)
  optional int64 period = 2 [default = 4];   // steps, at least 2: updates before iteration i if (i + 1) % period == 0
  optional LayerSelection layers = 3;        // default: every convolution
  optional Ranking ranking = 4;
}
"""

SOURCE = """\
#include <ATen/ATen.h>

@includes@

namespace prunelab {
namespace {

// One number for each weight (or filter, [out, 1, 1, 1]), not negative; filters with the smallest means are masked.
at::Tensor Scores(const @Message@& parameters, const at::Tensor& weight, const at::Tensor& gradient) {
  return {};  // write it, e.g. (weight * gradient).abs()
}
const bool registered = RegisterScoredPruning(Granularity::kFilter, &Scores);

}  // namespace
}  // namespace prunelab
"""

TARGET = """
pruning_strategy(
    name = "@name@",
    config = "rate: 0.6",
)
"""

MAX_NAME = 30  # characters: lines stay within 120


class Refusal(Exception):
    """The request cannot be served; the message says why and what would be right."""


def check_name(name):
    """Refuses names that do not go to a message's name and back (dynamic_l1 <-> DynamicL1)."""
    if not re.fullmatch(r"([a-z][a-z0-9]+_)*[a-z][a-z0-9]*", name):
        raise Refusal(
            f'"{name}" is no name for a strategy: write lower-case words of letters and digits joined by "_", each'
            " begun by a letter and all but the last of two characters or more, e.g. oscillation or soft_filter_pruning")
    if len(name) > MAX_NAME:
        raise Refusal(f'"{name}" has {len(name)} characters; the name of a strategy has at most {MAX_NAME}')


def message_name(name, asked):
    """The parameters' message: the name in CamelCase, or what is asked if errors about it would name this target."""
    if asked is None:
        return "".join(word.capitalize() for word in name.split("_"))
    # As TargetName in ml/base/plugin.cc, which makes of a message the target that has the plugin.
    target = re.sub(r"(?<=[^A-Z])(?=[A-Z])", "_", asked).lower()
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", asked) or target != name:
        raise Refusal(f'--message: "{asked}" is no message of {name}: it must be that name in CamelCase, where a word'
                      " may be all upper case, as in snap --message=SNAP")
    return asked


def check_not_taken(root, name, message, build):
    """Refuses names of files, targets and messages that are there already."""
    for path in sorted((root / PACKAGE).glob(f"{name}.*")):
        raise Refusal(f'"{name}" is taken: {path.relative_to(root)} exists; choose another name')
    if f'"{name}"' in build:
        raise Refusal(f'"{name}" is taken: {PACKAGE}/BUILD.bazel names it; choose another name')
    defined = re.compile(rf"^(message|class|struct|enum|enum class)\s+{message}\b", re.MULTILINE)
    for path in sorted([*root.glob("ml/**/*.proto"), *root.glob("ml/**/*.h"), *root.glob("experiments/**/*.proto")]):
        if defined.search(path.read_text(encoding="utf-8")):
            raise Refusal(f'"{name}" is taken: its parameters would be called {message}, and {path.relative_to(root)}'
                          " defines that; choose another name")


def with_target(build, target):
    """BUILD.bazel with the target after the last pruning_strategy()."""
    calls = list(re.finditer(r"^pruning_strategy\(\n.*?^\)\n", build, re.MULTILINE | re.DOTALL))
    if not calls:
        raise Refusal(f"{PACKAGE}/BUILD.bazel: there is no pruning_strategy() after which to add one")
    return build[:calls[-1].end()] + target + build[calls[-1].end():]


def new_strategy(root, name, asked_message=None):
    """Writes the strategy into the tree at `root`; returns the paths written."""
    check_name(name)
    message = message_name(name, asked_message)
    build_path = root / PACKAGE / "BUILD.bazel"
    if not build_path.is_file():
        raise Refusal(f"{build_path} is not there: run bazel run //tools:new_strategy -- {name} in prunelab's tree")
    build = build_path.read_text(encoding="utf-8")
    check_not_taken(root, name, message, build)

    def filled(template):
        includes = sorted([f'#include "ml/pruning/{name}.pb.h"', '#include "ml/pruning/scored_pruning.h"'])
        parts = {"name": name, "Message": message, "includes": "\n".join(includes)}
        text = re.sub(r"@(\w+)@", lambda match: parts[match.group(1)], template)
        # As clang-format wraps it, where a long name makes the function's line too long.
        last = ", const at::Tensor& gradient) {"
        return "\n".join(
            line.replace(last, ",\n" + 18 * " " + last[2:]) if len(line) > 120 else line for line in text.split("\n"))

    files = {
        root / PACKAGE / f"{name}.proto": filled(PROTO),
        root / PACKAGE / f"{name}.cc": filled(SOURCE),
        build_path: with_target(build, filled(TARGET)),
    }
    for path, contents in files.items():
        path.write_text(contents, encoding="utf-8")
    return [path.relative_to(root) for path in files]


def main(arguments):
    """Returns the exit status."""
    if arguments in (["--help"], ["-h"]):
        print(__doc__.strip())
        return 0
    flag = "--message="
    messages = [argument[len(flag):] for argument in arguments if argument.startswith(flag)]
    arguments = [argument for argument in arguments if not argument.startswith(flag)]
    try:
        if len(arguments) != 1 or len(messages) > 1 or arguments[0].startswith("-"):
            raise Refusal("one name is needed: bazel run //tools:new_strategy -- oscillation")
        root = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
        if not root:
            raise Refusal("the tree is not known: run this by bazel run //tools:new_strategy -- " + arguments[0])
        paths = new_strategy(pathlib.Path(root), arguments[0], *messages)
    except Refusal as refusal:
        print(f"new_strategy: {refusal}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"new_strategy: {error}", file=sys.stderr)
        return 1
    name = arguments[0]
    print("\n".join(f"wrote {path}" for path in paths))
    print(f"""
It builds and is listed by bazel run //experiments:ablation -- --list. Now write Scores in {PACKAGE}/{name}.cc until
  bazel test //{PACKAGE}:{name}_conformance_test
passes, and describe the method in {PACKAGE}/{name}.proto. See docs/adding_a_strategy.md.""")
    return 0


if __name__ == "__main__":
    sys.exit(status_of(lambda: main(sys.argv[1:])))
