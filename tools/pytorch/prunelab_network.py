#!/usr/bin/env python3
"""A checkpoint of prunelab as a PyTorch module. This one file and torch (2.1 or later) are all that it needs.

    import prunelab_network

    model = prunelab_network.load("small.safetensors")      # an nn.Module in evaluation mode
    logits = model(images)                                  # [N, C, H, W] -> [N, classes]
    model.train()                                           # go on training, export it, compile it, ...
    prunelab_network.save(model, "tuned.safetensors")       # prunelab's programs read it again

Its state_dict has exactly the names of the checkpoint's tensors, which are PyTorch's ("layer1.0.conv1.weight"). Where
the checkpoint has masks, they are buffers ("layer1.0.conv1.mask") that the weights are multiplied by in each forward
pass, so that masked weights stay without effect and get no gradient; load(..., keep_masks=False) sets masked weights to
zero instead, as ordinary weights.

model.network is the network as data, as in prunelab's ml/network/network.proto; print it, or change it together with
the module, e.g. for another number of classes:

    model.fc = torch.nn.Linear(64, 5)
    model.network["fc"].linear.out_features = 5

To see the layers of a checkpoint:

    python prunelab_network.py small.safetensors
"""

import argparse
import ctypes
import json
import os
import re
import struct
import sys

import torch
from torch import nn


class NetworkError(ValueError):
    """A file or a network that cannot be used; the text says what is wrong with it and where."""


# ---- The network as data ---------------------------------------------------------------------------------------------

# The messages of prunelab's ml/network/network.proto: field, type ("*": repeated) and default (none: None).
MESSAGES = {
    "Network": "node: Node*, output: string*",
    "Node": """name: string, input: string*, image: InputOp, conv2d: Conv2d, batch_norm2d: BatchNorm2d, relu: Relu,
        add: Add, max_pool2d: MaxPool2d, average_pool2d: AveragePool2d, global_average_pool: GlobalAveragePool,
        flatten: Flatten, linear: Linear, scatter: Scatter, constant: Constant, concat: Concat,
        elementwise: Elementwise, conv_transpose2d: ConvTranspose2d, arithmetic: Arithmetic, prelu: PRelu,
        softmax: Softmax, channel_scale: ChannelScale, layer_norm: LayerNorm, group_norm: GroupNorm,
        instance_norm: InstanceNorm, select: Select, resize: Resize, pad: Pad, adaptive_pool2d: AdaptivePool2d,
        dropout: Dropout, unflatten: Unflatten, fake_quantize: FakeQuantize""",
    "InputOp": "channels: int64 = 3, height: int64 = 32, width: int64 = 32",
    "Conv2d": """out_channels: int64, kernel_height: int64 = 3, kernel_width: int64 = 3, stride: int64 = 1,
        padding: int64 = 0, dilation: int64 = 1, groups: int64 = 1, bias: bool = false, stride_width: int64,
        dilation_width: int64, pads: int64*, initial_deviation: double, weight_bits: int64,
        initial_identity: bool""",
    "BatchNorm2d": "epsilon: double = 1e-5, momentum: double = 0.1",
    "Relu": "",
    "Add": "",
    "MaxPool2d": """kernel: int64 = 2, stride: int64 = 2, padding: int64 = 0, kernel_width: int64, stride_width: int64,
        pads: int64*, ceil_mode: bool = false, dilation: int64 = 1""",
    "AveragePool2d": """kernel: int64 = 2, stride: int64 = 2, padding: int64 = 0, kernel_width: int64,
        stride_width: int64, pads: int64*, ceil_mode: bool = false, count_include_pad: bool = true""",
    "GlobalAveragePool": "",
    "Flatten": "",
    "Linear": "out_features: int64, bias: bool = true, initial_deviation: double, weight_bits: int64",
    "Scatter": "channels: int64, index: int64*",
    "Elementwise": """function: UNSET|CLIP|LEAKY_RELU|SIGMOID|HARD_SIGMOID|HARD_SWISH|SILU|GELU|GELU_TANH|TANH,
        low: double = 0, high: double = 6, slope: double = 0.01""",
    "Concat": "",
    "Constant": """channels: int64, height: int64 = 1, width: int64 = 1, row_repeats: int64*, column_repeats: int64*,
        row_index: int64*, column_index: int64*""",
    "ConvTranspose2d": """out_channels: int64, kernel_height: int64 = 2, kernel_width: int64 = 2, stride: int64 = 2,
        padding: int64 = 0, dilation: int64 = 1, groups: int64 = 1, bias: bool = true, stride_width: int64,
        dilation_width: int64, padding_width: int64, output_padding: int64 = 0, output_padding_width: int64""",
    "Arithmetic": "function: UNSET|MULTIPLY|SUBTRACT|DIVIDE",
    "PRelu": "shared: bool = false",
    "Softmax": "",
    "ChannelScale": "weight: bool = true, bias: bool = false, initial_weight: double = 1",
    "LayerNorm": "epsilon: double = 1e-5, affine: bool = true",
    "GroupNorm": "groups: int64, epsilon: double = 1e-5, affine: bool = true",
    "InstanceNorm": "epsilon: double = 1e-5, affine: bool = false",
    "Select": "index: int64*",
    "Resize": "function: UNSET|NEAREST|BILINEAR|BILINEAR_ALIGNED, height: int64, width: int64",
    "Pad": "function: CONSTANT|REFLECT|REPLICATE = CONSTANT, pads: int64*, value: double = 0",
    "AdaptivePool2d": "function: UNSET|AVERAGE|MAX, height: int64 = 1, width: int64 = 1",
    "Dropout": "probability: double = 0.5, unit: ELEMENT|CHANNEL|IMAGE|BATCH = ELEMENT",
    "Unflatten": "",
    "FakeQuantize": "bits: int64 = 8",
}


