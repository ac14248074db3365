"""A second implementation of .pdc files (ml/deep_compression/deep_compressed.h), in Python.

  python3 tools/reference/pdc_files.py write ml/deep_compression/deep_compressed_corpus
  python3 tools/reference/pdc_files.py compare x.pdc x.safetensors

`write` makes files for the fuzz target's corpus: written_by_python.pdc has a tensor of each storage, and beside it in
ml/deep_compression is what it holds, written_by_python.safetensors, which a test compares. The others are broken in one
place each, with right checksums. `compare` decodes a file that //tools:deep_compress wrote, and tells whether it holds
what --decode made of it, bit for bit.
"""

import heapq
import json
import pathlib
import struct
import sys

MAGIC = b"\x89PDC\r\n\x1a\n"
TYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
RAW, LAYER, DERIVED, FILTERS, MASK = range(5)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def number(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def text(value):
    return number(len(value)) + value


def pack(bits):
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def code_lengths(counts):
    """Huffman's algorithm, by a heap of trees as lists of symbols."""
    heap = [(count, symbol, [symbol]) for symbol, count in enumerate(counts) if count]
    lengths = [0] * len(counts)
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, order, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(heap, (a + b, order, left + right))
    return lengths


def canonical(lengths):
    codes, code, before = {}, 0, 0
    for length, symbol in sorted((l, s) for s, l in enumerate(lengths) if l):
        code <<= length - before
        before = length
        codes[symbol] = format(code, f"0{length}b")
        code += 1
    return codes


def table(counts):
    """The bits of a code's table, without runs, and its codes."""
    occurring = [symbol for symbol, count in enumerate(counts) if count]
    if len(occurring) == 1:
        return "1" + format(occurring[0], "017b"), {occurring[0]: ""}
    lengths = code_lengths(counts)
    return "0" + "".join(format(length, "05b") for length in lengths), canonical(lengths)


def layer(values, gap_bits):
    """`values`: a flat list of float32 values as floats."""
    codebook = sorted(set(values) - {0.0})
    entries, last = [], -1
    for place, value in enumerate(values):
        if value == 0:
            continue
        while place - last > 2**gap_bits:
            last += 2**gap_bits
            entries.append((2**gap_bits - 1, len(codebook)))
        entries.append((place - last - 1, codebook.index(value)))
        last = place
    if not entries:
        return number(0)
    gaps, indices = zip(*entries)
    index_table, index_codes = table([indices.count(i) for i in range(len(codebook) + 1)])
    gap_table, gap_codes = table([gaps.count(i) for i in range(2**gap_bits)])
    bits = index_table + gap_table + "".join(gap_codes[g] + index_codes[i] for g, i in entries)
    return (number(len(entries)) + number(len(codebook)) + bytes([gap_bits]) +
            struct.pack(f"<{len(codebook)}f", *codebook) + pack(bits))


def derived(mask, weights):
    places = [i for i, (on, w) in enumerate(zip(mask, weights)) if on != (w != 0)]
    gaps = [b - a - 1 for a, b in zip([-1] + places, places)]
    return number(len(places)) + b"".join(map(number, gaps))


def pdc(metadata, tensors):
    """`tensors`: name -> (type, shape, storage, section)."""
    entries = b"".join(text(key) + text(value) for key, value in sorted(metadata.items()))
    header = number(len(entries))
    if entries:
        bits, codes = table([entries.count(bytes([b])) for b in range(256)])
        header += text(pack(bits + "".join(codes[b] for b in entries)))
    header += number(len(tensors))
    for name, (kind, shape, storage, section) in sorted(tensors.items()):
        header += text(name.encode()) + bytes([TYPES.index(kind), len(shape)]) + b"".join(map(number, shape))
        header += bytes([storage]) + number(len(section)) + struct.pack("<I", crc32c(section))
    start = struct.pack("<IQ", 1, len(header))
    sections = b"".join(tensor[3] for _, tensor in sorted(tensors.items()))
    return MAGIC + start + struct.pack("<I", crc32c(start + header)) + header + sections


def safetensors(metadata, tensors):
    """`tensors`: name -> (type, shape, bytes)."""
    header, data = {"__metadata__": {k.decode(): v.decode() for k, v in metadata.items()}}, b""
    for name, (kind, shape, raw) in sorted(tensors.items()):
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def example():
    """A checkpoint with a tensor of each storage: what is in the file, and what it decodes to."""
    weights = [((i * 37 + 11) % 9 - 4) / 4 if (i * i + 3 * i) % 7 == 4 or i == 143 else 0.0 for i in range(144)]
    mask = [float(w != 0) for w in weights]
    mask[5], mask[140] = 1 - mask[5], 1 - mask[140]
    alone = [0.0] * 40
    alone[7] = alone[15] = alone[23] = -0.1875
    bias = struct.pack("<4f", -0.0, 1.5, float("inf"), 1e-45)
    on = [True, False, False, True, True, False, True, False, True]
    filters = [True, False, True]
    decoded = {
        "conv.weight": ("F32", [8, 2, 3, 3], floats(weights)),
        "conv.mask": ("F32", [8, 2, 3, 3], floats(mask)),
        "conv.bias": ("F32", [4], bias),
        "alone.weight": ("F32", [5, 8], floats(alone)),
        "none.weight": ("F32", [3, 0], b""),
        "zero.weight": ("F32", [6, 6], floats([0.0] * 36)),
        "bits.mask": ("F32", [3, 3], floats(map_floats(on))),
        "filters.mask": ("F32", [3, 2, 2], floats([float(f) for f in filters for _ in range(4)])),
        "steps": ("I64", [], struct.pack("<q", -(2**60))),
        "flags": ("BOOL", [3], b"\1\0\1"),
        "half": ("F16", [2], b"\x00\x3c\x00\xfc"),
    }
    stored = {name: (kind, shape, RAW, raw) for name, (kind, shape, raw) in decoded.items()}
    stored["conv.weight"] = ("F32", [8, 2, 3, 3], LAYER, layer(weights, 2))
    stored["conv.mask"] = ("F32", [8, 2, 3, 3], DERIVED, derived(mask, weights))
    stored["alone.weight"] = ("F32", [5, 8], LAYER, layer(alone, 3))
    stored["none.weight"] = ("F32", [3, 0], LAYER, layer([], 1))
    stored["zero.weight"] = ("F32", [6, 6], LAYER, layer([0.0] * 36, 1))
    stored["bits.mask"] = ("F32", [3, 3], MASK, pack("".join(str(int(b)) for b in on)))
    stored["filters.mask"] = ("F32", [3, 2, 2], FILTERS, pack("101"))
    return {b"a note": "grün".encode(), b"b": b""}, stored, decoded


def map_floats(values):
    return [float(v) for v in values]


def broken(metadata, stored):
    """Files that are wrong in one place each."""
    def with_tensor(name, **changes):
        kind, shape, storage, section = stored[name]
        values = {"kind": kind, "shape": shape, "storage": storage, "section": section} | changes
        return pdc(metadata, stored | {name: (values["kind"], values["shape"], values["storage"], values["section"])})

    whole = pdc(metadata, stored)
    section = stored["conv.weight"][3]
    yield "version_2", MAGIC + b"\2" + whole[9:]
    yield "cut_off", whole[:-9]
    start, length = 24, struct.unpack("<Q", whole[12:20])[0]
    header, sections = whole[start:start + length], whole[start + length:]

    def with_header(changed):
        covered = struct.pack("<IQ", 1, len(changed)) + changed
        return MAGIC + covered[:12] + struct.pack("<I", crc32c(covered)) + changed + sections

    yield "metadata_of_a_megabyte", with_header(number(2**20) + header[1:])
    yield "metadata_that_end_within_an_entry", with_header(number(header[0] - 1) + header[1:])
    yield "header_of_exabytes", MAGIC + struct.pack("<IQI", 1, 2**63, 0) + whole[24:]
    yield "shape_that_overflows", with_tensor("conv.weight", shape=[2**32, 2**32])
    yield "zeros_of_a_terabyte", with_tensor("zero.weight", shape=[2**20, 2**18])
    yield "zeros_of_200_megabytes", with_tensor("zero.weight", shape=[50, 2**20])
    yield "too_few_weights", with_tensor("alone.weight", shape=[2])
    yield "a_place_behind_the_last", with_tensor("alone.weight", shape=[20])
    yield "layer_that_is_int64", with_tensor("zero.weight", kind="I64")
    yield "storage_9", with_tensor("zero.weight", storage=9)
    yield "mask_of_no_weight", with_tensor("filters.mask", storage=DERIVED, section=number(0))
    yield "mask_of_other_shape", with_tensor("conv.mask", shape=[144])
    yield "mask_exceptions_behind_the_end", with_tensor("conv.mask", section=number(1) + number(144))
    yield "mask_with_bits_after_its_end", with_tensor("filters.mask", section=b"\xbf")
    yield "bool_of_2", with_tensor("flags", section=b"\2\0\1")
    swapped = section[:3] + section[7:11] + section[3:7] + section[11:]
    yield "codebook_that_descends", with_tensor("conv.weight", section=swapped)
    yield "symbol_that_is_none", with_tensor("conv.weight", section=section[:35] + b"\xff" * 20)
    yield "code_that_is_not_complete", with_tensor("conv.weight", section=section[:35] + pack("0" + "00001" * 9))
    yield "gap_bits_17", with_tensor("conv.weight", section=section[:2] + b"\x11" + section[3:])
    filler = number(1) + number(1) + b"\3" + floats([1.0]) + pack("1" + format(1, "017b") + "1" + "0" * 17)
    yield "last_entry_is_a_filler", with_tensor("alone.weight", section=filler)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


class Bits:
    def __init__(self, data):
        self.bits, self.at = "".join(format(b, "08b") for b in data), 0

    def take(self, count):
        self.at += count
        return self.bits[self.at - count:self.at]

    def code(self, symbols):
        if self.take(1) == "1":
            return {"": int(self.take(17), 2)}
        lengths = []
        while len(lengths) < symbols:
            length = int(self.take(5), 2)
            if length == 30:
                lengths += [lengths[-1]] * (3 + int(self.take(2), 2))
            elif length == 31:
                lengths += [0] * (3 + int(self.take(6), 2))
            else:
                lengths.append(length)
        return {code: symbol for symbol, code in canonical(lengths).items()}

    def symbol(self, codes):
        code = ""
        while code not in codes:
            code += self.take(1)
        return codes[code]


def decode_layer(section, count):
    reader = Reader(section)
    values, entries = [0.0] * count, reader.number()
    if entries == 0:
        return values
    clusters, gap_bits = reader.number(), reader.take(1)[0]
    codebook = struct.unpack(f"<{clusters}f", reader.take(4 * clusters)) + (0.0,)
    bits = Bits(section[reader.at:])
    indices, gaps = bits.code(clusters + 1), bits.code(2**gap_bits)
    place = -1
    for _ in range(entries):
        place += bits.symbol(gaps) + 1
        values[place] = codebook[bits.symbol(indices)]
    return values


def decode(data):
    """Metadata, and name -> (type, shape, bytes)."""
    assert data[:8] == MAGIC
    version, length, checksum = struct.unpack("<IQI", data[8:24])
    assert version == 1 and crc32c(data[8:20] + data[24:24 + length]) == checksum
    header, sections = Reader(data[24:24 + length]), Reader(data[24 + length:])
    metadata, count = {}, header.number()
    if count:
        bits = Bits(header.take(header.number()))
        code = bits.code(256)
        plain = Reader(bytes(bits.symbol(code) for _ in range(count)))
        while plain.at < count:
            key = plain.take(plain.number())
            metadata[key] = plain.take(plain.number())
    entries = []
    for _ in range(header.number()):
        name = header.take(header.number()).decode()
        kind, sizes = header.take(2)
        shape = [header.number() for _ in range(sizes)]
        storage = header.take(1)[0]
        section = sections.take(header.number())
        assert crc32c(section) == struct.unpack("<I", header.take(4))[0], name
        entries.append((name, TYPES[kind], shape, storage, section))
    tensors = {}
    for name, kind, shape, storage, section in sorted(entries, key=lambda entry: entry[3] == DERIVED):
        count = 1
        for size in shape:
            count *= size
        if storage == RAW:
            raw = section
        elif storage == LAYER:
            raw = floats(decode_layer(section, count))
        elif storage == DERIVED:
            weights = tensors[name[:-5] + ".weight"][2]
            on = [w & 0x7FFFFFFF != 0 for w in struct.unpack(f"<{count}I", weights)]
            reader, place = Reader(section), -1
            for _ in range(reader.number()):
                place += reader.number() + 1
                on[place] = not on[place]
            raw = floats(map_floats(on))
        else:
            units = shape[0] if storage == FILTERS else count
            raw = floats([float(bit == "1") for bit in Bits(section).take(units) for _ in range(count // units)])
        tensors[name] = (kind, shape, raw)
    return metadata, tensors


def read_safetensors(data):
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    metadata = {k.encode(): v.encode() for k, v in header.pop("__metadata__", {}).items()}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = (entry["dtype"], entry["shape"], data[begin:end])
    return metadata, tensors


def main(arguments):
    if arguments[:1] == ["write"] and len(arguments) == 2:
        folder = pathlib.Path(arguments[1])
        metadata, stored, decoded = example()
        (folder / "written_by_python.pdc").write_bytes(pdc(metadata, stored))
        (folder.parent / "written_by_python.safetensors").write_bytes(safetensors(metadata, decoded))
        assert decode(pdc(metadata, stored)) == (metadata, decoded)
        for name, data in broken(metadata, stored):
            (folder / name).write_bytes(data)
    elif arguments[:1] == ["compare"] and len(arguments) == 3:
        small = decode(pathlib.Path(arguments[1]).read_bytes())
        large = read_safetensors(pathlib.Path(arguments[2]).read_bytes())
        if small != large:
            sys.exit("they differ")
        print(f"equal: {len(small[1])} tensors")
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
