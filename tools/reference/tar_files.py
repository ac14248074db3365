"""Writes ml/data/tar_index_corpus: small archives in all formats of Python's tarfile, and broken ones.

    python3 tools/reference/tar_files.py ml/data/tar_index_corpus

Needs Python 3.8 or later, and no packages.
"""

import io
import pathlib
import sys
import tarfile

tarfile.RECORDSIZE = 1024  # what an archive is padded to

LONG = "folder/" + "long_" * 30 + "name.jpg"  # 160 bytes: does not fit into a header
MEMBERS = [("a.jpg", b"picture one"), ("a.cls", b"3"), ("sub/b.jpg", b"x" * 700), ("sub/b.cls", b"0\n"), ("empty.txt", b"")]


def archive(form, members, **options):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, **options) as tar:
        folder = tarfile.TarInfo("sub/")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.jpg")
        link.type = tarfile.SYMTYPE
        link.linkname = "a.jpg"
        tar.addfile(link)
    return out.getvalue()


folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
prefixed = MEMBERS + [("p" * 120 + "/" + "n" * 60 + ".jpg", b"with a prefix")]
files = {
    "ustar.tar": archive(tarfile.USTAR_FORMAT, prefixed),
    "gnu.tar": archive(tarfile.GNU_FORMAT, MEMBERS + [(LONG, b"long name"), ("after.jpg", b"!")]),
    "pax.tar": archive(tarfile.PAX_FORMAT, MEMBERS + [(LONG, b"long name"), ("gr\u00fcn.jpg", b"green"), ("after.jpg", b"!")]),
    "pax_global.tar": archive(tarfile.PAX_FORMAT, MEMBERS, pax_headers={"comment": "of all files"}),
}
whole = files["gnu.tar"]
files["no_end.tar"] = whole[: whole.rindex(b"after.jpg") + 1024]
files["cut_off.tar"] = whole[:2000]
files["bad_checksum.tar"] = whole[:10] + b"?" + whole[11:]
files["huge_length.tar"] = whole[:512 + 124] + b"77777777777\0" + whole[512 + 136:]
files["compressed.tar"] = b"\x1f\x8b" + bytes(600)
files["bad_pax.tar"] = files["pax.tar"].replace(b"path=", b"path!", 1)
for name, content in files.items():
    (folder / name).write_bytes(content)
