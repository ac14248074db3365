"""Which public networks can be imported, pruned, removed and exported again: writes results/imported.

    bazel build //tools:import //tools:evaluate //tools:compress
    tools/reference/import_table.py --tools=bazel-bin/tools --output=results/imported

(torch 2.11.0, torchvision 0.26.0, onnx, onnxscript, onnxruntime, torch-pruning, safetensors; no network connection.)
For each of torchvision's 80 classifiers, and for detectors and segmenters (import_networks.py), with random weights
and statistics:

1. export by torch.onnx.export and import by //tools:import, three times: by the TorchScript exporter as people call it
   (it folds BN into convolutions), by the same with BN kept (training=PRESERVE), and by the dynamo exporter;
2. compare the outputs for two images with PyTorch's: float32 at most 1e-4 of the largest output, float64, where BN is
   kept, at most 1e-10. (Where the exporter has folded BN, it has rounded the folded weights to float32.)
3. mask half of the filters of every convolution, at random (half of the groups of a grouped one), in PyTorch and in
   the imported checkpoint, remove them by //tools:compress, compare as in 2 with the masked network in PyTorch
   (in float64 at most 1e-6: the constants that dead filters leave are stored in float32);
4. run the ONNX file that //tools:compress wrote in onnxruntime, compare in float32;
5. let Torch-Pruning remove half of the channels of every group (its random importance), give //tools:compress
   --mode=coupled the same dead filters, compare the numbers of parameters and multiply-accumulates, and the outputs
   of the two smaller networks.

There is one JSON file for each network; steps that are in it are not run again (--again=regex, --failed). The tables
are written again after each network. Each network has a process of its own, because memory that PyTorch frees is not
always returned; large files are deleted as soon as they are read, unless --exports keeps what PyTorch exports.
"""

import argparse
import contextlib
import copy
import io
import json
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib

import import_networks

FLOAT32_LIMIT, FLOAT64_LIMIT = 1e-4, 1e-10
REMOVED_LIMIT = 1e-6  # in float64: what dead filters leave as constants is rounded to the checkpoint's float32
EXPORTERS = ("preserve", "script", "dynamo")  # the first is the one that is pruned
STEPS = (*EXPORTERS, "removed", "coupled")


class Failed(Exception):
    pass


