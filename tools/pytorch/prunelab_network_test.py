#!/usr/bin/env python3
"""Tests prunelab_network.py. Arguments: it, ml/network/network.proto, and the programs write_cases and evaluate.

Modules are compared with the values of the reference plan, which write_cases writes, and single operators with loops
over pixels. Without torch for this Python only what reads networks and headers is tested.
"""

import copy
import importlib.util
import json
import math
import os
import pathlib
import pickle
import random
import re
import struct
import subprocess
import sys
import tempfile
import types
import unittest

FILE, PROTO, WRITE_CASES, EVALUATE = (os.path.abspath(path) for path in sys.argv[1:5])
del sys.argv[1:5]

try:
    import torch
except ImportError as error:
    if "PRUNELAB_TORCH" in os.environ:  # there is one for this Python, so it must work
        raise
    print(f"{error}: only the reading of networks is tested")
    torch = None


class AnyNames(type):
    """Of a class that has every name as a class of the same kind: torch.autograd.Function."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyNames(name, (), {})


class AnyModule(types.ModuleType):
    """Stands for torch where there is none, so that the file can be imported."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyNames(name, (), {})


def imported():
    if torch is None:
        sys.modules["torch"] = AnyModule("torch")
        sys.modules["torch"].nn = AnyModule("torch.nn")
    spec = importlib.util.spec_from_file_location("prunelab_network", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["prunelab_network"] = module
    spec.loader.exec_module(module)
    return module


prunelab_network = imported()
# Those that write_cases removes filters from.
FAMILIES = ("resnet56", "resnet50", "mobilenet_v2", "densenet", "regnet")

needs_torch = unittest.skipIf(torch is None, "needs torch for this Python")


def fields_of_proto(text):
    """{message: {field: (type, repeated, default)}} of a .proto file; enums are their values, joined by "|"."""
    text = re.sub(r"//[^\n]*", "", text)
    messages = {}
    for name, body in re.findall(r"^message (\w+) \{(?:\}|\n(.*?)^\})", text, re.DOTALL | re.MULTILINE):
        enums = {enum: "|".join(re.findall(r"(\w+) *= *\d+;", values))
                 for enum, values in re.findall(r"enum (\w+) \{(.*?)\}", body, re.DOTALL)}
        body = re.sub(r"enum \w+ \{.*?\}|oneof \w+ \{", "", body, flags=re.DOTALL)
        fields = {}
        for label, kind, field, options in re.findall(r"(optional |repeated |)(\w+) (\w+) = \d+ *(\[[^\]]*\])?;", body):
            default = re.search(r"default = ([\w.+-]+)", options)
            fields[field] = (enums.get(kind, kind), label == "repeated ", default and default.group(1))
        messages[name] = fields
    return messages


def example():
    """A network with every field of every message set."""
    network = prunelab_network.Message("Network")
    values = {"int64": 3, "bool": True, "double": 0.1, "string": 'a "b"\\c\n\t\x01é'}

    def filled(kind):
        message = prunelab_network.Message(kind)
        for name, field in prunelab_network.FIELDS[kind].items():
            value = field.choices[-1] if field.choices else values[field.type]
            setattr(message, name, [value, value] if field.repeated else value)
        return message

    for operator in prunelab_network.OPERATORS:
        node = prunelab_network.Message("Node")
        node.name = operator
        node.input = [network.node[-1].name] if network.node else []
        setattr(node, operator, filled(prunelab_network.FIELDS["Node"][operator].type))
        network.node.append(node)
    network.output = ["linear", "relu"]
    return network


class ReadingTest(unittest.TestCase):
    def test_the_messages_are_those_of_the_proto(self):
        with open(PROTO, encoding="utf-8") as file:
            messages = fields_of_proto(file.read())
        self.assertGreater(len(messages), 25)
        self.assertEqual(set(messages), set(prunelab_network.MESSAGES))
        for name, fields in messages.items():
            known = prunelab_network.FIELDS[name]
            self.assertEqual(list(fields), list(known), name)
            for field, (kind, repeated, default) in fields.items():
                with self.subTest(message=name, field=field):
                    self.assertEqual((kind, repeated), (known[field].type, known[field].repeated))
                    if default is not None:
                        self.assertEqual(prunelab_network._scalar(known[field], default), known[field].default)
                    else:
                        self.assertEqual(known[field].choices[0] if known[field].choices else None,
                                         known[field].default)

    def test_text_is_read_and_written(self):
        text = str(example())
        network = prunelab_network.parse_network(text)
        self.assertEqual(text, str(network))
        self.assertEqual(text, str(copy.deepcopy(network)))
        self.assertEqual(text, str(pickle.loads(pickle.dumps(network))))
        literal = 'a "b"\\c\n\t\x01é'
        self.assertEqual(literal, prunelab_network._unquoted(prunelab_network._quoted(literal)))

    def test_all_spellings_of_the_text_format(self):
        network = prunelab_network.parse_network("""
            # a comment
            node { name: 'im' "age", image: < channels: 0x10; height: 010 > }
            node: { name: "\\303\\251\\x41", input: ["image"] select { index: [0, 3] index: 1 } }
            node { name: "c" input: "image" elementwise: { function: CLIP low: - 0.5f high: inf } };
            output: [ "c" ]""")
        self.assertEqual(["image", "éA", "c"], [node.name for node in network.node])
        self.assertEqual((16, 8, 32), (network["image"].image.channels, network["image"].image.height,
                                       network["image"].image.width))
        self.assertEqual([0, 3, 1], network["éA"].select.index)
        self.assertEqual(("CLIP", -0.5, float("inf"), 0.01), tuple(getattr(network["c"].elementwise, name)
                                                                   for name in ("function", "low", "high", "slope")))
        self.assertEqual(["c"], network.output)
        self.assertEqual("select", network["éA"].operator)
        self.assertIsNone(network["c"].select)

    def test_what_is_wrong_is_named(self):
        image = 'node { name: "x" image {} } '
        for text, error in {
                image + 'node { name: "y" input: "x" fourier {} }': r'node "y": unknown operator or field \'fourier\'',
                image + 'node { name: "y" input: "x" conv2d { knots: 3 } }': r'node "y": unknown field \'knots\' of Conv2d',
                image + 'nodes {}': r"line 1, column 29: unknown field 'nodes' of Network",
                image + 'node { name: "y" input: "z" relu {} }': r'node "y": its input "z" is no earlier node',
                image + 'node { name: "x" input: "x" relu {} }': r'node "x": has the name of an earlier node',
                image + 'node { name: "y" input: "x" }': r'node "y": has no operator',
                image + 'node { name: "y" input: "x" relu {} add {} }': r'node "y": has a second operator, add',
                image + 'node { name: "y" conv2d { bias: 3 } }': r'node "y": bias is 3; must be true or false',
                image + 'node { name: "y" conv2d { stride: 1.5 } }': r"stride is 1.5; must be an integer",
                image + 'node { name: "y" conv2d { stride: 1 stride: 2 } }': r"stride stands there twice",
                image + 'node { name: "y" pad { value: x } }': r"value is x; must be a number",
                image + 'node { name: "y" pad { function: MIRROR } }': r"MIRROR; must be one of CONSTANT, REFLECT, REPL",
                image + 'node { name: y relu {} }': r"name is y; must be a string in quotes",
                image + 'node { name: "y" relu {}': r"the text ends too early",
                image + 'node { name "y" }': r"':' is missing after name",
                image + 'node { relu {} }': r"a node has no name",
                image + 'output: "y"': r'its output "y" is no node',
                image + '$': r"line 1, column 29: '\$' is not expected",
                'node { name: "y" relu {} }': r"must have one image node",
        }.items():
            with self.subTest(text=text), self.assertRaisesRegex(prunelab_network.NetworkError, error):
                prunelab_network.parse_network(text)
        with self.assertRaisesRegex(AttributeError, "a Relu of a network has no field 'slope'; it has none"):
            prunelab_network.parse_network(image + 'node { name: "y" relu {} }')["y"].relu.slope = 1

    def test_headers_are_read_and_checked(self):
        def header(entries, data=b"\0" * 8, length=None):
            text = json.dumps(entries).encode()
            path.write_bytes(struct.pack("<Q", length or len(text)) + text + data)
            return prunelab_network.read_header(path)

        def entry(begin, end):
            return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "x.safetensors")
            metadata, entries, begin = header({"__metadata__": {"network": "n"}, "b": entry(4, 8), "a": entry(0, 4)})
            self.assertEqual(({"network": "n"}, ["b", "a"], path.stat().st_size - 8), (metadata, list(entries), begin))
            for error, arguments in {"x.safetensors: is no safetensors file, or is cut off": ({}, b"", 1 << 60),
                                     "is no safetensors file: 'data_offsets'": ({"a": {}},),
                                     "holes or overlap at byte 4": ({"a": entry(0, 4), "b": entry(0, 8)},),
                                     "its header describes": ({"a": entry(0, 4)},)}.items():
                with self.subTest(error=error), self.assertRaisesRegex(prunelab_network.NetworkError, error):
                    header(*arguments)
            path.write_bytes(b"<html>")
            with self.assertRaisesRegex(prunelab_network.NetworkError, "is no safetensors file"):
                prunelab_network.read_header(path)