class Field:
    """One field of a message: its type, whether it is repeated, and the value that it has when it is unset."""

    def __init__(self, type_name, default):
        self.repeated = type_name.endswith("*")
        self.type = type_name.rstrip("*")
        self.choices = self.type.split("|") if "|" in self.type else None
        if default is not None:
            self.default = _scalar(self, default)
        else:
            self.default = self.choices[0] if self.choices else None


def _scalar(field, word):
    """The value of a word in text format. Raises ValueError where it has another type."""
    if field.choices:
        if word not in field.choices:
            raise ValueError(f"must be one of {', '.join(field.choices)}")
        return word
    if field.type == "bool":
        if word not in ("true", "false", "True", "False", "t", "f", "1", "0"):
            raise ValueError("must be true or false")
        return word in ("true", "True", "t", "1")
    if field.type == "int64":
        if not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)", word):
            raise ValueError("must be an integer")
        is_octal = re.fullmatch(r"-?0\d+", word) is not None
        return int(word, 8) if is_octal else int(word, 0)
    return float(re.sub(r"(?<=[\d.])[fF]$", "", word))


def _fields(description):
    fields = {}
    for part in filter(None, (part.strip() for part in description.split(","))):
        name, _, rest = part.partition(":")
        type_name, _, default = (piece.strip() for piece in rest.partition("="))
        fields[name] = Field(type_name, default or None)
    return fields


FIELDS = {message: _fields(description) for message, description in MESSAGES.items()}
OPERATORS = [name for name in FIELDS["Node"] if name not in ("name", "input")]


class Message:
    """A message whose fields are attributes: an unset field has its default, or None, or an empty list if repeated."""

    def __init__(self, kind):
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_values", {})

    def __getattr__(self, name):
        if name.startswith("_") or name not in FIELDS[self._kind]:
            raise AttributeError(f"a {self._kind} of a network has no field {name!r}; it has "
                                 f"{', '.join(FIELDS[self._kind]) or 'none'}")
        field = FIELDS[self._kind][name]
        if field.repeated:
            return self._values.setdefault(name, [])
        return self._values.get(name, field.default)

    def __setattr__(self, name, value):
        getattr(self, name)  # for the error if there is no such field
        self._values[name] = value

    def __getstate__(self):
        return self._kind, self._values

    def __setstate__(self, state):
        object.__setattr__(self, "_kind", state[0])
        object.__setattr__(self, "_values", state[1])

    def __getitem__(self, name):
        """The node of a network by its name."""
        for node in self.node:
            if node.name == name:
                return node
        raise KeyError(f"the network has no node {name!r}")

    @property
    def operator(self):
        """The name of a node's operator, e.g. "conv2d"."""
        return next(name for name in OPERATORS if name in self._values)

    def __str__(self):
        """In protobuf's text format, on one line, which parse_network() reads."""
        text = ""
        for name, field in FIELDS[self._kind].items():
            if name not in self._values:
                continue
            value = self._values[name]
            for one in value if field.repeated else [value]:
                if isinstance(one, Message):
                    text += f"{name} {{ {one}}} "
                elif field.type == "string":
                    text += f"{name}: {_quoted(one)} "
                elif field.type == "bool":
                    text += f"{name}: {'true' if one else 'false'} "
                elif field.type == "double":
                    text += f"{name}: {_number(one)} "
                else:
                    text += f"{name}: {one} "
        return text

    __repr__ = __str__


def _number(value):
    """A float64 as protobuf writes it: by 15 digits, or by 17 where these are another number."""
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b", "f": b"\f", "v": b"\v"}


def _quoted(text):
    named = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return '"' + "".join(named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
                         for byte in text.encode()) + '"'


def _unquoted(literal):
    def escaped(match):
        code = match.group(1)
        if code[0] in "xX":
            return bytes([int(code[1:], 16)])
        return bytes([int(code, 8) & 255]) if code[0] in b"01234567".decode() else _ESCAPES.get(code, code.encode())

    pieces = re.split(r"(\\(?:[0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.))", literal[1:-1], flags=re.DOTALL)
    data = b"".join(escaped(re.match(r"\\(.*)", piece, re.DOTALL)) if i % 2 else piece.encode()
                    for i, piece in enumerate(pieces))
    return data.decode()