def program(tools, name, *arguments):
    process = subprocess.run(
        [str(tools / name), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if process.returncode != 0:
        raise Failed(f"{name}: " + (process.stderr.strip() or f"ended with status {process.returncode}")[-1500:])
    return process.stdout


def first_line(text):
    lines = [line for line in text.strip().split("\n") if line.strip()]
    return lines[0][:300] if lines else "?"


def difference(found, wanted):
    """The largest difference of an output / the largest value of that output."""
    if len(found) != len(wanted):
        raise Failed(f"{len(found)} outputs; PyTorch has {len(wanted)}")
    worst = 0.0
    for a, b in zip(found, wanted):
        if tuple(a.shape) != tuple(b.shape):
            raise Failed(f"an output is {tuple(a.shape)}; PyTorch's is {tuple(b.shape)}")
        ratio = ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()
        worst = ratio if ratio != ratio or ratio > worst else worst  # NaN stays
    return worst


class Network:
    """What the steps of one network share."""

    def __init__(self, name, tools, folder, exports):
        import safetensors.torch as files
        import torch

        self.torch, self.files, self.name, self.tools, self.folder = torch, files, name, tools, folder
        self.exports = exports
        self.net = self.built()
        self.images = import_networks.images_for(name, 2)
        files.save_file({"images": self.images}, folder / "images.safetensors")

    def built(self):
        """The network. One that is kept as ONNX is kept with its weights: statistics, made of images, round differently
        with other numbers of threads."""
        if not self.exports:
            return import_networks.build(self.name)
        path = self.exports / f"{self.name}.pt"
        if not path.exists():
            net = import_networks.build(self.name)
            self.exports.mkdir(parents=True, exist_ok=True)
            self.torch.save(net.state_dict(), path.with_suffix(".unfinished"))
            path.with_suffix(".unfinished").replace(path)
            return net
        net = import_networks.module(self.name)
        net.load_state_dict(self.torch.load(path))
        return net.eval()

    def wanted(self, net):
        """The outputs in float32 and in float64."""
        single = import_networks.outputs(net, self.images)
        double = import_networks.outputs(net.double(), self.images.double())
        net.float()  # every value was float32 before
        return {"float32": single, "float64": double}

    def ours(self, checkpoint, dtype):
        from safetensors import safe_open

        output = self.folder / "logits.safetensors"
        program(self.tools, "evaluate", f"--checkpoint={checkpoint}", f"--input={self.folder / 'images.safetensors'}",
                f"--output={output}", f"--dtype={dtype}", "--device=cpu")
        tensors = self.files.load_file(output)
        output.unlink()
        with safe_open(checkpoint, "pt") as file:
            names = re.findall(r'(?:^|\s)output: "([^"]*)"', file.metadata()["network"])
        return [tensors["logits"]] + [tensors[name] for name in names[1:]]

    def compare(self, checkpoint, wanted, dtypes):
        result = {}
        for dtype in dtypes:
            result[dtype] = difference(self.ours(checkpoint, dtype), wanted[dtype])
        return result

    def exported(self, exporter):
        """The network as ONNX, with its external data, in a folder of its own; made if it is not there yet."""
        folder = (self.exports or self.folder) / f"{self.name}.{exporter}"
        if not folder.exists():
            begin = time.time()
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    import_networks.export(self.net, self.images[:1], str(unfinished / "network.onnx"), exporter)
            except Exception as error:  # whatever the exporter raises
                shutil.rmtree(unfinished)
                raise Failed(f"torch.onnx.export: {first_line(str(error))}")
            (unfinished / "seconds").write_text(str(round(time.time() - begin, 1)))
            unfinished.replace(folder)
        return folder

    def imported(self, exporter, checkpoint):
        folder = self.exported(exporter)
        begin = time.time()
        program(self.tools, "import", f"--onnx={folder / 'network.onnx'}", f"--output={checkpoint}")
        result = {"export_seconds": float((folder / "seconds").read_text()),
                  "import_seconds": round(time.time() - begin, 1)}
        if not self.exports:
            shutil.rmtree(folder)
        return result

    def read(self, checkpoint):
        from safetensors import safe_open

        with safe_open(checkpoint, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()

    def convolutions(self):
        nn = self.torch.nn
        return {name: m for name, m in self.net.named_modules() if isinstance(m, nn.Conv2d)}

    def prune(self, checkpoint, masked):
        """Writes `checkpoint` with random masks to `masked` and returns the masked network in PyTorch."""
        torch = self.torch
        tensors, metadata = self.read(checkpoint)
        net = copy.deepcopy(self.net)
        modules = dict(net.named_modules())
        filters = off = 0
        for name, conv in self.convolutions().items():
            if name + ".weight" not in tensors:
                raise Failed(f"the imported network has no {name}.weight; it has {sorted(tensors)[:8]} ...")
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.name} {name}".encode()))
            units = conv.groups if conv.groups > 1 else conv.out_channels
            dead = torch.randperm(units, generator=generator)[: units // 2]
            mask = torch.ones(units)
            mask[dead] = 0
            mask = mask.repeat_interleave(conv.out_channels // units).view(-1, 1, 1, 1)
            with torch.no_grad():
                modules[name].weight.mul_(mask)
            tensors[name + ".mask"] = mask
            filters += mask.numel()
            off += int((mask == 0).sum())
        self.files.save_file(tensors, masked, metadata)
        return net, {"filters": filters, "masked": off}


def sizes(text):
    """Parameters and multiply-accumulates before and after, from what //tools:compress prints."""
    result = {}
    for label, key in (("parameters, stored constants counted", "parameters"), ("MACs of one image", "macs")):
        before, after = re.search(re.escape(label) + r"\s+(\d+)\s+(\d+)", text).groups()
        result[key] = [int(before), int(after)]
    return result


def torch_sizes(net, images):
    """Parameters, and multiply-accumulates of convolutions and linear layers for one image."""
    import torch
    from torch import nn

    total = [0]

    def count(module, inputs, output):
        positions = output.numel() // output.shape[1 if output.dim() == 4 else -1]
        if isinstance(module, nn.ConvTranspose2d):
            positions = inputs[0].shape[2] * inputs[0].shape[3]
        elif isinstance(module, nn.Linear) and output.dim() == 4:
            positions = output.numel() // output.shape[-1]
        total[0] += module.weight.numel() * positions

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    handles = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        net(images[:1])
    for handle in handles:
        handle.remove()
    return sum(p.numel() for p in net.parameters()), total[0]


def heads(name, net):
    """The layers that make the outputs: they keep all channels."""
    from torch import nn

    if name.startswith("yolo"):
        return [branch[-1] for branches in (net.boxes, net.scores) for branch in branches]
    if name.startswith("lraspp"):
        return [net.net.classifier.low_classifier, net.net.classifier.high_classifier]
    return [[m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))][-1]]


def torch_pruning(network):
    """Half of the channels of each group, taken out by Torch-Pruning. Returns the smaller network, and which filters of
    the given one are gone: {layer: [indices]}."""
    import torch_pruning as tp

    torch = network.torch
    net = copy.deepcopy(network.net).eval()
    torch.manual_seed(zlib.crc32(network.name.encode()) + 2)
    left = {m: list(range(m.weight.shape[0])) for m in net.modules()
            if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))}
    left.update({m: list(range(m.out_channels)) for m in net.modules() if isinstance(m, torch.nn.ConvTranspose2d)})
    unchanged = {m: len(channels) for m, channels in left.items()}
    pruner = tp.pruner.MagnitudePruner(
        net, network.images[:1], importance=tp.importance.RandomImportance(), pruning_ratio=0.5,
        ignored_layers=heads(network.name, net),
    )
    for group in pruner.step(interactive=True):
        for dependency, indices in group:
            layer = dependency.target.module
            if layer in left and pruner.DG.is_out_channel_pruning_fn(dependency.handler):
                gone = {left[layer][i] for i in indices}
                left[layer] = [c for c in left[layer] if c not in gone]
        group.prune()
    names = {m: name for name, m in net.named_modules()}
    dead = {}
    for layer, channels in left.items():
        gone = sorted(set(range(unchanged[layer])) - set(channels))
        if gone:
            dead[names[layer]] = gone
    with torch.no_grad():
        net(network.images)  # does what is left fit together?
    return net, dead


