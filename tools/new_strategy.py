#!/usr/bin/env python3
"""Begins a pruning strategy: writes files that build at once and leaves one function to its author.

    bazel run //tools:new_strategy -- oscillation [--message=Oscillation]

writes ml/pruning/oscillation.{proto,h,cc}, adds a pruning_strategy() to ml/pruning/BUILD.bazel and the name to
PRUNING_STRATEGIES in ml/pruning/defs.bzl. Next comes Update in oscillation.cc: see docs/adding_a_strategy.md.

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

import "ml/network/layer_selection.proto";
import "ml/pruning/ranking.proto";

// What the strategy does, in a line or two.
message @Message@ {
  optional double rate = 1 [default = 0.6];  // fraction of filters masked, in [0, 1)
  optional int64 period = 2 [default = 4];   // steps, at least 1: updates before iteration i if (i + 1) % period == 0
  optional LayerSelection layers = 3;        // default: every convolution
  optional Ranking ranking = 4;
}
"""

HEADER = """\
// What the strategy does, how it differs from others, and where it comes from (paper, equation).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
@includes@

namespace prunelab {

@signature@;

}  // namespace prunelab
"""

SOURCE = """\
#include "ml/pruning/@name@.h"

#include <ATen/ATen.h>

#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/update_times.h"

namespace prunelab {
namespace {

class @Message@Strategy : public PruningStrategy {
 public:
@constructor@

  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kStraightThrough; }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    if (!IsPeriodicUpdate(position, parameters_.period(), /*first_epoch=*/0, /*last_epoch=*/-1)) return std::nullopt;
    // Give each filter of the chosen layers a number, larger for those to keep, and rank them. By mean |w|:
    //
    //   std::vector<RankedLayer> ranked;
    //   for (const PrunableLayer& layer : layers) {
    //     if (!nodes_.count(layer.node)) continue;
    //     ranked.push_back({layer.node, layer.weight.abs().mean({1, 2, 3}, /*keepdim=*/true)});
    //   }
    //   MaskUpdate update;
    //   PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankMasks(parameters_.ranking(), parameters_.rate(), ranked));
    //   return update;
    return absl::UnimplementedError("@name@: write Update");
  }

 private:
  const @Message@ parameters_;
  const std::set<std::string> nodes_;  // the layers chosen
};

}  // namespace

@signature@ {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", parameters.period()));
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(parameters.ranking())));
  absl::StatusOr<std::vector<std::string>> nodes = SelectLayers(parameters.layers(), *setup.network);
  PRUNELAB_RETURN_IF_ERROR(InField("layers", nodes.status()));
  std::set<std::string> chosen(nodes->begin(), nodes->end());
  return std::make_unique<@Message@Strategy>(parameters, std::move(chosen));
}

}  // namespace prunelab
"""