class _TextParser:
    """Protobuf's text format, as far as networks use it. Errors name the node, the field and the line."""

    TOKEN = re.compile(r"""\s+|\#[^\n]*|
                       (?P<token>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|-?\s*[\w.][\w.+-]*|[{}<>\[\]:;,])""", re.VERBOSE)

    def __init__(self, text):
        self.text = text
        self.tokens = []  # (token, position)
        self.next = 0
        position = 0
        while position < len(text):
            match = self.TOKEN.match(text, position)
            if match is None:
                self.fail(f"{text[position]!r} is not expected", position)
            if match.group("token"):
                self.tokens.append((re.sub(r"^-\s+", "-", match.group("token")), position))
            position = match.end()

    def fail(self, problem, position=None, where=""):
        if position is None:
            position = self.tokens[min(self.next, len(self.tokens)) - 1][1] if self.tokens else 0
        line = self.text.count("\n", 0, position) + 1
        column = position - (self.text.rfind("\n", 0, position) + 1) + 1
        raise NetworkError(f"network, line {line}, column {column}: {where}{problem}")

    def peek(self):
        return self.tokens[self.next][0] if self.next < len(self.tokens) else None

    def take(self):
        if self.next == len(self.tokens):
            self.fail("the text ends too early")
        self.next += 1
        return self.tokens[self.next - 1][0]

    def accept(self, *tokens):
        if self.peek() in tokens:
            return self.take()
        return None

    def message(self, kind, end, where):
        message = Message(kind)
        while self.peek() != end:
            name = self.take()
            field = FIELDS[kind].get(name)
            if kind == "Node":
                where = f"node \"{message.name or '?'}\": "
            if field is None:
                what = "operator or field" if kind == "Node" else "field"
                self.fail(f"unknown {what} {name!r} of {kind}; known are {', '.join(FIELDS[kind]) or 'none'}. A newer "
                          "prunelab may have written it: take the prunelab_network.py that came with that one",
                          where=where)
            self.field(message, name, field, where)
            self.accept(",", ";")
        return message

    def field(self, message, name, field, where):
        values = message._values
        if not field.repeated and name in values:
            self.fail(f"{name} stands there twice", where=where)
        if field.type in FIELDS:
            if message._kind == "Node" and any(other in values for other in OPERATORS):
                self.fail(f"has a second operator, {name}", where=where)
            self.accept(":")
            read = lambda: self.submessage(field, where)
        else:
            if not self.accept(":"):
                self.fail(f"':' is missing after {name}", where=where)
            read = lambda: self.scalar(name, field, where)
        if not field.repeated:
            values[name] = read()
        elif self.accept("["):
            found = values.setdefault(name, [])
            while not self.accept("]"):
                found.append(read())
                self.accept(",")
        else:
            values.setdefault(name, []).append(read())

    def submessage(self, field, where):
        opened = self.take()
        if opened not in ("{", "<"):
            self.fail(f"'{{' is missing before {opened}", where=where)
        closing = "}" if opened == "{" else ">"
        message = self.message(field.type, closing, where)
        self.take()
        return message

    def scalar(self, name, field, where):
        word = self.take()
        if field.type == "string":
            if word[0] not in "\"'":
                self.fail(f"{name} is {word}; must be a string in quotes", where=where)
            text = _unquoted(word)
            while self.peek() is not None and self.peek()[0] in "\"'":  # neighbours are one string
                text += _unquoted(self.take())
            return text
        try:
            return _scalar(field, word)
        except ValueError as error:
            self.fail(f"{name} is {word}; {str(error) if str(error).startswith('must') else 'must be a number'}",
                      where=where)


def parse_network(text):
    """A Network, as a Message, from protobuf's text format. Raises NetworkError."""
    network = _TextParser(text).message("Network", None, "")
    names = set()
    for node in network.node:
        if node.name is None:
            raise NetworkError("network: a node has no name")
        if not any(name in node._values for name in OPERATORS):
            raise NetworkError(f"node \"{node.name}\": has no operator (conv2d, relu, ...)")
        for name in node.input:
            if name not in names:
                raise NetworkError(f"node \"{node.name}\": its input \"{name}\" is no earlier node")
        if node.name in names:
            raise NetworkError(f"node \"{node.name}\": has the name of an earlier node")
        names.add(node.name)
    if [node.operator for node in network.node].count("image") != 1:
        raise NetworkError("network: must have one image node")
    for name in network.output:
        if name not in names:
            raise NetworkError(f"network: its output \"{name}\" is no node")
    return network


# ---- Files in the safetensors format ---------------------------------------------------------------------------------