def coupled(network, checkpoint):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            smaller, dead = torch_pruning(network)
    except Exception as error:  # whatever Torch-Pruning or the network that it left raises
        return {"torch_pruning": first_line(f"{type(error).__name__}: {error}")}
    tensors, metadata = network.read(checkpoint)
    modules = dict(network.net.named_modules())
    for name, channels in dead.items():
        weight = tensors.get(name + ".weight")
        if weight is None:
            raise Failed(f"the imported network has no {name}.weight, which Torch-Pruning prunes")
        if isinstance(modules[name], network.torch.nn.ConvTranspose2d):
            groups = modules[name].groups
            each = weight.shape[1]
            for c in channels:
                size = weight.shape[0] // groups
                weight[(c // each) * size:(c // each + 1) * size, c % each] = 0
        else:
            weight[channels] = 0
    path, small = network.folder / "dead.safetensors", network.folder / "coupled.safetensors"
    network.files.save_file(tensors, path, metadata)
    result = sizes(program(network.tools, "compress", f"--checkpoint={path}", f"--output={small}", "--mode=coupled",
                           "--latency=false", "--compared_images=2"))
    path.unlink()
    parameters, macs = torch_sizes(smaller, network.images)
    result["torch_pruning_parameters"], result["torch_pruning_macs"] = parameters, macs
    result["float32"] = difference(network.ours(small, "float32"), import_networks.outputs(smaller, network.images))
    result["equal"] = [parameters, macs] == [result["parameters"][1], result["macs"][1]]
    small.unlink()
    return result


def in_onnxruntime(network, onnx, wanted):
    import numpy
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: network.images.numpy()})
    return difference([network.torch.from_numpy(numpy.asarray(a)) for a in found], wanted["float32"])