TARGET = """
pruning_strategy(
    name = "@name@",
    config = [
        "rate: 0.6",
        "rate: 0.5 ranking { scope: PER_LAYER } layers { exclude: 'stem' }",
    ],
@message@    proto_deps = [
        ":ranking_proto",
        "//ml/network:layer_selection_proto",
    ],
    summary = "@name@ (say here in a line what it does)",
    deps = [
        ":layers",
        ":parameter_checks",
        ":ranking",
        ":update_times",
        "//ml/base:field_error",
        "//ml/base:status_macros",
        "//third_party/absl:status",
    ],
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
    # As TargetName in ml/base/plugin.cc, which turns a message that is not linked into the target to link.
    target = re.sub(r"(?<=[^A-Z])(?=[A-Z])", "_", asked).lower()
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", asked) or target != name:
        raise Refusal(f'--message: "{asked}" is no message of {name}: it must be that name in CamelCase, where a word'
                      " may be all upper case, as in snap --message=SNAP")
    return asked


def check_not_taken(root, name, message, targets):
    """Refuses names of files, targets and messages that are there already."""
    for path in sorted((root / PACKAGE).glob(f"{name}.*")):
        raise Refusal(f'"{name}" is taken: {path.relative_to(root)} exists; choose another name')
    if f'"{name}"' in targets:
        raise Refusal(f'"{name}" is taken: {PACKAGE}/BUILD.bazel or defs.bzl names it; choose another name')
    defined = re.compile(rf"^(message|class|struct|enum|enum class)\s+{message}\b", re.MULTILINE)
    for path in sorted([*root.glob("ml/**/*.proto"), *root.glob("ml/**/*.h"), *root.glob("experiments/**/*.proto")]):
        if defined.search(path.read_text(encoding="utf-8")):
            raise Refusal(f'"{name}" is taken: its parameters would be called {message}, and {path.relative_to(root)}'
                          " defines that; choose another name")


def with_name_listed(defs, name):
    """defs.bzl with the name in PRUNING_STRATEGIES, in alphabetical order."""
    found = re.search(r"^PRUNING_STRATEGIES = \[\n((?:    \"\w+\",\n)*)\]", defs, re.MULTILINE)
    if not found:
        raise Refusal(f"{PACKAGE}/defs.bzl: there is no list PRUNING_STRATEGIES with one name a line to add to")
    lines = sorted([*found.group(1).splitlines(keepends=True), f'    "{name}",\n'])
    return defs[:found.start(1)] + "".join(lines) + defs[found.end(1):]


def with_target(build, target):
    """BUILD.bazel with the target after the last pruning_strategy()."""
    calls = list(re.finditer(r"^pruning_strategy\(\n.*?^\)\n", build, re.MULTILINE | re.DOTALL))
    if not calls:
        raise Refusal(f"{PACKAGE}/BUILD.bazel: there is no pruning_strategy() after which to add one")
    return build[:calls[-1].end()] + target + build[calls[-1].end():]


def signature(message):
    """The declaration of Create<message>, broken as clang-format does."""
    begin = f"absl::StatusOr<std::unique_ptr<PruningStrategy>> Create{message}("
    parameters = [f"const {message}& parameters", "const PruningSetup& setup)"]
    if len(begin + ", ".join(parameters)) <= 118:
        return begin + ", ".join(parameters)
    if len(begin + parameters[0]) < 120:
        return begin + (",\n" + " " * len(begin)).join(parameters)
    return begin + "\n    " + ", ".join(parameters)


def constructor(message):
    """The strategy's constructor, likewise."""
    head = f"  {message}Strategy(const {message}& parameters, std::set<std::string> nodes)"
    initializers = ": parameters_(parameters), nodes_(std::move(nodes)) {}"
    one_line = f"{head} {initializers}"
    return one_line if len(one_line) <= 120 else f"{head}\n      {initializers}"


def new_strategy(root, name, asked_message=None):
    """Writes the strategy into the tree at `root`; returns the paths written."""
    check_name(name)
    message = message_name(name, asked_message)
    build_path, defs_path = root / PACKAGE / "BUILD.bazel", root / PACKAGE / "defs.bzl"
    for path in (build_path, defs_path):
        if not path.is_file():
            raise Refusal(f"{path} is not there: run bazel run //tools:new_strategy -- {name} in prunelab's tree")
    build, defs = build_path.read_text(encoding="utf-8"), defs_path.read_text(encoding="utf-8")
    check_not_taken(root, name, message, build + defs)

    def filled(template):
        includes = sorted([f'#include "ml/pruning/{name}.pb.h"', '#include "ml/pruning/pruning_strategy.h"'])
        parts = {"name": name, "Message": message, "signature": signature(message), "constructor": constructor(message),
                 "includes": "\n".join(includes),
                 "message": "" if asked_message is None else f'    message = "{message}",\n'}
        return re.sub(r"@(\w+)@", lambda match: parts[match.group(1)], template)

    files = {
        root / PACKAGE / f"{name}.proto": filled(PROTO),
        root / PACKAGE / f"{name}.h": filled(HEADER),
        root / PACKAGE / f"{name}.cc": filled(SOURCE),
        build_path: with_target(build, filled(TARGET)),
        defs_path: with_name_listed(defs, name),
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
It builds and is listed by bazel run //experiments:ablation -- --list. Now write Update in {PACKAGE}/{name}.cc until
  bazel test //{PACKAGE}:{name}_conformance_test
passes. docs/adding_a_strategy.md says what an update may do.""")
    return 0


if __name__ == "__main__":
    sys.exit(status_of(lambda: main(sys.argv[1:])))