def read_header(path):
    """The metadata, {tensor: {"dtype", "shape", "data_offsets"}}, and where the data begin. Raises NetworkError."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise NetworkError(f"{path}: is no safetensors file, or is cut off")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            # The data, read in the order of their offsets, fill the rest of the file.
            spans = sorted(entry["data_offsets"] for entry in header.values())
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise NetworkError(f"{path}: is no safetensors file: {error}") from error
    end = 0
    for span in spans:
        if span[0] != end or span[1] < end:
            raise NetworkError(f"{path}: its tensors leave holes or overlap at byte {end} of the data")
        end = span[1]
    if 8 + length + end != size:
        raise NetworkError(f"{path}: has {size} bytes; its header describes {8 + length + end}")
    return metadata, header, 8 + length


_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
           "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}


def read_tensors(path):
    """The metadata and the tensors of a safetensors file, as {name: torch.Tensor}. Raises NetworkError."""
    metadata, header, begin = read_header(path)
    tensors = {}
    with open(path, "rb") as file:
        for name, entry in header.items():
            if entry["dtype"] not in _DTYPES:
                raise NetworkError(f"{path}: {name} is {entry['dtype']}; known are {', '.join(_DTYPES)}")
            first, last = entry["data_offsets"]
            data = bytearray(last - first)
            file.seek(begin + first)
            file.readinto(data)
            dtype = getattr(torch, _DTYPES[entry["dtype"]])
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            try:
                tensors[name] = flat.reshape(entry["shape"])
            except RuntimeError as error:
                raise NetworkError(f"{path}: {name} has {len(flat)} values, which is not {entry['shape']}") from error
    return metadata, tensors


def write_tensors(path, metadata, tensors):
    """Writes a safetensors file, which appears whole or not at all."""
    names = {getattr(torch, value): key for key, value in _DTYPES.items()}
    header, offset, stored = {"__metadata__": metadata}, 0, []
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        size = tensor.numel() * tensor.element_size()
        header[name] = {"data_offsets": [offset, offset + size], "dtype": names[tensor.dtype],
                        "shape": list(tensor.shape)}
        stored.append((tensor, size))
        offset += size
    text = json.dumps(header, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    partial = f"{path}.partial"
    with open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor, size in stored:
            file.write(ctypes.string_at(tensor.data_ptr(), size) if size else b"")
    os.replace(partial, path)


# ---- Modules of operators that torch.nn does not have, or has otherwise ----------------------------------------------


class MaskedConv2d(nn.Conv2d):
    """A convolution by weight times mask; buffer `mask`, 0 and 1, of the weight's shape."""

    def __init__(self, *arguments, mask, **options):
        super().__init__(*arguments, **options)
        self.register_buffer("mask", torch.empty_like(mask, device=self.weight.device))

    def forward(self, x):
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class Padded(nn.Module):
    """What _padded() makes of a class: zeros are added around the input first. pads: top, left, bottom, right."""

    def forward(self, x):
        top, left, bottom, right = self.pads
        return super().forward(nn.functional.pad(x, (left, right, top, bottom)))

    def extra_repr(self):
        return f"{super().extra_repr()}, pads={self.pads}"


class PaddedConv2d(Padded, nn.Conv2d):
    pass


class PaddedMaskedConv2d(Padded, MaskedConv2d):
    pass


class Window:
    """Sliding windows along one direction, of the sizes that they have in PyTorch's pooling."""

    def __init__(self, size, kernel, stride, before, after, dilation, ceil_mode):
        room = size + before + after - dilation * (kernel - 1) - 1
        count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
        if ceil_mode and (count - 1) * stride >= size + before:
            count -= 1  # it would begin in the padding behind the image
        self.before = before
        self.reach = (count - 1) * stride + dilation * (kernel - 1) + 1 - size - before  # pixels behind the image
        starts = [i * stride - before for i in range(count)]
        self.sizes_with_padding = [min(start + kernel, size + after) - start for start in starts]
        self.sizes = [min(start + kernel, size) - max(start, 0) for start in starts]


class UnevenMaxPool2d(nn.Module):
    """Max pooling whose padding differs from side to side. rows, columns: Window."""

    def __init__(self, rows, columns, kernel, stride, dilation):
        super().__init__()
        self.pads = (columns.before, columns.reach, rows.before, rows.reach)
        self.kernel, self.stride, self.dilation = kernel, stride, dilation

    def forward(self, x):
        x = nn.functional.pad(x, self.pads, value=float("-inf"))
        return nn.functional.max_pool2d(x, self.kernel, self.stride, 0, self.dilation)

    def extra_repr(self):
        return f"kernel_size={self.kernel}, stride={self.stride}, pads={self.pads}, dilation={self.dilation}"


class UnevenAvgPool2d(nn.Module):
    """Average pooling whose padding differs from side to side. rows, columns: Window."""

    def __init__(self, rows, columns, kernel, stride, count_include_pad):
        super().__init__()
        self.pads = (columns.before, columns.reach, rows.before, rows.reach)
        self.kernel, self.stride = kernel, stride
        heights, widths = ((w.sizes_with_padding if count_include_pad else w.sizes) for w in (rows, columns))
        sizes = torch.tensor([[h * w for w in widths] for h in heights], dtype=torch.float64, device="cpu")
        self.register_buffer("sizes", sizes, persistent=False)

    def forward(self, x):
        x = nn.functional.pad(x, self.pads)
        return nn.functional.avg_pool2d(x, self.kernel, self.stride, divisor_override=1) / self.sizes.to(x)

    def extra_repr(self):
        return f"kernel_size={self.kernel}, stride={self.stride}, pads={self.pads}"


class Clip(nn.Module):
    """Between `low` and `high`, with a gradient of 0 at both of them, like nn.ReLU6."""

    def __init__(self, low, high):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x):
        return nn.functional.hardtanh(x, self.low, self.high)

    def extra_repr(self):
        return f"{self.low}, {self.high}"


class Add(nn.Module):
    def forward(self, x, *others):
        for other in others:
            x = x + other
        return x