def run_network(name, arguments, folder):
    import torch

    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    begin = time.time()
    tools = arguments.tools
    network = Network(name, tools, folder, arguments.exports)
    if arguments.export_only:
        for exporter in arguments.steps.split(","):
            if exporter in EXPORTERS:
                network.exported(exporter)
        return None
    path = arguments.output / f"{name}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record.update({"network": name, "image_size": import_networks.image_size(name)})
    record["parameters"], record["macs"] = torch_sizes(network.net, network.images)
    wanted = network.wanted(network.net)
    record["differs_between_images"] = min(
        ((y[0] - y[1]).abs().max() / y.abs().max()).item() for y in wanted["float64"]
    )
    seconds = record.setdefault("seconds", {})
    checkpoint = folder / "imported.safetensors"

    def step(key, function):
        if key not in arguments.steps.split(","):
            return
        start = time.time()
        try:
            record[key] = function()
        except Failed as failure:
            record[key] = {"error": str(failure).replace(f"{folder}/", "")}
        except Exception:  # a fault of this script or of a library: the row says so
            record[key] = {"error": traceback.format_exc()[-1500:].replace(f"{folder}/", "")}
        seconds[key] = round(time.time() - start)

    def import_and_compare(exporter, path, dtypes):
        result = network.imported(exporter, path)
        result.update(network.compare(path, wanted, dtypes))
        return result

    def keep():
        return import_and_compare(EXPORTERS[0], checkpoint, ("float32", "float64"))

    def other(exporter):
        path = folder / "other.safetensors"
        try:
            return import_and_compare(exporter, path, ("float32",))
        finally:
            path.unlink(missing_ok=True)

    def imported_checkpoint():
        if not checkpoint.exists():
            network.imported(EXPORTERS[0], checkpoint)
        return checkpoint

    def remove():
        masked, removed, onnx = (folder / f"{name}" for name in ("masked.safetensors", "removed.safetensors", "removed.onnx"))
        net, result = network.prune(imported_checkpoint(), masked)
        masked_outputs = network.wanted(net)
        result.update(sizes(program(tools, "compress", f"--checkpoint={masked}", f"--output={removed}",
                                    f"--onnx={onnx}", "--latency=false", "--compared_images=2")))
        masked.unlink()
        result.update(network.compare(removed, masked_outputs, ("float32", "float64")))
        removed.unlink()
        try:
            result["onnxruntime"] = in_onnxruntime(network, onnx, masked_outputs)
        except Exception as error:  # whatever onnxruntime raises
            result["onnxruntime_error"] = first_line(str(error))
        onnx.unlink()
        return result

    step("preserve", keep)
    step("script", lambda: other("script"))
    step("removed", remove)
    step("coupled", lambda: coupled(network, imported_checkpoint()))
    step("dynamo", lambda: other("dynamo"))
    seconds["all"] = sum(value for key, value in seconds.items() if key != "all")
    # Of this process and, apart, of the largest program that it ran.
    record["peak_gigabytes"] = [
        round(resource.getrusage(who).ru_maxrss / 1e6, 1) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return record


def holds(record, key, dtype="float32"):
    found = record.get(key, {})
    limit = FLOAT32_LIMIT if dtype != "float64" else REMOVED_LIMIT if key == "removed" else FLOAT64_LIMIT
    return dtype in found and found[dtype] <= limit


def passes(record):
    """Which columns of the table a network passes."""
    pair = record.get("coupled", {})
    return {
        "script": holds(record, "script") and holds(record, "preserve"),
        "dynamo": holds(record, "dynamo"),
        "float32": holds(record, "preserve"),
        "float64": holds(record, "preserve", "float64"),
        "removed": holds(record, "removed") and holds(record, "removed", "float64"),
        "onnxruntime": holds(record, "removed", "onnxruntime"),
        "coupled": bool(pair.get("equal")) and holds(record, "coupled"),
    }


def cell(record, key, dtype="float32"):
    found = record.get(key, {})
    if dtype not in found:
        return "-"
    return f"{found[dtype]:.0e}" + ("" if holds(record, key, dtype) else " **no**")


def row(record):
    ok = passes(record)
    yes = lambda flag: "yes" if flag else "-"  # noqa: E731
    pair = record.get("coupled", {})
    removed = record.get("removed", {})
    share = f"{100 * removed['macs'][1] / removed['macs'][0]:.0f} %" if "macs" in removed else "-"
    if "torch_pruning" in pair or not pair or "error" in pair:
        both = "-"
    elif ok["coupled"]:
        both = f"{pair['parameters'][1]:,} / {pair['macs'][1]:,}"
    else:
        both = (f"**no**: {pair['parameters'][1]:,} / {pair['macs'][1]:,}, Torch-Pruning "
                f"{pair['torch_pruning_parameters']:,} / {pair['torch_pruning_macs']:,}")
    return [record["network"], str(record["image_size"]), yes(ok["script"]), yes(ok["dynamo"]),
            cell(record, "preserve"), cell(record, "preserve", "float64"), cell(record, "dynamo"), share,
            cell(record, "removed"), cell(record, "removed", "float64"), cell(record, "removed", "onnxruntime"), both,
            str(record["seconds"]["all"])]


HEADER = ["network", "pixels", "TorchScript", "dynamo", "float32", "float64", "dynamo float32", "MACs left",
          "removed float32", "removed float64", "onnxruntime", "coupled: parameters / MACs", "s"]


def table(records):
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(row(record)) + " |" for record in records]
    return "\n".join(lines)