def setUpModule():
    global FOLDER
    FOLDER = None
    if torch is not None:
        FOLDER = tempfile.TemporaryDirectory()
        torch.manual_seed(1)
        subprocess.run([WRITE_CASES, FOLDER.name], check=True)
        torch.set_num_threads(1)


def tearDownModule():
    if FOLDER is not None:
        FOLDER.cleanup()


def cases(pattern):
    """(path, module, values) of each case whose name matches a glob."""
    found = sorted(path for path in pathlib.Path(FOLDER.name).glob(pattern + ".safetensors")
                   if not path.name.endswith(".values.safetensors"))
    assert found, pattern
    for path in found:
        values = prunelab_network.read_tensors(str(path).replace(".safetensors", ".values.safetensors"))[1]
        yield path, prunelab_network.load(path), values


def all_of(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


@needs_torch
class ModulesTest(unittest.TestCase):
    def difference(self, wanted, actual, what):
        """The largest difference. What is not finite (random networks also divide by zero) must be so in both."""
        self.assertEqual((wanted.shape, wanted.dtype), (actual.shape, actual.dtype), what)
        finite = wanted.isfinite()
        self.assertTrue(torch.equal(wanted[~finite].nan_to_num(1), actual[~finite].nan_to_num(1)), what)
        return (wanted - actual)[finite].abs().max().item() if finite.any() else 0

    @staticmethod
    def largest(tensors):
        """The largest finite value of some tensors."""
        return max((tensor[tensor.isfinite()].abs().max().item() for tensor in tensors if tensor.isfinite().any()),
                   default=0)

    def assert_near(self, wanted, actual, tolerance, what):
        """Differences are at most `tolerance` times the largest wanted value."""
        self.assertLessEqual(self.difference(wanted, actual, what), tolerance * self.largest([wanted]), what)

    def check_outputs(self, path, module, values):
        self.assertFalse(module.training)
        with torch.no_grad():
            outputs = all_of(module(values["images"]))
        self.assertEqual(len(outputs), sum(name.startswith("output/") for name in values))
        for k, output in enumerate(outputs):
            tolerance = 1e-5 if output.dtype == torch.float32 else 1e-10
            self.assert_near(values[f"output/{k}"].expand(output.shape), output, tolerance, f"{path.name}: output {k}")
        return outputs

    def check_training(self, path, module, values):
        gradients = {name[len("gradient/"):]: value for name, value in values.items() if name.startswith("gradient/")}
        module.train()
        for child in module.modules():  # what is dropped is drawn at random, so the reference drops nothing
            if isinstance(child, (torch.nn.modules.dropout._DropoutNd, prunelab_network.JointDropout)):
                child.eval()
        outputs = all_of(module(values["images"]))
        if not any(output.requires_grad for output in outputs):
            self.assertFalse(gradients)
            return
        sum((output * values[f"factor/{k}"]).sum() for k, output in enumerate(outputs)).backward()
        # All of a network's gradients have one scale: what is only rounding of a zero has none of its own.
        scale = self.largest(gradients.values())
        for name, parameter in module.named_parameters():
            if name not in gradients:
                self.assertTrue(parameter.grad is None or not parameter.grad.any(), f"{path.name}: {name}")
                continue
            difference = self.difference(gradients[name], parameter.grad, f"{path.name}: {name}")
            self.assertLessEqual(difference, 1e-9 * scale, f"{path.name}: {name}")
        for name, buffer in module.named_buffers():
            if f"after/{name}" in values:
                self.assert_near(values[f"after/{name}"].double(), buffer.double(), 1e-9, f"{path.name}: {name}")

    def check_names(self, path, module):
        metadata, tensors = prunelab_network.read_tensors(path)
        self.assertEqual(set(tensors), set(module.state_dict()), path.name)
        for name, tensor in module.state_dict().items():
            self.assertTrue(torch.equal(tensors[name], tensor), f"{path.name}: {name}")
        self.assertEqual(metadata["network"].strip(), str(module.network).strip())

    def test_removed_families(self):
        for family in FAMILIES:
            for path, module, values in cases(family + "_float*"):
                with self.subTest(path=path.name):
                    self.check_names(path, module)
                    self.check_outputs(path, module, values)
                    if values["images"].dtype == torch.float64:
                        self.check_training(path, module, values)

    def test_random_networks(self):
        operators = set()
        for path, module, values in cases("random*"):
            with self.subTest(path=path.name):
                self.check_names(path, module)
                self.check_outputs(path, module, values)
                self.check_training(path, module, values)
                operators.update(node.operator for node in module.network.node)
        print("operators of the random networks:", ", ".join(sorted(operators)))
        self.assertEqual(set(prunelab_network.OPERATORS) - {"fake_quantize"}, operators)

    def test_quantized_networks(self):
        for path, module, values in cases("quantized*"):
            _, tensors = prunelab_network.read_tensors(path)
            self.assertEqual(set(tensors), set(module.state_dict()))
            self.assertEqual(tensors["conv1.weight"].dtype, torch.int8)
            scale = tensors["conv1.weight_scale"].reshape(-1, 1, 1, 1).float()
            weight = module.state_dict()["conv1.weight"]
            self.assertTrue(torch.equal(weight, (tensors["conv1.weight"] * scale).to(weight.dtype)))
            self.check_outputs(path, module, values)
            self.check_training(path, module, values)
            self.assertIn("fake_quantize", {node.operator for node in module.network.node})


def network_of(nodes, image="channels: 4 height: 5 width: 6", output=()):
    """The module of a network of nodes as text. "@" stands for the node before, as an input."""
    text, previous = f'node {{ name: "image" image {{ {image} }} }}', "image"
    for node in nodes:
        text += " node { " + node.replace("@", f'input: "{previous}"') + " }"
        previous = re.search('name: "([^"]*)"', node).group(1)
    text += "".join(f' output: "{name}"' for name in output)
    model = prunelab_network.PrunelabNetwork(prunelab_network.parse_network(text))
    model.load_state_dict({name: torch.randn(tensor.shape, dtype=torch.float64) for name, tensor in
                           model.state_dict().items()}, assign=True)
    return model


def windows(size, kernel, stride, before, after, dilation=1, ceil_mode=False):
    """The pixels of each window, -before to size + after - 1; those of a last window that reaches further, too."""
    found, start = [], -before
    while True:
        last = start + dilation * (kernel - 1)
        if last - (stride - 1 if ceil_mode else 0) >= size + after or (ceil_mode and start >= size):
            return found
        found.append([start + dilation * i for i in range(kernel)])
        start += stride


def adaptive_windows(before, after):
    return [list(range(i * before // after, math.ceil((i + 1) * before / after))) for i in range(after)]


def pooled(x, rows, columns, reduce):
    """reduce([values inside of the image], rows, columns) of each window."""
    def one(plane, r, c):
        return reduce([plane[i, j].item() for i in r for j in c if 0 <= i < len(plane) and 0 <= j < plane.shape[1]], r, c)
    return torch.tensor([[[[one(plane, r, c) for c in columns] for r in rows] for plane in image] for image in x],
                        dtype=x.dtype)


@needs_torch
class OperatorsTest(unittest.TestCase):
    def check(self, node, wanted, x=None, **options):
        x = self.x if x is None else x
        model = network_of(['name: "n" @ ' + node],
                           image="channels: {} height: {} width: {}".format(*x.shape[1:]), **options)
        actual = model(x)
        self.assertEqual(wanted.shape, actual.shape, node)
        self.assertTrue(torch.allclose(wanted, actual, rtol=1e-12, atol=1e-12), node)

    def setUp(self):
        self.x = torch.randn(2, 4, 5, 6, dtype=torch.float64)

    def test_pooling(self):
        draw, compared, uneven = random.Random(1), 0, 0
        while compared < 300:
            kernel, width = draw.randint(1, 4), draw.randint(1, 4)
            stride, stride_width, dilation = draw.randint(1, 3), draw.randint(1, 3), draw.choice([1, 1, 2])
            top, left, bottom, right = pads = [draw.randint(0, size // 2) for size in (kernel, width) * 2]
            ceil_mode, include, is_max = draw.random() < 0.5, draw.random() < 0.5, draw.random() < 0.5
            rows = windows(5, kernel, stride, top, bottom, dilation if is_max else 1, ceil_mode)
            columns = windows(6, width, stride_width, left, right, dilation if is_max else 1, ceil_mode)
            inside = [any(0 <= i < size for i in window) for part, size in ((rows, 5), (columns, 6)) for window in part]
            if not rows or not columns or not all(inside):
                continue

            def average(values, r, c):
                def within(window, size, after):
                    return sum(i < size + after for i in window)
                return sum(values) / (within(r, 5, bottom) * within(c, 6, right) if include else len(values))

            text = (f"kernel: {kernel} kernel_width: {width} stride: {stride} stride_width: {stride_width} pads: {pads} "
                    f"ceil_mode: {str(ceil_mode).lower()} ")
            if is_max:
                self.check(f"max_pool2d {{ {text} dilation: {dilation} }}",
                           pooled(self.x, rows, columns, lambda values, r, c: max(values)))
            else:
                self.check(f"average_pool2d {{ {text} count_include_pad: {str(include).lower()} }}",
                           pooled(self.x, rows, columns, average))
            compared += 1
            uneven += top != bottom or left != right
        self.assertGreater(uneven, 100)
        self.check("max_pool2d { kernel: 3 padding: 1 }", pooled(
            self.x, windows(5, 3, 2, 1, 1), windows(6, 3, 2, 1, 1), lambda values, r, c: max(values)))

    def test_uneven_convolutions(self):
        for masked in (False, True):
            model = network_of(['name: "c" @ conv2d { out_channels: 6 kernel_width: 1 stride_width: 2 dilation: 2 groups: 2 '
                                'bias: true pads: [2, 0, 1, 3] }'])
            wide = torch.zeros(2, 4, 8, 9, dtype=torch.float64)
            wide[:, :, 2:7, :6] = self.x
            weight = model.c.weight
            if masked:
                mask = (torch.rand_like(weight) < 0.5).float()
                tensors = {**model.state_dict(), "c.mask": mask}
                model = prunelab_network.PrunelabNetwork(model.network, {"c": mask})
                model.load_state_dict(tensors, assign=True)
                weight = weight * mask
            wanted = torch.zeros(2, 6, 4, 5, dtype=torch.float64) + model.c.bias.view(-1, 1, 1)
            for i in range(4):
                for k in range(3):
                    for o in range(6):
                        channels = slice(2 * (o // 3), 2 * (o // 3) + 2)
                        wanted[:, o, i] += (wide[:, channels, i + 2 * k, ::2] * weight[o, :, k]).sum(1)
            self.assertTrue(torch.allclose(wanted, model(self.x), atol=1e-12))

    def test_transposed_convolution(self):
        model = network_of(['name: "c" @ conv_transpose2d { out_channels: 2 kernel_height: 3 kernel_width: 2 stride: 2 '
                            'stride_width: 3 dilation: 2 dilation_width: 1 padding: 1 padding_width: 0 output_padding: 1 '
                            'output_padding_width: 2 groups: 2 }'])
        full = torch.zeros(2, 2, 2 * 4 + 4 + 1 + 1, 3 * 5 + 1 + 1 + 2, dtype=torch.float64)
        for i in range(5):
            for j in range(6):
                for a in range(3):
                    for b in range(2):
                        for group in range(2):
                            channels = slice(2 * group, 2 * group + 2)
                            full[:, group, 2 * i + 2 * a, 3 * j + b] += self.x[:, channels, i, j] @ model.c.weight[
                                channels, 0, a, b]
        wanted = full[:, :, 1:-1 + 0, :] + model.c.bias.view(-1, 1, 1)
        actual = model(self.x)
        self.assertEqual((2, 2, 12, 19), tuple(actual.shape))
        self.assertTrue(torch.allclose(wanted, actual, atol=1e-12))

    def test_resizing(self):
        for height in range(1, 14):
            for width in (6, 12, 7):
                rows, columns = ([i * before // after for i in range(after)] for before, after in ((5, height), (6, width)))
                self.check(f"resize {{ function: NEAREST height: {height} width: {width} }}",
                           self.x[:, :, rows][:, :, :, columns])

        def interpolated(x, size, places):
            """Along the last dimension."""
            parts = []
            for place in places:
                place = min(max(place, 0), size - 1)
                left = min(math.floor(place), max(size - 2, 0))
                right = min(left + 1, size - 1)
                parts.append(x[..., left] * (1 - (place - left)) + x[..., right] * (place - left))
            return torch.stack(parts, -1)

        for height, width in ((10, 12), (3, 9), (5, 1), (7, 6)):
            for function, place in (("BILINEAR", lambda i, before, after: (i + 0.5) * before / after - 0.5),
                                    ("BILINEAR_ALIGNED", lambda i, before, after: i * (before - 1) / max(after - 1, 1))):
                wanted = interpolated(self.x, 6, [place(i, 6, width) for i in range(width)])
                wanted = interpolated(wanted.mT, 5, [place(i, 5, height) for i in range(height)]).mT
                self.check(f"resize {{ function: {function} height: {height} width: {width} }}", wanted)

    def test_padding(self):
        reflected, repeated = [2, 1, 0, 1, 2, 3, 4, 3], [0, 0, 0, 1, 2, 3, 4, 4]
        columns = [1, 0, 1, 2, 3, 4, 5]
        self.check("pad { function: REFLECT pads: [2, 1, 1, 0] }", self.x[:, :, reflected][..., columns])
        self.check("pad { function: REPLICATE pads: [2, 1, 1, 0] }", self.x[:, :, repeated][..., [0] + columns[1:]])
        wanted = torch.full((2, 4, 8, 7), -1.5, dtype=torch.float64)
        wanted[:, :, 2:7, 1:] = self.x
        self.check("pad { pads: [2, 1, 1, 0] value: -1.5 }", wanted)

    def test_adaptive_pooling(self):
        for height, width in ((1, 1), (2, 4), (3, 5), (5, 6), (7, 2)):
            rows, columns = adaptive_windows(5, height), adaptive_windows(6, width)
            self.check(f"adaptive_pool2d {{ function: AVERAGE height: {height} width: {width} }}",
                       pooled(self.x, rows, columns, lambda values, r, c: sum(values) / len(values)))
            self.check(f"adaptive_pool2d {{ function: MAX height: {height} width: {width} }}",
                       pooled(self.x, rows, columns, lambda values, r, c: max(values)))

    def test_stored_constants(self):
        for text, rows, columns in (
                ("row_repeats: [2, 3] column_repeats: [1, 4, 1]", [0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 2]),
                ("row_index: [1, 0, 1, 0, 2]", [1, 0, 1, 0, 2], [0, 1, 2, 3, 4, 5])):
            model = network_of([f'name: "c" constant {{ channels: 4 height: 5 width: 6 {text} }}',
                                'name: "sum" @ input: "image" add {}'], output=["sum", "c"])
            wanted = model.c.value[:, rows][:, :, columns]
            total, constant = model(self.x)
            self.assertTrue(torch.equal(wanted + self.x, total))
            self.assertTrue(torch.equal(wanted.expand(2, -1, -1, -1), constant))

    def test_dropout(self):
        x = torch.rand(64, 8, 5, 6, dtype=torch.float64) + 1
        for unit, shape in (("ELEMENT", x.shape), ("CHANNEL", (64, 8, 1, 1)), ("IMAGE", (64, 1, 1, 1)),
                            ("BATCH", (1, 1, 1, 1))):
            model = network_of([f'name: "d" @ dropout {{ probability: 0.25 unit: {unit} }}'],
                               image="channels: 8 height: 5 width: 6")
            self.assertTrue(torch.equal(x, model(x)))
            model.train()
            kept = []
            for _ in range(400 if unit == "BATCH" else 20):
                factor = model(x) / x
                first = factor[tuple(slice(0, size) for size in shape)]
                self.assertTrue(torch.allclose(first.expand_as(factor), factor, rtol=1e-12), unit)
                self.assertTrue((((first - 4 / 3).abs() < 1e-12) | (first == 0)).all(), unit)
                kept.append((first > 0).double().mean().item())
            self.assertAlmostEqual(0.75, sum(kept) / len(kept), delta=0.1, msg=unit)
        flat = network_of(['name: "f" @ flatten {}', 'name: "d" @ dropout { probability: 1 unit: CHANNEL }']).train()
        self.assertFalse(flat(self.x).any())

    def test_norms(self):
        def normalized(x, dimensions, epsilon):
            centred = x - x.mean(dimensions, keepdim=True)
            return centred / (centred.square().mean(dimensions, keepdim=True) + epsilon).sqrt()

        for node, groups in (("layer_norm { epsilon: 0.01 }", None), ("group_norm { groups: 2 epsilon: 0.01 }", 2),
                             ("instance_norm { epsilon: 0.01 affine: true }", 4)):
            for flat in (False, True):
                before = ['name: "f" @ flatten {}', 'name: "l" @ linear { out_features: 4 }'] if flat else []
                model = network_of(before + [f'name: "n" @ {node}'], output=["n"] + (["l"] if flat else ["image"]))
                normal, x = model(self.x)
                if groups is None:
                    wanted = normalized(x, 1, 0.01)
                else:
                    wanted = normalized(x.reshape(2, groups, -1), 2, 0.01).reshape(x.shape)
                shape = (1, 4) if flat else (1, 4, 1, 1)
                wanted = wanted * model.n.weight.view(shape) + model.n.bias.view(shape)
                self.assertTrue(torch.allclose(wanted, normal, atol=1e-12), (node, flat))
        self.check("layer_norm { affine: false }", normalized(self.x, 1, 1e-5))
        self.check("instance_norm {}", normalized(self.x, (2, 3), 1e-5))
        one = self.x[:1, :, :1, :1]  # a single value becomes 0
        self.check("instance_norm {}", torch.zeros_like(one), one)

    def test_scales(self):
        view = (1, 4, 1, 1)
        for fields, weight, bias in (("", True, False), ("bias: true", True, True), ("weight: false bias: true", False, True)):
            model = network_of([f'name: "n" @ channel_scale {{ {fields} }}'])
            self.assertEqual({name for name, there in (("n.weight", weight), ("n.bias", bias)) if there},
                             set(model.state_dict()))
            wanted = self.x * model.n.weight.view(view) if weight else self.x
            self.assertTrue(torch.equal(wanted + model.n.bias.view(view) if bias else wanted, model(self.x)))
        for fields, count in (("", 4), ("shared: true", 1)):
            model = network_of([f'name: "n" @ prelu {{ {fields} }}'])
            self.assertEqual((count,), tuple(model.n.weight.shape))
            wanted = torch.where(self.x < 0, self.x * model.n.weight.view(1, -1, 1, 1), self.x)
            self.assertTrue(torch.equal(wanted, model(self.x)))

    def test_choices_and_products_of_channels(self):
        self.check("select { index: [3, 0, 0, 2, 1] }", self.x[:, [3, 0, 0, 2, 1]])
        wanted = torch.zeros(2, 6, 5, 6, dtype=torch.float64)
        wanted[:, [5, 0, 3, 2]] = self.x
        self.check("scatter { channels: 6 index: [5, 0, 3, 2] }", wanted)
        self.check("softmax {}", self.x.exp() / self.x.exp().sum(1, keepdim=True))
        for function, compute in (("MULTIPLY", lambda x, y: x * y), ("SUBTRACT", lambda x, y: x - y),
                                  ("DIVIDE", lambda x, y: x / y)):
            for gate in ("global_average_pool {}", "conv2d { out_channels: 1 kernel_height: 1 kernel_width: 1 }"):
                for inputs in ('input: "image" input: "g"', 'input: "g" input: "image"'):
                    model = network_of([f'name: "g" @ {gate}', f'name: "n" {inputs} arithmetic {{ function: {function} }}'],
                                       output=["n", "g"])
                    result, values = model(self.x)
                    operands = (self.x, values.expand_as(self.x))
                    self.assertTrue(torch.equal(compute(*operands if inputs.endswith('"g"') else operands[::-1]), result))

    def test_elementwise(self):
        x = self.x * 4
        clip = ((x / 6) + 0.5).clamp(0, 1)
        for fields, wanted in {
                "CLIP": x.clamp(0, 6), "CLIP low: -1 high: 0.5": x.clamp(-1, 0.5),
                "LEAKY_RELU": torch.where(x < 0, 0.01 * x, x), "LEAKY_RELU slope: 0.3": torch.where(x < 0, 0.3 * x, x),
                "SIGMOID": 1 / (1 + (-x).exp()), "HARD_SIGMOID": clip, "HARD_SWISH": x * clip, "SILU": x / (1 + (-x).exp()),
                "GELU": x * (1 + torch.erf(x / math.sqrt(2))) / 2,
                "GELU_TANH": x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
                "TANH": (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
        }.items():
            self.check(f"elementwise {{ function: {fields} }}", wanted, x)
        x = torch.zeros_like(x, requires_grad=True)  # as in the reference, a bound has no gradient
        network_of(['name: "n" @ elementwise { function: CLIP }'])(x).sum().backward()
        self.assertFalse(x.grad.any())

    def test_shapes_of_features(self):
        self.check("global_average_pool {}", self.x.mean((2, 3), keepdim=True))
        model = network_of(['name: "f" @ flatten {}', 'name: "l" @ linear { out_features: 3 }', 'name: "u" @ unflatten {}'],
                           output=["u", "l"])
        pictures, features = model(self.x)
        self.assertEqual((2, 3, 1, 1), tuple(pictures.shape))
        self.assertTrue(torch.equal(features, pictures.flatten(1)))
        self.assertTrue(torch.equal(features, self.x.flatten(1) @ model.l.weight.T + model.l.bias))

    def test_what_does_not_fit_is_named(self):
        for node, error in {
                'name: "x.y" @ conv2d { out_channels: 4 groups: 3 }': r'node "x.y" \(conv2d of \[4, 5, 6\]\): in_channels',
                'name: "x" @ conv2d { out_channels: 4 pads: [1, 2] }': r'node "x" .*: has 2 pads; must be 4: top, left',
                'name: "x" @ elementwise {}': r"its function is unset; must be one of CLIP, LEAKY_RELU",
                'name: "x" @ conv2d { out_channels: 4 kernel_height: 7 }': r'node "x" \(conv2d of \[4, 5, 6\]\)',
                'name: "x" constant { channels: 1 height: 3 row_index: [0, 1] }': r"describes 2 rows or columns; must be 3",
        }.items():
            with self.subTest(node=node), self.assertRaisesRegex(prunelab_network.NetworkError, error):
                network_of([node])


@needs_torch
class UseTest(unittest.TestCase):
    """What one does with a module: train it, copy it, compile it, save it."""

    def setUp(self):
        self.path = os.path.join(FOLDER.name, "resnet56_float32.safetensors")
        self.images = torch.randn(4, 3, 32, 32)
        self.model = prunelab_network.load(self.path)

    def masked(self):
        """The first masked random network: (path, images)."""
        for path, model, values in cases("random*_masked"):
            if any(name.endswith(".mask") for name in model.state_dict()):
                return path, values["images"]

    def test_what_was_read_is_written_again(self):
        copied = os.path.join(FOLDER.name, "copied")
        for path in [self.path] + sorted(pathlib.Path(FOLDER.name).glob("random?_*d.safetensors")):
            prunelab_network.save(prunelab_network.load(path), copied)
            self.assertEqual(pathlib.Path(path).read_bytes(), pathlib.Path(copied).read_bytes(), path)

    def test_trained_weights_are_read_by_evaluate(self):
        self.model.train()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        before = self.model(self.images).detach()
        for _ in range(3):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.model(self.images), torch.arange(4))
            loss.backward()
            optimizer.step()
        self.model.eval()
        with torch.no_grad():
            logits = self.model(self.images)
        self.assertGreater((logits - before).abs().max().item(), 0.01)
        tuned, images, output = (os.path.join(FOLDER.name, name) for name in ("tuned", "images", "logits"))
        prunelab_network.save(self.model, tuned)
        prunelab_network.write_tensors(images, {}, {"images": self.images})
        subprocess.run([EVALUATE, f"--checkpoint={tuned}", f"--input={images}", f"--output={output}"], check=True)
        theirs = prunelab_network.read_tensors(output)[1]["logits"]
        self.assertLess((theirs - logits).abs().max().item(), 1e-5 * logits.abs().max().item())
        again = prunelab_network.load(tuned)
        with torch.no_grad():
            self.assertTrue(torch.equal(logits, again(self.images)))

    def test_another_head(self):
        self.model.fc = torch.nn.Linear(self.model.fc.in_features, 5)
        saved = os.path.join(FOLDER.name, "head")
        with self.assertRaisesRegex(prunelab_network.NetworkError,
                                    r"fc.bias is \[5\]; the network says \[10\]\n.*fc.weight is \[5, 64\]"):
            prunelab_network.save(self.model, saved)
        self.model.network["fc"].linear.out_features = 5
        prunelab_network.save(self.model, saved)
        self.assertEqual((4, 5), tuple(prunelab_network.load(saved)(self.images).shape))

    def test_masks(self):
        path, images = self.masked()
        model = prunelab_network.load(path)
        once = prunelab_network.load(path, keep_masks=False)
        self.assertFalse(any(name.endswith(".mask") for name in once.state_dict()))
        with torch.no_grad():
            self.assertTrue(torch.equal(model(images), once(images)))
        saved = os.path.join(FOLDER.name, "once")
        prunelab_network.save(once, saved)
        self.assertNotIn("filter_masks", prunelab_network.load(saved).metadata)
        name = next(name for name, buffer in model.named_buffers() if name.endswith(".mask") and (buffer == 0).any())
        off = model.get_buffer(name) == 0
        before = model.get_parameter(name.replace(".mask", ".weight"))[off].detach().clone()
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.stack([output.square().sum() for output in all_of(model(images))]).sum().backward()
        optimizer.step()
        self.assertTrue(torch.equal(before, model.get_parameter(name.replace(".mask", ".weight"))[off]))

    def test_copies_and_wrappers(self):
        with torch.no_grad():
            wanted = self.model(self.images)
            for kind, other in (("deepcopy", copy.deepcopy(self.model)),
                                ("pickle", pickle.loads(pickle.dumps(self.model))),
                                ("float64", copy.deepcopy(self.model).double().float()),
                                ("DataParallel", torch.nn.DataParallel(self.model)),
                                ("compile", torch.compile(self.model, backend="eager", fullgraph=True))):
                with self.subTest(kind=kind):
                    self.assertTrue(torch.equal(wanted, other(self.images)))
                    saved = os.path.join(FOLDER.name, "wrapped")
                    prunelab_network.save(other, saved)
                    self.assertEqual(pathlib.Path(self.path).read_bytes(), pathlib.Path(saved).read_bytes())
            changed = copy.deepcopy(self.model)
            changed.fc.bias.data += 1
            self.assertTrue(torch.equal(wanted, self.model(self.images)))
            self.assertFalse(torch.equal(wanted, changed(self.images)))
        with self.assertRaisesRegex(prunelab_network.NetworkError, "a Linear cannot be saved"):
            prunelab_network.save(torch.nn.Linear(1, 1), saved)

    def test_export_with_an_open_batch_size(self):
        exported = torch.export.export(self.model, (self.images,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
        images = torch.randn(3, 3, 32, 32)
        with torch.no_grad():
            self.assertTrue(torch.allclose(self.model(images), exported.module()(images), atol=1e-5))

    def test_any_names(self):
        names = ["conv", "conv.inner.x", "type", "a..b", "/stage/Conv_1", "forward", "network"]
        model = network_of([f'name: "{name}" @ conv2d {{ out_channels: 4 kernel_height: 1 kernel_width: 1 }}'
                            for name in names])
        self.assertEqual({name + ".weight" for name in names}, set(model.state_dict()))
        x = wanted = torch.randn(2, 4, 5, 6, dtype=torch.float64)
        for name in names:
            wanted = torch.nn.functional.conv2d(wanted, model.state_dict()[name + ".weight"])
        self.assertTrue(torch.equal(wanted, model(x)))
        later = network_of(['name: "a.b" @ relu {}', 'name: "a" @ conv2d { out_channels: 4 }'])
        self.assertIs(later.a.b, later.get_submodule("a.b"))
        convolutions = [f'name: "{name}" @ conv2d {{ out_channels: 4 }}' for name in ("a", "a.weight")]
        for nodes in (convolutions, convolutions[::-1]):
            with self.assertRaisesRegex(prunelab_network.NetworkError, 'node "a.weight": has the name of a tensor'):
                network_of(nodes)

    def test_what_is_wrong_with_a_file_is_named(self):
        metadata, tensors = prunelab_network.read_tensors(self.path)
        path = os.path.join(FOLDER.name, "wrong")
        for error, (changed_metadata, changed_tensors) in {
                "wrong: carries no network": ({}, tensors),
                r'Missing key\(s\) in state_dict: "fc.bias"': (
                    metadata, {name: tensor for name, tensor in tensors.items() if name != "fc.bias"}),
                r'Unexpected key\(s\) in state_dict: "other"': (metadata, {**tensors, "other": torch.zeros(1)}),
                "size mismatch for fc.bias": (metadata, {**tensors, "fc.bias": torch.zeros(3)}),
                "unknown operator or field 'fourier'": (
                    {"network": metadata["network"].replace("relu {", "fourier {", 1)}, tensors),
        }.items():
            with self.subTest(error=error), self.assertRaisesRegex(prunelab_network.NetworkError, error):
                prunelab_network.write_tensors(path, changed_metadata, changed_tensors)
                prunelab_network.load(path)

    def test_command_line(self):
        done = subprocess.run([sys.executable, FILE, self.path], capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        self.assertRegex(lines[0], "node +output +parameters")
        self.assertRegex(lines[1], "image +3x32x32 +image")
        self.assertRegex(lines[-1], f"total +{sum(p.numel() for p in self.model.parameters())}")
        self.assertTrue(any(re.match(r"fc +10 +650 +Linear\(in_features=64, out_features=10", line) for line in lines))
        done = subprocess.run([sys.executable, FILE, "/none.safetensors"], capture_output=True, text=True)
        self.assertEqual(2, done.returncode)
        self.assertIn("/none.safetensors", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