class Arithmetic(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        if self.function == "MULTIPLY":
            return x * y
        return x - y if self.function == "SUBTRACT" else x / y

    def extra_repr(self):
        return self.function


class Concat(nn.Module):
    """constant[i]: whether input i is the same for all images and has a batch of one."""

    def __init__(self, constant):
        super().__init__()
        self.constant = tuple(constant)

    def forward(self, *inputs):
        if any(self.constant) and not all(self.constant):
            batch = inputs[self.constant.index(False)].shape[0]
            inputs = [x.expand(batch, *x.shape[1:]) if same else x for x, same in zip(inputs, self.constant)]
        return torch.cat(list(inputs), 1)


class Select(nn.Module):
    """Output channel k is input channel index[k]."""

    def __init__(self, index):
        super().__init__()
        self.register_buffer("index", torch.tensor(index, device="cpu", dtype=torch.int64), persistent=False)

    def forward(self, x):
        return x.index_select(1, self.index)

    def extra_repr(self):
        return f"{len(self.index)} channels"


class Scatter(Select):
    """Input channel i is output channel index[i] of `channels`; the others are zero."""

    def __init__(self, index, channels):
        source = [len(index)] * channels  # the channel of zeros that is put behind the input's
        for i, channel in enumerate(index):
            source[channel] = i
        super().__init__(source)

    def forward(self, x):
        return super().forward(nn.functional.pad(x, (0, 0, 0, 0, 0, 1)))


class Constant(nn.Module):
    """A stored value, with a batch of one. Buffer `value` [channels, stored rows, stored columns]."""

    def __init__(self, channels, rows, columns):
        super().__init__()
        self.register_buffer("value", torch.zeros(channels, max(rows) + 1, max(columns) + 1))
        for name, index in (("rows", rows), ("columns", columns)):
            self.register_buffer(name, torch.tensor(index, device="cpu", dtype=torch.int64), persistent=False)

    def forward(self):
        return self.value.index_select(1, self.rows).index_select(2, self.columns).unsqueeze(0)

    def extra_repr(self):
        return f"{list(self.value.shape)} -> [{len(self.value)}, {len(self.rows)}, {len(self.columns)}]"


class ChannelScale(nn.Module):
    def __init__(self, channels, weight, bias):
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.ones(channels)) if weight else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if bias else None)

    def forward(self, x):
        shape = (-1,) + (1,) * (x.dim() - 2)
        if self.weight is not None:
            x = x * self.weight.view(shape)
        return x if self.bias is None else x + self.bias.view(shape)


class ChannelLayerNorm(nn.LayerNorm):
    """The channels of each pixel are normalized."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm, also of a single value, which becomes its bias."""

    def forward(self, x):
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class NearestResize(nn.Module):
    """Output row i is input row floor(i H / height), in integers: nn.Upsample rounds."""

    def __init__(self, size, height, width):
        super().__init__()
        for name, before, after in (("rows", size[0], height), ("columns", size[1], width)):
            index = [i * before // after for i in range(after)]
            self.register_buffer(name, torch.tensor(index, device="cpu", dtype=torch.int64), persistent=False)

    def forward(self, x):
        return x.index_select(2, self.rows).index_select(3, self.columns)

    def extra_repr(self):
        return f"size=({len(self.rows)}, {len(self.columns)})"


class Pad(nn.Module):
    """pads: left, right, top, bottom."""

    def __init__(self, pads, mode, value):
        super().__init__()
        self.pads, self.mode, self.value = pads, mode, value

    def forward(self, x):
        if self.mode == "constant":
            return nn.functional.pad(x, self.pads, value=self.value)
        return nn.functional.pad(x, self.pads, mode=self.mode)

    def extra_repr(self):
        return f"{self.pads}, {self.mode}, value={self.value}"


class JointDropout(nn.Module):
    """Values that are dropped together: all of a channel, of an image or of the batch."""

    DIMENSIONS = {"CHANNEL": 2, "IMAGE": 1, "BATCH": 0}  # that have decisions of their own

    def __init__(self, probability, unit):
        super().__init__()
        self.p, self.unit = probability, unit

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        own = self.DIMENSIONS[self.unit]
        shape = x.shape[:own] + (1,) * (x.dim() - own)
        kept = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * (kept / (1 - self.p) if self.p < 1 else kept)

    def extra_repr(self):
        return f"p={self.p}, unit={self.unit}"


class Unflatten(nn.Module):
    def forward(self, x):
        return x[:, :, None, None]


class _OnGrid(torch.autograd.Function):
    @staticmethod
    def forward(context, x, scale, zero_point, last):
        places = torch.round(x / scale) + zero_point
        context.save_for_backward((places >= 0) & (places <= last))
        return (places.clamp(0, last) - zero_point) * scale

    @staticmethod
    def backward(context, gradient):
        return gradient * context.saved_tensors[0], None, None, None


class FakeQuantize(nn.Module):
    """Rounds to the numbers scale (q - zero_point), q = 0 ... 2^bits - 1. What is not cut off passes gradients on."""

    def __init__(self, bits):
        super().__init__()
        if not 2 <= bits <= 8:
            raise NetworkError(f"bits is {bits}; must be from 2 to 8")
        self.last = 2 ** bits - 1
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros(()))

    def forward(self, x):
        return _OnGrid.apply(x, self.scale, self.zero_point, self.last)

    def extra_repr(self):
        return f"places={self.last + 1}"