def totals(records, count):
    ok = [passes(record) for record in records]
    result = {key: f"{sum(row[key] for row in ok)} of {count}" for key in
              ("script", "dynamo", "float32", "float64", "removed", "onnxruntime")}
    managed = ["torch_pruning_parameters" in record.get("coupled", {}) for record in records]
    result["coupled"] = f"{sum(row['coupled'] for row in ok)} of {sum(managed)}"
    every = [all(value for key, value in row.items() if key != "coupled" or by_peer) for row, by_peer in zip(ok, managed)]
    result["every"] = f"{sum(every)} of {count}"
    return result


TOTALS = {
    "script": "imported from the TorchScript exporter, with BN folded and with BN kept, outputs equal in float32",
    "dynamo": "imported from the dynamo exporter, outputs equal in float32",
    "float64": "outputs equal in float64 (BN kept)",
    "removed": "half of each convolution's filters removed, outputs equal in float32 and float64",
    "onnxruntime": "what is left, exported again, equal in onnxruntime",
    "coupled": "half of each group removed: parameters, MACs and outputs equal Torch-Pruning's, where it manages the network",
    "every": "all of this",
}


def reasons(records):
    """Why columns are empty: the first lines of the errors, with the networks that have them. An error that stops
    several steps is told of the first."""
    found = {}
    for record in records:
        for key in STEPS:
            entry = record.get(key, {})
            for kind in ("error", "onnxruntime_error", "torch_pruning"):
                if kind in entry:
                    text = entry[kind]
                    text = text.strip().split("\n")[-1] if "Traceback" in text else first_line(text)
                    text = re.sub(r"\S*/(network\.onnx)", r"\1", text)
                    where = {"error": key, "onnxruntime_error": "onnxruntime", "torch_pruning": "Torch-Pruning"}[kind]
                    first, names = found.setdefault(text, (where, []))
                    if record["network"] not in names:
                        names.append(record["network"])
    return [f"- {where}: `{text}` ({', '.join(names)})" for text, (where, names) in found.items()]


def page(records, template):
    classifiers = [r for r in records if r["network"] not in import_networks.OTHERS]
    others = [r for r in records if r["network"] in import_networks.OTHERS]
    text = [template, "", "## Totals", ""]
    for key, count in totals(classifiers, 80).items():
        if key in TOTALS:
            text.append(f"- {TOTALS[key]}: **{count}**")
    text += ["", "## torchvision's classifiers", "", table(classifiers)]
    if others:
        text += ["", "## Detectors and segmenters", "", table(others)]
    why = reasons(records)
    if why:
        text += ["", "## What is missing, and why", "", *why]
    return "\n".join(text) + "\n"


