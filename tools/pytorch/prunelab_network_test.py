#!/usr/bin/env python3
"""Tests prunelab_network.py. Arguments: it, ml/network/network.proto, and the program write_cases.

Modules are compared with the values of the reference plan, which write_cases writes. Without torch for this Python only
what reads networks and headers is tested.
"""

import copy
import importlib.util
import json
import os
import pathlib
import pickle
import re
import struct
import subprocess
import sys
import tempfile
import types
import unittest

FILE, PROTO, WRITE_CASES = (os.path.abspath(path) for path in sys.argv[1:4])
del sys.argv[1:4]

try:
    import torch
except ImportError as error:
    print(f"torch cannot be imported by Python {sys.version.split()[0]} ({error}): only the reading of networks is tested")
    torch = None


class AnyName(types.ModuleType):
    """Stands for torch where there is none: has every name, as a class, so that the file can be imported."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def imported():
    if torch is None:
        sys.modules["torch"] = AnyName("torch")
        sys.modules["torch"].nn = AnyName("torch.nn")
    spec = importlib.util.spec_from_file_location("prunelab_network", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["prunelab_network"] = module
    spec.loader.exec_module(module)
    return module


prunelab_network = imported()
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
        self.assertEqual('a "b"\\c\n\t\x01é', prunelab_network._unquoted(prunelab_network._quoted('a "b"\\c\n\t\x01é')))

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
        for family in ("resnet56", "resnet50", "mobilenet_v2"):
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
        self.assertLessEqual({"conv2d", "scatter", "constant", "concat", "elementwise", "average_pool2d"}, operators)


if __name__ == "__main__":
    unittest.main(verbosity=2)