# ---- From the network to modules -------------------------------------------------------------------------------------


def _or(value, default):
    return default if value is None else value


def _pads(op):
    """top, left, bottom, right."""
    if op.pads and len(op.pads) != 4:
        raise NetworkError(f"has {len(op.pads)} pads; must be 4: top, left, bottom, right")
    return tuple(op.pads) or (op.padding,) * 4


def _with_weight_scale(op, layer):
    """What the weights of a layer with weight_bits are whole multiples of, by output channel. (Training changes the
    weights, and they are whole multiples no longer.)"""
    if op.weight_bits is not None:
        layer.register_buffer("weight_scale", torch.ones(layer.weight.shape[0]))
    return layer


def _conv2d(op, inputs, mask):
    kernel = (op.kernel_height, op.kernel_width)
    stride = (op.stride, _or(op.stride_width, op.stride))
    # The dilation of one pixel means nothing, and oneDNN (of torch 2.11) reads past the image for it.
    dilation = tuple(1 if k == 1 else d for k, d in zip(kernel, (op.dilation, _or(op.dilation_width, op.dilation))))
    top, left, bottom, right = _pads(op)
    even = top == bottom and left == right
    options = {"stride": stride, "padding": (top, left) if even else 0, "dilation": dilation, "groups": op.groups,
               "bias": op.bias}
    kind = nn.Conv2d if even else PaddedConv2d
    if mask is not None:
        kind = MaskedConv2d if even else PaddedMaskedConv2d
        options["mask"] = mask
    module = _with_weight_scale(op, kind(inputs[0].shape[1], op.out_channels, kernel, **options))
    if not even:
        module.pads = (top, left, bottom, right)
    return module


def _conv_transpose2d(op, inputs):
    return nn.ConvTranspose2d(
        inputs[0].shape[1], op.out_channels, (op.kernel_height, op.kernel_width),
        stride=(op.stride, _or(op.stride_width, op.stride)), padding=(op.padding, _or(op.padding_width, op.padding)),
        output_padding=(op.output_padding, _or(op.output_padding_width, op.output_padding)), groups=op.groups,
        bias=op.bias, dilation=(op.dilation, _or(op.dilation_width, op.dilation)))


def _pool2d(op, inputs, dilation=1):
    kernel = (op.kernel, _or(op.kernel_width, op.kernel))
    stride = (op.stride, _or(op.stride_width, op.stride))
    top, left, bottom, right = _pads(op)
    is_max = op._kind == "MaxPool2d"
    dilation = op.dilation if is_max else 1
    if top == bottom and left == right:
        if is_max:
            return nn.MaxPool2d(kernel, stride, (top, left), dilation, ceil_mode=op.ceil_mode)
        return nn.AvgPool2d(kernel, stride, (top, left), op.ceil_mode, op.count_include_pad)
    rows = Window(inputs[0].shape[2], kernel[0], stride[0], top, bottom, dilation, op.ceil_mode)
    columns = Window(inputs[0].shape[3], kernel[1], stride[1], left, right, dilation, op.ceil_mode)
    if is_max:
        return UnevenMaxPool2d(rows, columns, kernel, stride, dilation)
    return UnevenAvgPool2d(rows, columns, kernel, stride, op.count_include_pad)


def _elementwise(op, inputs):
    make = {"CLIP": lambda: Clip(op.low, op.high), "LEAKY_RELU": lambda: nn.LeakyReLU(op.slope),
            "SIGMOID": nn.Sigmoid, "HARD_SIGMOID": nn.Hardsigmoid, "HARD_SWISH": nn.Hardswish, "SILU": nn.SiLU,
            "GELU": nn.GELU, "GELU_TANH": lambda: nn.GELU(approximate="tanh"), "TANH": nn.Tanh}
    return make[_function(op)]()


def _function(op):
    if op.function == "UNSET":
        choices = FIELDS[op._kind]["function"].choices[1:]
        raise NetworkError(f"its function is unset; must be one of {', '.join(choices)}")
    return op.function


def _constant(op, inputs):
    def stored(index, repeats, size):  # of each row, which one is stored for it
        if repeats:
            index = [k for k, count in enumerate(repeats) for _ in range(count)]
        index = list(index) or list(range(size))
        if len(index) != size:
            raise NetworkError(f"describes {len(index)} rows or columns; must be {size}")
        return index

    return Constant(op.channels, stored(op.row_index, op.row_repeats, op.height),
                    stored(op.column_index, op.column_repeats, op.width))


def _resize(op, inputs):
    function = _function(op)
    if function != "NEAREST":
        return nn.Upsample((op.height, op.width), mode="bilinear", align_corners=function == "BILINEAR_ALIGNED")
    size = tuple(inputs[0].shape[2:])
    if (op.height, op.width) in (size, tuple(2 * n for n in size)):  # there PyTorch's is exact, and exported best
        return nn.Upsample((op.height, op.width), mode="nearest")
    return NearestResize(size, op.height, op.width)