TEMPLATE = """# Networks of others

Made by `tools/reference/import_table.py`, which says what each column means; one JSON file for each
network has the numbers. Weights and statistics are random. Differences are those of the output that
differs most, divided by the largest value of that output. A dash: not possible; below the tables
stands why."""


def write_page(output):
    order = {name: k for k, name in enumerate(import_networks.names())}
    records = [json.loads(path.read_text()) for path in output.glob("*.json")]
    records = sorted((r for r in records if r["network"] in order), key=lambda r: order[r["network"]])
    (output / "README.md").write_text(page(records, TEMPLATE))
    classifiers = [r for r in records if r["network"] not in import_networks.OTHERS]
    return totals(classifiers, 80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=pathlib.Path, help="the folder of import, evaluate and compress")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the folder of the JSON files and the table")
    parser.add_argument("--only", default=".", help="networks whose names match, e.g. 'resnet|vgg'")
    parser.add_argument("--again", help="networks to run although they have a JSON file")
    parser.add_argument("--failed", action="store_true", help="run networks again that do not pass every column")
    parser.add_argument("--jobs", type=int, default=1, help="networks at the same time")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads")
    parser.add_argument("--steps", default=",".join(STEPS), help="of each network; results of others are kept")
    parser.add_argument("--exports", type=pathlib.Path, help="keep the networks that PyTorch exports here, 25 GB")
    parser.add_argument("--export_only", action="store_true")
    parser.add_argument("--scratch", type=pathlib.Path, help="for the weights, up to 20 GB at a time")
    parser.add_argument("--network", help=argparse.SUPPRESS)  # the one of this process
    parser.add_argument("--timeout", type=int, default=3600, help="seconds for one network")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.network:
        folder = pathlib.Path(tempfile.mkdtemp(dir=arguments.scratch, prefix=arguments.network + "."))
        try:
            record = run_network(arguments.network, arguments, folder)
        finally:
            shutil.rmtree(folder)
        if record is None:
            return 0
        path = arguments.output / f"{arguments.network}.json"
        path.with_suffix(".tmp").write_text(json.dumps(record, indent=1) + "\n")
        path.with_suffix(".tmp").replace(path)
        return 0
    todo = []
    for name in import_networks.names():
        path = arguments.output / f"{name}.json"
        again = arguments.again and re.search(arguments.again, name)
        if path.exists():
            record = json.loads(path.read_text())
            ok = passes(record)
            again = again or any(step not in record for step in arguments.steps.split(","))
            again = again or (arguments.failed and not all(ok.values()))
        if re.search(arguments.only, name) and (again or not path.exists()):
            todo.append(name)
    running = []

    def wait(limit):
        while len(running) > limit:
            for entry in list(running):
                name, process, begin = entry
                if process.poll() is None and time.time() - begin > arguments.timeout:
                    process.kill()
                if process.poll() is not None:
                    running.remove(entry)
                    path = arguments.output / f"{name}.json"
                    if process.returncode == 0 and path.exists():
                        record = json.loads(path.read_text())
                        failing = [key for key, ok in passes(record).items() if not ok]
                        print(f"{name}: {record['seconds']['all']} s, " + ("everything" if not failing else f"not {failing}"),
                              flush=True)
                    else:
                        print(f"{name}: ended with status {process.returncode}", flush=True)
                    write_page(arguments.output)
            time.sleep(0.2)

    for name in todo:
        wait(arguments.jobs - 1)
        command = [sys.executable, __file__, f"--network={name}", f"--tools={arguments.tools}",
                   f"--output={arguments.output}", f"--threads={arguments.threads}", f"--steps={arguments.steps}"]
        for option in ("scratch", "exports"):
            if getattr(arguments, option):
                command.append(f"--{option}={getattr(arguments, option)}")
        if arguments.export_only:
            command.append("--export_only")
        running.append((name, subprocess.Popen(command), time.time()))
    wait(0)
    for key, count in write_page(arguments.output).items():
        print(f"{count}  {TOTALS.get(key, key)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