def _adaptive_pool2d(op, inputs):
    return (nn.AdaptiveAvgPool2d if _function(op) == "AVERAGE" else nn.AdaptiveMaxPool2d)((op.height, op.width))


def _pad(op, inputs):
    if len(op.pads) != 4:
        raise NetworkError(f"has {len(op.pads)} pads; must be 4: top, left, bottom, right")
    top, left, bottom, right = op.pads
    return Pad((left, right, top, bottom), op.function.lower(), op.value)


def _dropout(op, inputs):
    if op.unit == "ELEMENT":
        return nn.Dropout(op.probability)
    if op.unit == "CHANNEL" and inputs[0].dim() == 4:
        return nn.Dropout2d(op.probability)
    return JointDropout(op.probability, op.unit)


def _channels(inputs):
    return inputs[0].shape[1]


# operator -> module, from its message and what it reads: tensors without values, of a batch of one.
_MODULES = {
    "conv_transpose2d": _conv_transpose2d,
    "batch_norm2d": lambda op, inputs: nn.BatchNorm2d(_channels(inputs), op.epsilon, op.momentum),
    "relu": lambda op, inputs: nn.ReLU(),
    "add": lambda op, inputs: Add(),
    "max_pool2d": _pool2d,
    "average_pool2d": _pool2d,
    "global_average_pool": lambda op, inputs: nn.AdaptiveAvgPool2d(1),
    "flatten": lambda op, inputs: nn.Flatten(),
    "linear": lambda op, inputs: _with_weight_scale(op, nn.Linear(_channels(inputs), op.out_features, op.bias)),
    "scatter": lambda op, inputs: Scatter(op.index, op.channels),
    "constant": _constant,
    "elementwise": _elementwise,
    "arithmetic": lambda op, inputs: Arithmetic(_function(op)),
    "prelu": lambda op, inputs: nn.PReLU(1 if op.shared else _channels(inputs)),
    "softmax": lambda op, inputs: nn.Softmax(1),
    "channel_scale": lambda op, inputs: ChannelScale(_channels(inputs), op.weight, op.bias),
    "layer_norm": lambda op, inputs: ChannelLayerNorm(_channels(inputs), op.epsilon, op.affine),
    "group_norm": lambda op, inputs: GroupNorm(op.groups, _channels(inputs), op.epsilon, op.affine),
    "instance_norm": lambda op, inputs: GroupNorm(_channels(inputs), _channels(inputs), op.epsilon, op.affine),
    "select": lambda op, inputs: Select(op.index),
    "resize": _resize,
    "pad": _pad,
    "adaptive_pool2d": _adaptive_pool2d,
    "dropout": _dropout,
    "unflatten": lambda op, inputs: Unflatten(),
    "fake_quantize": lambda op, inputs: FakeQuantize(op.bits),
}


class PrunelabNetwork(nn.Module):
    """The module of a network, a Message. Its parameters have no values yet, which load() gives them.

    images [N, C, H, W] -> the value of the last node, or, if the network lists outputs, of the one that it lists, or of
    all of them as a tuple. masks: {conv2d node: mask}.
    """

    def __init__(self, network, masks=None):
        super().__init__()
        self.network = network
        self.metadata = {}
        self._steps = []  # (node's index, path of the module, indices of the inputs), in the order of execution
        masks = dict(masks or {})
        numbers = {node.name: i for i, node in enumerate(network.node)}
        values, varies = [], []  # of each node: a tensor without values, and whether it depends on the images
        for i, node in enumerate(network.node):
            sources = [numbers[name] for name in node.input]
            inputs = [values[j] for j in sources]
            op = getattr(node, node.operator)
            if node.operator == "image":
                self._image = i
                self.image_shape = (op.channels, op.height, op.width)
                values.append(torch.empty(1, *self.image_shape, device="meta"))
                varies.append(True)
                continue
            try:
                with torch.device("meta"):
                    if node.operator == "conv2d":
                        module = _conv2d(op, inputs, masks.pop(node.name, None))
                    elif node.operator == "concat":
                        module = Concat(not varies[j] for j in sources)
                    else:
                        module = _MODULES[node.operator](op, inputs)
                module.eval()
                values.append(module(*inputs))
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                reads = ", ".join(str(list(x.shape[1:])) for x in inputs) or "nothing"
                raise NetworkError(f"node \"{node.name}\" ({node.operator} of {reads}): {error}") from error
            varies.append(any(varies[j] for j in sources))
            path = node.name.split(".")
            self._place(path, module)
            self._steps.append((i, path, sources))
        if masks:
            raise NetworkError(f"masks of {', '.join(sorted(masks))}, which are no convolutions of the network")
        self._outputs = [numbers[name] for name in network.output] or [len(network.node) - 1]
        self._constant_outputs = [not varies[i] for i in self._outputs]
        last_use = {j: i for i, _, sources in self._steps for j in sources}
        self._last_uses = {}  # node's index -> values that nobody reads after it
        for j, i in last_use.items():
            if j not in self._outputs:
                self._last_uses.setdefault(i, []).append(j)
        self.shapes = {node.name: tuple(x.shape[1:]) for node, x in zip(network.node, values)}
        self.eval()

    def _place(self, path, module):
        """Makes it the submodule of the dotted name. Written into _modules, because names may be those of methods."""
        parent = self
        for piece in path[:-1]:
            parent = parent._modules.setdefault(piece, nn.Module())
        for name, child in parent._modules.get(path[-1], nn.Module())._modules.items():
            module._modules[name] = child  # modules of longer names, which came earlier
        parent._modules[path[-1]] = module
        for owner, prefix in ((parent, path[:-1]), (module, path)):
            for name in {**owner._parameters, **owner._buffers}.keys() & owner._modules.keys():
                raise NetworkError(f"node \"{'.'.join([*prefix, name])}\": has the name of a tensor of another node")

    def forward(self, images):
        values = {self._image: images}
        for i, path, sources in self._steps:
            module = self
            for piece in path:
                module = module._modules[piece]
            values[i] = module(*[values[j] for j in sources])
            for j in self._last_uses.get(i, ()):
                del values[j]
        results = tuple(values[i].expand(images.shape[0], *values[i].shape[1:]) if constant else values[i]
                        for i, constant in zip(self._outputs, self._constant_outputs))
        return results if len(results) > 1 else results[0]


def _network_of(path, metadata):
    if "network" not in metadata:
        raise NetworkError(f"{path}: carries no network, so it is no checkpoint of prunelab (a file of weights alone?)")
    try:
        return parse_network(metadata["network"])
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error


def load(path, keep_masks=True):
    """The network of a checkpoint with its weights, in evaluation mode and in the file's types. Raises NetworkError.

    keep_masks: whether masks are buffers that weights are multiplied by; if not, they are multiplied in once.
    """
    metadata, tensors = read_tensors(path)
    network = _network_of(path, metadata)
    for node in network.node:
        weight, scale = node.name + ".weight", tensors.get(node.name + ".weight_scale")
        if scale is not None and weight in tensors and tensors[weight].dtype == torch.int8:
            # In float32, as prunelab itself.
            levels = tensors[weight] * scale.float().reshape([-1] + [1] * (tensors[weight].dim() - 1))
            tensors[weight] = levels.to(scale.dtype)
    convolutions = {node.name for node in network.node if node.operator == "conv2d"}
    masks = {name[:-len(".mask")]: tensor for name, tensor in tensors.items()
             if name.endswith(".mask") and name[:-len(".mask")] in convolutions}
    if not keep_masks:
        for name, mask in masks.items():
            tensors[name + ".weight"] *= tensors.pop(name + ".mask").to(tensors[name + ".weight"].dtype)
        masks, metadata = {}, {key: value for key, value in metadata.items() if key != "filter_masks"}
    try:
        model = PrunelabNetwork(network, masks)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error
    for name in model.state_dict():
        if name.endswith(".num_batches_tracked"):  # files from elsewhere may lack it
            tensors.setdefault(name, torch.zeros((), dtype=torch.int64))
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise NetworkError(f"{path}: its tensors do not fit its network: {error}") from error
    model.metadata = {key: value for key, value in metadata.items() if key != "network"}
    return model


def save(model, path):
    """Writes a checkpoint that prunelab's programs read, and load() too. Raises NetworkError.

    model: a module of load(), also inside of DataParallel, DistributedDataParallel or torch.compile. Its tensors must
    have the shapes that model.network says.
    """
    while not isinstance(model, PrunelabNetwork):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            raise NetworkError(f"a {type(model).__name__} cannot be saved; give the module that load() returned")
        model = inner
    tensors = model.state_dict()
    masks = {name[:-len(".mask")]: tensor for name, tensor in tensors.items() if name.endswith(".mask")}
    wanted = {name: tuple(tensor.shape) for name, tensor in
              PrunelabNetwork(parse_network(str(model.network)), masks).state_dict().items()}
    problems = [f"missing {name} {list(wanted[name])}" for name in sorted(set(wanted) - set(tensors))]
    for name, tensor in sorted(tensors.items()):
        if name not in wanted:
            problems.append(f"{name} is not the network's")
        elif tuple(tensor.shape) != wanted[name]:
            problems.append(f"{name} is {list(tensor.shape)}; the network says {list(wanted[name])}")
    if problems:
        raise NetworkError("the module differs from model.network; change both:\n  " + "\n  ".join(problems))
    write_tensors(path, {**model.metadata, "network": str(model.network)}, tensors)


def layers(model):
    """Lines of text: each node, its module, its output's shape for one image, and its parameters."""
    rows = [("node", "output", "parameters", "")]
    total = 0
    for node in model.network.node:
        shape = "x".join(str(size) for size in model.shapes[node.name])
        if node.operator == "image":
            rows.append((node.name, shape, "", "image"))
            continue
        module = model
        for piece in node.name.split("."):
            module = module._modules[piece]
        count = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        total += count
        rows.append((node.name, shape, str(count or ""), f"{type(module).__name__}({module.extra_repr()})"))
    rows.append(("total", "", str(total), ""))
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    return [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]


def main():
    parser = argparse.ArgumentParser(description="Prints the layers of a checkpoint of prunelab.")
    parser.add_argument("checkpoint", help="a .safetensors file that contains its network")
    options = parser.parse_args()
    try:
        print("\n".join(layers(load(options.checkpoint))))
    except (NetworkError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
